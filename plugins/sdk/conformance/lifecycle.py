"""Conformance: opening, probing, and the life of material from its first observation to its destruction."""

from __future__ import annotations

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization

from plugins.sdk import (
    CONTRACT_VERSION,
    KEY_SPECS,
    Algorithm,
    Custody,
    InvalidRequest,
    KeySpec,
    KeyStorePlugin,
    Material,
    MaterialNotFound,
    Unsupported,
)
from plugins.sdk.conformance.choosing import needs
from plugins.sdk.conformance.harness import Harness, use_once
from plugins.sdk.conformance.state import MemoryState


class LifecycleConformance(Harness):
    """Material comes to be once, stays as it is, and goes for good."""

    async def test_contract_version_is_one_that_the_host_knows(self, plugin: KeyStorePlugin) -> None:
        assert 1 <= plugin.contract <= CONTRACT_VERSION

    async def test_the_store_declares_what_its_tests_were_chosen_by(self, plugin: KeyStorePlugin) -> None:
        assert self.capabilities == self.declares

    async def test_usages_declared_are_usages_that_the_kms_api_has(self, plugin: KeyStorePlugin) -> None:
        for spec, usages in self.capabilities.key_specs.items():
            assert usages, f"{spec} is declared for no usage"
            assert usages <= KEY_SPECS[spec].algorithms.keys()

    async def test_an_open_store_probes_healthy(self, plugin: KeyStorePlugin) -> None:
        health = await plugin.probe()
        assert health.healthy, health.detail

    async def test_maintaining_a_fresh_store_does_nothing(self, plugin: KeyStorePlugin) -> None:
        assert await plugin.maintain() == []

    async def test_material_that_was_never_created_is_not_there(self, plugin: KeyStorePlugin) -> None:
        assert await plugin.observe(self.fresh_ref(self.any_spec())) is None

    async def test_observing_before_creating_changes_nothing(self, plugin: KeyStorePlugin) -> None:
        ref = self.fresh_ref(self.any_spec())
        await plugin.observe(ref)
        assert await plugin.observe(ref) is None
        if self.capabilities.lists_material:
            assert await self.listed(plugin) == []

    async def test_created_material_is_observed_as_it_was_answered(
        self, plugin: KeyStorePlugin, cheap_spec: KeySpec
    ) -> None:
        ref = self.fresh_ref(cheap_spec)
        made = await plugin.create(ref)
        assert (made.token is not None) == (self.capabilities.custody is Custody.TOKEN)
        assert await plugin.observe(msgspec.structs.replace(ref, token=made.token)) == made

    async def test_a_key_pair_shows_its_public_key_and_a_secret_key_shows_none(
        self, plugin: KeyStorePlugin, cheap_spec: KeySpec
    ) -> None:
        made = await plugin.create(self.fresh_ref(cheap_spec))
        if KEY_SPECS[cheap_spec].symmetric:
            assert made.public_key is None
        else:
            assert made.public_key is not None
            serialization.load_der_public_key(made.public_key)

    async def test_creating_what_exists_answers_the_same_and_changes_nothing(self, plugin: KeyStorePlugin) -> None:
        ref = await self.created(plugin)
        first = await plugin.observe(ref)
        assert await plugin.create(ref) == first
        assert await plugin.observe(ref) == first

    async def test_every_key_has_material_of_its_own(self, plugin: KeyStorePlugin) -> None:
        first, second = await self.created(plugin), await self.created(plugin)
        one, other = await plugin.observe(first), await plugin.observe(second)
        assert one is not None
        if one != Material():  # a store that tells nothing of its material shows it by its use alone
            assert one != other

    async def test_destroyed_material_is_gone_whatever_the_host_still_holds(self, plugin: KeyStorePlugin) -> None:
        ref = await self.created(plugin)
        await use_once(plugin, ref)
        await plugin.destroy(ref)
        assert await plugin.observe(ref) is None
        with pytest.raises(MaterialNotFound):
            await use_once(plugin, ref)

    async def test_destroying_twice_succeeds(self, plugin: KeyStorePlugin) -> None:
        ref = await self.created(plugin)
        await plugin.destroy(ref)
        await plugin.destroy(ref)

    async def test_destroying_what_never_was_succeeds(self, plugin: KeyStorePlugin) -> None:
        await plugin.destroy(self.fresh_ref(self.any_spec()))

    async def test_destroying_one_material_leaves_the_others(self, plugin: KeyStorePlugin) -> None:
        doomed, kept = await self.created(plugin), await self.created(plugin)
        await plugin.destroy(doomed)
        await use_once(plugin, kept)

    async def test_forgotten_material_is_found_again(self, plugin: KeyStorePlugin) -> None:
        ref = await self.created(plugin)
        await use_once(plugin, ref)
        plugin.forget(ref)
        await use_once(plugin, ref)

    async def test_forgetting_unknown_material_is_harmless(self, plugin: KeyStorePlugin) -> None:
        plugin.forget(self.fresh_ref(self.any_spec()))

    async def test_listing_names_all_material_and_nothing_else(self, plugin: KeyStorePlugin) -> None:
        if not self.capabilities.lists_material:
            with pytest.raises(Unsupported):
                await plugin.list_material()
            return
        refs = [await self.created(plugin) for _ in range(3)]
        assert await self.listed(plugin) == sorted(ref.name for ref in refs)
        await plugin.destroy(refs[0])
        assert await self.listed(plugin) == sorted(ref.name for ref in refs[1:])

    async def test_a_replica_is_the_same_material_and_outlives_its_source(self, plugin: KeyStorePlugin) -> None:
        source = await self.created(plugin)
        target = msgspec.structs.replace(self.fresh_ref(source.key_spec), material_id=source.material_id)
        if not self.capabilities.replication:
            with pytest.raises(Unsupported):
                await plugin.replicate(source, target)
            return
        made = await plugin.replicate(source, target)
        replica = msgspec.structs.replace(target, token=made.token)
        assert await plugin.replicate(source, replica) == made
        algorithm = Algorithm.SYMMETRIC_DEFAULT
        if source.key_spec is KeySpec.SYMMETRIC_DEFAULT:
            sealed = await plugin.encrypt(source, algorithm, b"plaintext", b"aad")
            assert await plugin.decrypt(replica, algorithm, sealed, b"aad") == b"plaintext"
        await plugin.destroy(source)
        await use_once(plugin, replica)
        assert await plugin.observe(source) is None

    @needs("replication", lambda can: can.replication)
    async def test_material_is_not_replicated_under_another_id_or_spec(self, plugin: KeyStorePlugin) -> None:
        source = await self.created(plugin)
        with pytest.raises(InvalidRequest):
            await plugin.replicate(source, self.fresh_ref(source.key_spec))

    @needs("adoption", lambda can: can.adoption)
    async def test_foreign_material_is_taken_over_once_and_usable(self, plugin: KeyStorePlugin) -> None:
        foreign = await self.foreign_material()
        assert foreign is not None, "Capabilities.adoption is declared: override Harness.foreign_material"
        assert foreign in await plugin.list_material()
        ref = self.fresh_ref(KeySpec.SYMMETRIC_DEFAULT)
        taken = await plugin.adopt(foreign, ref)
        assert await plugin.adopt(foreign, ref) == taken
        assert await plugin.observe(ref) == taken
        assert foreign not in await plugin.list_material()
        await use_once(plugin, msgspec.structs.replace(ref, token=taken.token))
        with pytest.raises(MaterialNotFound):
            await plugin.adopt(foreign, self.fresh_ref(KeySpec.SYMMETRIC_DEFAULT))

    async def test_a_spec_that_is_not_declared_is_refused_not_substituted(self, plugin: KeyStorePlugin) -> None:
        for spec in set(KeySpec) - self.capabilities.key_specs.keys():
            with pytest.raises(Unsupported):
                await plugin.create(self.fresh_ref(spec))

    async def test_material_survives_closing_and_opening(self, plugin: KeyStorePlugin, state: MemoryState) -> None:
        ref = await self.created(plugin)
        before = await plugin.observe(ref)
        await plugin.close()
        again = await self.reopened(state)
        assert await again.observe(ref) == before
        await use_once(again, ref)
        await again.close()

    async def test_closing_twice_is_harmless(self, plugin: KeyStorePlugin) -> None:
        await plugin.close()
        await plugin.close()
