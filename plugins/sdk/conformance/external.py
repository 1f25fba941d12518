"""Conformance: keys that exist outside of the store, for stores with the capability ``external_keys``."""

from __future__ import annotations

import msgspec
import pytest

from plugins.sdk import InvalidRequest, KeySpec, KeyStorePlugin, MaterialNotFound, Unsupported
from plugins.sdk.conformance.choosing import needs, needs_external_keys
from plugins.sdk.conformance.harness import Harness


class ExternalKeyConformance(Harness):
    """Material stands for exactly the external key that was named."""

    def known_external_id(self) -> str:
        external_id = self.external_id()
        assert external_id is not None, "override Harness.external_id"
        return external_id

    @needs_external_keys
    async def test_an_external_key_is_described_and_nothing_is_changed(self, plugin: KeyStorePlugin) -> None:
        external_id = self.known_external_id()
        key = await plugin.find_external(external_id)
        assert key.enabled
        assert key == await plugin.find_external(external_id)

    @needs_external_keys
    async def test_an_external_key_that_is_not_there_is_not_found(self, plugin: KeyStorePlugin) -> None:
        with pytest.raises(MaterialNotFound):
            await plugin.find_external("no-such-external-key")
        ref = msgspec.structs.replace(self.fresh_ref(KeySpec.SYMMETRIC_DEFAULT), external_id="no-such-external-key")
        with pytest.raises(MaterialNotFound):
            await plugin.create(ref)

    @needs_external_keys
    async def test_material_without_an_external_key_is_refused(self, plugin: KeyStorePlugin) -> None:
        ref = msgspec.structs.replace(self.fresh_ref(KeySpec.SYMMETRIC_DEFAULT), external_id=None)
        with pytest.raises(InvalidRequest):
            await plugin.create(ref)

    @needs_external_keys
    async def test_material_says_which_external_key_it_stands_for(self, plugin: KeyStorePlugin) -> None:
        external_id = self.known_external_id()
        ref = self.fresh_ref(KeySpec.SYMMETRIC_DEFAULT)
        made = await plugin.create(ref)
        assert made.external_id == external_id
        seen = await plugin.observe(msgspec.structs.replace(ref, token=made.token, external_id=None))
        assert seen is not None
        assert seen.external_id == external_id

    @needs_external_keys
    async def test_destroying_material_leaves_the_external_key(self, plugin: KeyStorePlugin) -> None:
        external_id = self.known_external_id()
        await plugin.destroy(await self.created(plugin, KeySpec.SYMMETRIC_DEFAULT))
        assert (await plugin.find_external(external_id)).enabled

    @needs("", lambda can: not can.external_keys)
    async def test_a_store_without_external_keys_finds_none(self, plugin: KeyStorePlugin) -> None:
        with pytest.raises(Unsupported):
            await plugin.find_external("a")
