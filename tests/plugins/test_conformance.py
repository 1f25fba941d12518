"""Our own plugins prove what every plugin must prove."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from plugins.memory import MemoryKeyStore, MemoryOptions
from plugins.sdk import KeySpec, KeyStorePlugin
from plugins.sdk.conformance import KeyStoreConformance, MemoryState
from plugins.software import FileRootKey, SoftwareKeyStore, SoftwareOptions


class TestSoftwareKeyStore(KeyStoreConformance):
    @pytest.fixture(autouse=True)
    def root_key_path(self, tmp_path: Path) -> None:
        self.path = tmp_path / "root.key"

    def make_plugin(self, state: MemoryState) -> KeyStorePlugin:
        return SoftwareKeyStore(SoftwareOptions(root_key=FileRootKey(path=str(self.path))), self.context(state))

    def secrets(self) -> list[bytes]:
        return [base64.b64decode(self.path.read_bytes().split()[1])]


MEMORY_SPECS = (KeySpec.SYMMETRIC_DEFAULT, KeySpec.HMAC_256)


class TestMemoryKeyStore(KeyStoreConformance):
    key_specs = MEMORY_SPECS

    @pytest.fixture(autouse=True)
    def fresh_process_devices(self) -> None:
        MemoryKeyStore.reset()

    def make_plugin(self, state: MemoryState) -> KeyStorePlugin:
        return MemoryKeyStore(MemoryOptions(pin="1234-secret", expected_pin="1234-secret"), self.context(state))

    def secrets(self) -> list[bytes]:
        return [b"1234-secret"]


class TestMemoryKeyStoreInAFile(KeyStoreConformance):
    key_specs = MEMORY_SPECS

    @pytest.fixture(autouse=True)
    def device_path(self, tmp_path: Path) -> None:
        self.path = tmp_path / "device.json"

    def make_plugin(self, state: MemoryState) -> KeyStorePlugin:
        return MemoryKeyStore(MemoryOptions(device=str(self.path)), self.context(state))
