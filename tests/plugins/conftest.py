"""Shared by the plugin tests: software key stores on a state and a clock that the test owns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from plugins.sdk import KeySpec, MaterialRef, PluginContext
from plugins.sdk.conformance import MemoryState
from plugins.software import FileRootKey, SoftwareKeyStore, SoftwareOptions

DAY = 86_400.0
StoreMaker = Callable[..., SoftwareKeyStore]


class TestClock:
    """A clock that stands still until it is told otherwise."""

    __test__ = False

    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock() -> TestClock:
    return TestClock()


@pytest.fixture
def state() -> MemoryState:
    return MemoryState()


@pytest.fixture
def root_key_path(tmp_path: Path) -> Path:
    return tmp_path / "root.key"


@pytest.fixture
def make_store(state: MemoryState, clock: TestClock, root_key_path: Path) -> StoreMaker:
    """An unopened instance; every instance of a test is the same store, as in several processes."""

    def make(**options: object) -> SoftwareKeyStore:
        options.setdefault("root_key", FileRootKey(path=str(root_key_path)))
        context = PluginContext(store_name="standard", state=state, now=clock)
        return SoftwareKeyStore(SoftwareOptions(**options), context)  # type: ignore[arg-type]

    return make


@pytest.fixture
async def store(make_store: StoreMaker) -> SoftwareKeyStore:
    """A new store, open."""
    store = make_store()
    await store.provision()
    await store.open()
    return store


def ref_for(name: str, spec: KeySpec = KeySpec.SYMMETRIC_DEFAULT) -> MaterialRef:
    return MaterialRef(f"keystead:{name}:1", f"arn:aws:kms:us-east-1:000000000000:key/{name}", "1", spec)


async def create(store: SoftwareKeyStore, name: str, spec: KeySpec = KeySpec.SYMMETRIC_DEFAULT) -> MaterialRef:
    ref = ref_for(name, spec)
    return msgspec.structs.replace(ref, token=(await store.create(ref)).token)
