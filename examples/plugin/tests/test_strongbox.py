"""The strongbox proves what every key store has to prove, and what is its own besides."""

from __future__ import annotations

from pathlib import Path

import pytest
from strongbox import CAPABILITIES, StrongboxKeyStore, StrongboxOptions

from plugins.sdk import CredentialsRefused, KeyStorePlugin, Misconfigured, SecretSource
from plugins.sdk.conformance import KeyStoreConformance, MemoryState

PASSPHRASE = b"the passphrase of the tests"


class TestStrongbox(KeyStoreConformance):
    declares = CAPABILITIES

    @pytest.fixture(autouse=True)
    def files(self, tmp_path: Path) -> None:
        self.path = tmp_path / "strongbox.json"
        self.passphrase = tmp_path / "passphrase"
        self.passphrase.touch(mode=0o600)
        self.passphrase.write_bytes(PASSPHRASE)

    def make_plugin(self, state: MemoryState) -> KeyStorePlugin:
        passphrase = SecretSource(from_file=str(self.passphrase))
        return StrongboxKeyStore(StrongboxOptions(str(self.path), passphrase), self.context(state))

    def secrets(self) -> list[bytes]:
        return [PASSPHRASE]

    async def test_a_wrong_passphrase_is_refused(self, plugin: KeyStorePlugin, state: MemoryState) -> None:
        self.passphrase.write_bytes(b"another one")
        with pytest.raises(CredentialsRefused, match="does not open this strongbox"):
            await self.make_plugin(state).open()

    async def test_a_strongbox_is_never_replaced(self, plugin: KeyStorePlugin, state: MemoryState) -> None:
        with pytest.raises(Misconfigured, match="never replaced"):
            await self.make_plugin(state).provision()

    async def test_the_file_shows_no_key_to_who_lacks_the_passphrase(self, plugin: KeyStorePlugin) -> None:
        ref = await self.created(plugin)
        assert ref.name.encode() not in self.path.read_bytes()
