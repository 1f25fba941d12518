"""What the parts of the conformance suite share: making the plugin under test, naming material, skipping honestly."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from typing import ClassVar

import msgspec
import pytest

from plugins.sdk import (
    KEY_SPECS,
    Algorithm,
    Capabilities,
    Family,
    KeySpec,
    KeyStorePlugin,
    KeyUsage,
    MaterialRef,
    PluginContext,
)
from plugins.sdk.conformance.state import MemoryState

ACCOUNT_ARN = "arn:aws:kms:us-east-1:000000000000:key/"
COSTLY_SPECS = frozenset({KeySpec.RSA_3072, KeySpec.RSA_4096})
"""The large RSA sizes, whose generation costs up to seconds: one test uses them, the others would prove nothing new."""

DATA_PAIR_FAMILIES = (Family.RSA, Family.EC, Family.ED25519, Family.SM2)
"""Families that GenerateDataKeyPair knows in the KMS API."""

PARAMETERS: dict[str, Callable[[KeySpec], bool]] = {
    "spec": lambda _: True,
    "cheap_spec": lambda spec: spec not in COSTLY_SPECS,
    "pair_spec": lambda spec: spec not in COSTLY_SPECS and not KEY_SPECS[spec].symmetric,
    "signing_spec": lambda spec: spec not in COSTLY_SPECS and KeyUsage.SIGN_VERIFY in KEY_SPECS[spec].algorithms,
    "data_pair_spec": lambda spec: spec not in COSTLY_SPECS and KEY_SPECS[spec].family in DATA_PAIR_FAMILIES,
    "kem_spec": lambda spec: KEY_SPECS[spec].family is Family.ML_KEM,
}
"""Names of test parameters, and which of the harness's ``key_specs`` they run over."""


class Harness:
    """Override :meth:`make_plugin`; the rest as needed."""

    key_specs: ClassVar[Iterable[KeySpec]] = tuple(KeySpec)
    """What the tests run over. Narrow it for a store that will never offer more; leaving a declared spec out fails."""
    store_name = "conformance"
    present_time = 1_800_000_000.0
    capabilities: Capabilities

    def make_plugin(self, state: MemoryState) -> KeyStorePlugin:
        """A new, unopened instance on ``state``. Instances on one state must be the same key store."""
        raise NotImplementedError

    def external_id(self) -> str | None:
        """The id of an external key for new material, for a store with the capability ``external_keys``."""
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
        return MemoryState()

    @pytest.fixture
    async def plugin(self, state: MemoryState) -> AsyncIterator[KeyStorePlugin]:
        """A provisioned, open plugin."""
        plugin = self.make_plugin(state)
        await plugin.provision()
        self.capabilities = await plugin.open()
        yield plugin
        await plugin.close()

    async def reopened(self, state: MemoryState) -> KeyStorePlugin:
        """Another open instance on the same store, as after a restart or in another process."""
        plugin = self.make_plugin(state)
        self.capabilities = await plugin.open()
        return plugin

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        for name, wanted in PARAMETERS.items():
            if name in metafunc.fixturenames:
                metafunc.parametrize(name, [spec for spec in self.key_specs if wanted(spec)])

    # ---- naming ----------------------------------------------------------------------------------------------------

    def fresh_ref(self, spec: KeySpec) -> MaterialRef:
        """A reference that names nothing yet."""
        key_id, material_id = str(uuid.uuid4()), uuid.uuid4().hex
        name = f"keystead:{key_id}:{material_id}"
        return MaterialRef(name, ACCOUNT_ARN + key_id, material_id, spec, external_id=self.external_id())

    async def created(self, plugin: KeyStorePlugin, spec: KeySpec | None = None) -> MaterialRef:
        """Fresh material, and the reference that the host would use from then on."""
        ref = self.fresh_ref(spec or self.any_spec())
        material = await plugin.create(ref)
        return msgspec.structs.replace(ref, token=material.token, external_id=None)

    # ---- what is declared ------------------------------------------------------------------------------------------

    def any_spec(self) -> KeySpec:
        """A declared spec that is cheap to generate."""
        declared = self.capabilities.key_specs.keys() - COSTLY_SPECS
        if not declared:
            pytest.skip("Capabilities.key_specs declares no spec")
        return min(declared, key=lambda spec: (not KEY_SPECS[spec].symmetric, list(KeySpec).index(spec)))

    def need_spec(self, spec: KeySpec, usage: KeyUsage | None = None) -> None:
        """Skip unless the plugin declares ``spec`` (for ``usage``)."""
        usages = self.capabilities.key_specs.get(spec)
        if usages is None:
            pytest.skip(f"Capabilities.key_specs does not declare {spec}")
        if usage is not None and usage not in usages:
            pytest.skip(f"Capabilities.key_specs does not declare {usage} for {spec}")

    def need_gcm(self) -> None:
        """Skip unless the plugin declares AES-GCM in parts."""
        if not self.capabilities.gcm:
            pytest.skip("Capabilities.gcm is not declared")

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
