"""What the parts of the conformance suite share: making the plugin under test, naming material, leaving it clean."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import ClassVar

import msgspec
import pytest

from plugins.sdk import (
    KEY_SPECS,
    Algorithm,
    Capabilities,
    KeySpec,
    KeyStorePlugin,
    KeyUsage,
    MaterialRef,
    PluginContext,
)
from plugins.sdk.conformance.choosing import cheap, choose, parametrize
from plugins.sdk.conformance.state import MemoryState

ACCOUNT_ARN = "arn:aws:kms:us-east-1:000000000000:key/"


class Harness:
    """Set :attr:`declares` and override :meth:`make_plugin`; the rest as needed."""

    declares: ClassVar[Capabilities | None] = None
    """What the store says of itself when it is opened. The tests are chosen by it, and one test compares the two."""
    on_shared_store: ClassVar[bool] = False
    """The store outlives a test and may hold material of others: it is left as it was found."""
    store_name = "conformance"
    present_time = 1_800_000_000.0
    capabilities: Capabilities

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.declares is not None:
            choose(cls, cls.declares)

    def make_plugin(self, state: MemoryState) -> KeyStorePlugin:
        """A new, unopened instance on ``state``. Instances on one state must be the same key store."""
        raise NotImplementedError

    def external_id(self) -> str | None:
        """The id of an external key for new material, for a store with the capability ``external_keys``."""
        return None

    async def foreign_material(self) -> str | None:
        """Material that others made in the store, as ``list_material`` names it, for a store with ``adoption``."""
        return None

    def secrets(self) -> list[bytes]:
        """Secrets that the test knows (root key, PIN) and that must never come out of the plugin."""
        return []

    def context(self, state: MemoryState) -> PluginContext:
        """What the host would give. Tests own the clock: set ``present_time``."""
        return PluginContext(store_name=self.store_name, state=state, now=lambda: self.present_time)

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    def state(self) -> MemoryState:
        return self.make_state()

    def make_state(self) -> MemoryState:
        """What the host keeps for the store: of this test alone, or of all of them."""
        return MemoryState()

    @pytest.fixture
    async def plugin(self, state: MemoryState) -> AsyncIterator[KeyStorePlugin]:
        """A provisioned, open plugin."""
        self._named: list[MaterialRef] = []
        plugin = self.make_plugin(state)
        await self.provision(plugin)
        self.capabilities = await plugin.open()
        self._before = set(await plugin.list_material()) if self.capabilities.lists_material else set()
        yield plugin
        await plugin.close()
        if self.on_shared_store:
            await self._clean_up(state)

    async def provision(self, plugin: KeyStorePlugin) -> None:
        """Make what a new store needs."""
        await plugin.provision()

    async def listed(self, plugin: KeyStorePlugin) -> list[str]:
        """What the store lists beside what was in it before the test."""
        return sorted(set(await plugin.list_material()) - self._before)

    async def _clean_up(self, state: MemoryState) -> None:
        plugin = await self.reopened(state)
        for ref in self._named:
            await plugin.destroy(ref)
        await plugin.close()

    async def reopened(self, state: MemoryState) -> KeyStorePlugin:
        """Another open instance on the same store, as after a restart or in another process."""
        plugin = self.make_plugin(state)
        self.capabilities = await plugin.open()
        return plugin

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if self.declares is None:
            pytest.fail(f"{type(self).__name__}.declares: set it to the Capabilities that the store has", pytrace=False)
        parametrize(metafunc, self.declares)

    # ---- naming ----------------------------------------------------------------------------------------------------

    def fresh_ref(self, spec: KeySpec) -> MaterialRef:
        """A reference that names nothing yet."""
        key_id, material_id = str(uuid.uuid4()), uuid.uuid4().hex
        name = f"keystead:{key_id}:{material_id}"
        ref = MaterialRef(name, ACCOUNT_ARN + key_id, material_id, spec, external_id=self.external_id())
        self._named.append(ref)
        return ref

    async def created(self, plugin: KeyStorePlugin, spec: KeySpec | None = None) -> MaterialRef:
        """Fresh material, and the reference that the host would use from then on."""
        ref = self.fresh_ref(spec or self.any_spec())
        material = await plugin.create(ref)
        return msgspec.structs.replace(ref, token=material.token, external_id=None)

    # ---- what is declared ------------------------------------------------------------------------------------------

    def any_spec(self) -> KeySpec:
        """A declared spec that is cheap to generate."""
        return min(cheap(self.capabilities.key_specs), key=lambda spec: not KEY_SPECS[spec].symmetric)

    def algorithms(self, spec: KeySpec, usage: KeyUsage) -> list[Algorithm]:
        """The algorithms that must work."""
        absent = self.capabilities.absent_algorithms
        return [algorithm for algorithm in KEY_SPECS[spec].algorithms[usage] if algorithm not in absent]


async def use_once(plugin: KeyStorePlugin, ref: MaterialRef) -> None:
    """Use material in whichever way its spec allows; raises what the plugin raises."""
    usage, algorithms = next(iter(KEY_SPECS[ref.key_spec].algorithms.items()))
    algorithm = algorithms[0]
    match usage:
        case KeyUsage.ENCRYPT_DECRYPT:
            sealed = await plugin.encrypt(ref, algorithm, b"plaintext", b"")
            assert await plugin.decrypt(ref, algorithm, sealed, b"") == b"plaintext"
        case KeyUsage.GENERATE_VERIFY_MAC:
            mac = await plugin.generate_mac(ref, algorithm, b"message")
            await plugin.verify_mac(ref, algorithm, b"message", mac)
        case _:
            await plugin.observe(ref)
