"""Our own plugins prove what every plugin must prove."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

import plugins.memory
import plugins.pkcs11
from plugins.memory import MemoryKeyStore, MemoryOptions
from plugins.pkcs11 import Pkcs11KeyStore, Pkcs11Options
from plugins.sdk import KeySpec, KeyStorePlugin, MaterialRef
from plugins.sdk.conformance import KeyStoreConformance, MemoryState
from plugins.software import FileRootKey, SoftwareKeyStore, SoftwareOptions, TokenRootKey, capabilities
from tests.hsm import PIN, NssToken, SoftToken, pin_file

FOREIGN = "made-by-others"


async def made_by_another(other: KeyStorePlugin, foreign: MaterialRef) -> str:
    """Material under a name that no key of ours has."""
    await other.open()
    await other.create(msgspec.structs.replace(foreign, name=FOREIGN))
    await other.close()
    return FOREIGN


class TestSoftwareKeyStore(KeyStoreConformance):
    declares = capabilities()

    @pytest.fixture(autouse=True)
    def root_key_path(self, tmp_path: Path) -> None:
        self.path = tmp_path / "root.key"

    def make_plugin(self, state: MemoryState) -> KeyStorePlugin:
        return SoftwareKeyStore(SoftwareOptions(root_key=FileRootKey(path=str(self.path))), self.context(state))

    def secrets(self) -> list[bytes]:
        return [base64.b64decode(self.path.read_bytes().split()[1])]


class TestMemoryKeyStore(KeyStoreConformance):
    declares = plugins.memory.CAPABILITIES

    @pytest.fixture(autouse=True)
    def fresh_process_devices(self) -> None:
        MemoryKeyStore.reset()

    def make_plugin(self, state: MemoryState) -> KeyStorePlugin:
        return MemoryKeyStore(MemoryOptions(pin="1234-secret", expected_pin="1234-secret"), self.context(state))

    async def foreign_material(self) -> str:
        return await made_by_another(self.make_plugin(MemoryState()), self.fresh_ref(KeySpec.SYMMETRIC_DEFAULT))

    def secrets(self) -> list[bytes]:
        return [b"1234-secret"]


class TestMemoryKeyStoreInAFile(KeyStoreConformance):
    declares = plugins.memory.CAPABILITIES

    @pytest.fixture(autouse=True)
    def device_path(self, tmp_path: Path) -> None:
        self.path = tmp_path / "device.json"

    def make_plugin(self, state: MemoryState) -> KeyStorePlugin:
        return MemoryKeyStore(MemoryOptions(device=str(self.path)), self.context(state))

    async def foreign_material(self) -> str:
        return await made_by_another(self.make_plugin(MemoryState()), self.fresh_ref(KeySpec.SYMMETRIC_DEFAULT))


class OnToken(KeyStoreConformance):
    """A key store on one PKCS#11 token, with its two workers."""

    declares = plugins.pkcs11.CAPABILITIES
    options: Pkcs11Options

    def make_plugin(self, state: MemoryState) -> KeyStorePlugin:
        return Pkcs11KeyStore(self.options, self.context(state))

    async def foreign_material(self) -> str:
        return await made_by_another(self.make_plugin(MemoryState()), self.fresh_ref(KeySpec.SYMMETRIC_DEFAULT))

    def secrets(self) -> list[bytes]:
        return [PIN.encode()]


class TestSoftHsm(OnToken):
    @pytest.fixture(autouse=True)
    def token(self, tmp_path: Path) -> None:
        self.token_on_disk = SoftToken(tmp_path)
        options = self.token_on_disk.options(pin=pin_file(tmp_path))
        self.options = msgspec.convert(options, Pkcs11Options)

    async def foreign_material(self) -> str:
        self.token_on_disk.tool("--keygen", "--key-type", "AES:32", "--label", FOREIGN, "--extractable")
        return FOREIGN


class TestNssSoftokn(OnToken):
    @pytest.fixture(autouse=True)
    def token(self, tmp_path: Path) -> None:
        options = NssToken(tmp_path / "nss").options(pin=pin_file(tmp_path))
        self.options = msgspec.convert(options, Pkcs11Options)


class TestClusterThatSynchronises(OnToken):
    """Two members on one token: what one makes, the other has."""

    @pytest.fixture(autouse=True)
    def token(self, tmp_path: Path) -> None:
        options = SoftToken(tmp_path).options(pin=pin_file(tmp_path), members=[{}, {}], workers=1)
        self.options = msgspec.convert(options, Pkcs11Options)


class TestClusterThatDoesNotSynchronise(OnToken):
    """Two tokens that know nothing of each other: each key is in one of them."""

    @pytest.fixture(autouse=True)
    def token(self, tmp_path: Path) -> None:
        first, second = SoftToken(tmp_path / "a", "a"), SoftToken(tmp_path / "b", "b")
        members = [{"token": each.label, "environment": each.environment} for each in (first, second)]
        more = {"pin": pin_file(tmp_path), "members": members, "workers": 1, "synchroniseSeconds": 0.1}
        self.options = msgspec.convert(first.options(**more), Pkcs11Options)


class TestSoftwareKeyStoreUnderAnHsm(TestSoftwareKeyStore):
    """The standard store with its root key in an HSM is the same store."""

    @pytest.fixture(autouse=True)
    def root_key_path(self, tmp_path: Path) -> None:
        options = {**SoftToken(tmp_path).options(), "pin": pin_file(tmp_path), "provider": "pkcs11"}
        self.root_key = msgspec.convert(options, TokenRootKey)

    @pytest.fixture
    async def plugin(self, state: MemoryState) -> AsyncIterator[KeyStorePlugin]:
        """Instances that a test opens beside the first are closed too: each has a worker."""
        self.made: list[KeyStorePlugin] = []
        self._named = []
        self._before = set()
        plugin = self.make_plugin(state)
        await plugin.provision()
        self.capabilities = await plugin.open()
        yield plugin
        for each in self.made:
            await each.close()

    def make_plugin(self, state: MemoryState) -> KeyStorePlugin:
        plugin = SoftwareKeyStore(SoftwareOptions(root_key=self.root_key), self.context(state))
        self.made.append(plugin)
        return plugin

    def secrets(self) -> list[bytes]:
        return [PIN.encode()]
