"""The memory store does exactly what its script says: each effect, at its invocation, once, and a crash is a crash."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from plugins.memory import MemoryKeyStore, MemoryOptions
from plugins.memory.faults import CRASH_STATUS, LEAKED_SECRET
from plugins.sdk import (
    Algorithm,
    CredentialsRefused,
    KeySpec,
    MaterialDamaged,
    Misconfigured,
    OutcomeUnknown,
    PluginContext,
    Refused,
    Unavailable,
)
from plugins.sdk.conformance import MemoryState
from tests.plugins.conftest import ref_for

REF = ref_for("a")


@pytest.fixture(autouse=True)
def fresh_process_devices() -> Iterator[None]:
    MemoryKeyStore.reset()
    yield
    MemoryKeyStore.reset()


async def opened(**options: object) -> MemoryKeyStore:
    store = MemoryKeyStore(
        MemoryKeyStore.options_type(**options), PluginContext(store_name="memory", state=MemoryState(), now=lambda: 0.0)
    )
    await store.open()
    return store


def fault(call: str, effect: str, at: int = 0) -> tuple[object, ...]:
    return msgspec.convert({"faults": [{"call": call, "effect": effect, "at": at}]}, MemoryOptions).faults


@pytest.mark.parametrize(
    ("effect", "error", "happened"),
    [
        ("unavailable", Unavailable, False),
        ("refuse", Refused, False),
        ("lost-request", OutcomeUnknown, False),
        ("lost-answer", OutcomeUnknown, True),
        ("error", RuntimeError, False),
    ],
)
async def test_a_failing_create_happened_or_not_as_its_effect_says(
    effect: str, error: type[Exception], happened: bool
) -> None:
    store = await opened(faults=fault("create", effect))
    with pytest.raises(error):
        await store.create(REF)
    assert (await store.observe(REF) is not None) is happened
    assert await store.create(REF) == await store.observe(REF)


async def test_a_lost_answer_to_destroy_still_destroyed() -> None:
    store = await opened(faults=fault("destroy", "lost-answer"))
    await store.create(REF)
    with pytest.raises(OutcomeUnknown):
        await store.destroy(REF)
    assert await store.observe(REF) is None


async def test_a_fault_strikes_its_invocation_and_no_other() -> None:
    store = await opened(faults=fault("random", "unavailable", at=2))
    await store.random(1)
    await store.random(1)
    with pytest.raises(Unavailable):
        await store.random(1)
    await store.random(1)


async def test_a_hanging_call_never_answers_and_can_be_cancelled() -> None:
    store = await opened(faults=fault("create", "hang"))
    creating = asyncio.ensure_future(store.create(REF))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not creating.done()
    creating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await creating
    assert await store.observe(REF) is None


async def test_opening_fails_as_scripted() -> None:
    with pytest.raises(Unavailable):
        await opened(faults=fault("open", "unavailable"))


async def test_the_unclassified_error_carries_something_to_redact() -> None:
    store = await opened(faults=fault("encrypt", "error"))
    await store.create(REF)
    with pytest.raises(RuntimeError, match=LEAKED_SECRET):
        await store.encrypt(REF, Algorithm.SYMMETRIC_DEFAULT, b"", b"")


async def test_a_running_store_can_be_given_a_script_by_name() -> None:
    store = await opened()
    await store.create(REF)
    MemoryKeyStore.script("memory", "create", "lost-answer", at=1)
    await store.create(REF)
    with pytest.raises(OutcomeUnknown):
        await store.create(REF)
    await store.create(REF)


async def test_a_wrong_pin_is_refused_without_showing_it() -> None:
    with pytest.raises(CredentialsRefused) as caught:
        await opened(pin="0000-secret", expected_pin="1234-secret")
    assert "secret" not in str(caught.value)
    await opened(pin="1234-secret", expected_pin="1234-secret")


async def test_a_name_that_holds_another_spec_is_damage_not_a_match() -> None:
    store = await opened()
    await store.create(REF)
    with pytest.raises(MaterialDamaged):
        await store.create(ref_for("a", KeySpec.HMAC_256))
    with pytest.raises(MaterialDamaged):
        await store.observe(ref_for("a", KeySpec.HMAC_256))


async def test_a_file_that_is_no_device_is_refused(tmp_path: Path) -> None:
    device = tmp_path / "device.json"
    device.write_bytes(b"not a device")
    with pytest.raises(Misconfigured, match=r"device\.json"):
        await opened(device=str(device))


CRASHING = """
import asyncio, json, sys
import msgspec
from plugins.memory import MemoryKeyStore, MemoryOptions
from plugins.sdk import PluginContext
from plugins.sdk.conformance import MemoryState
from tests.plugins.conftest import ref_for

async def main():
    options = msgspec.convert(json.loads(sys.argv[1]), MemoryOptions)
    store = MemoryKeyStore(options, PluginContext(store_name="memory", state=MemoryState(), now=lambda: 0.0))
    await store.open()
    await store.create(ref_for("first"))
    await store.create(ref_for("a"))

asyncio.run(main())
"""


@pytest.mark.parametrize(("effect", "happened"), [("crash-before", False), ("crash-after", True)])
async def test_a_crash_takes_the_process_and_leaves_the_device_as_it_was(
    tmp_path: Path, effect: str, happened: bool
) -> None:
    device = str(tmp_path / "device.json")
    options = {"device": device, "faults": [{"call": "create", "at": 1, "effect": effect}]}
    done = subprocess.run(  # noqa: ASYNC221
        [sys.executable, "-c", CRASHING, json.dumps(options)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == CRASH_STATUS, done.stderr
    store = await opened(device=device)
    assert await store.list_material() == sorted([ref_for("first").name, *([REF.name] if happened else [])])
