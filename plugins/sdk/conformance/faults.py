"""Conformance: what can go wrong around any plugin: races, cancelled calls, wrong references, a closed store."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from plugins.sdk import (
    Custody,
    KeySpec,
    KeyStoreError,
    KeyStorePlugin,
    MaterialDamaged,
    MaterialNotFound,
    MaterialRef,
)
from plugins.sdk.conformance.choosing import needs_device, needs_tokens
from plugins.sdk.conformance.harness import Harness, use_once
from plugins.sdk.conformance.state import MemoryState
from plugins.sdk.conformance.usage import flipped


class FaultConformance(Harness):
    """Nothing is duplicated, mixed up or lost when calls overlap, stop half-way or are wrong."""

    @needs_device
    async def test_concurrent_creates_of_one_name_make_one_material(self, plugin: KeyStorePlugin) -> None:
        ref = self.fresh_ref(self.any_spec())
        answers = await asyncio.gather(*(plugin.create(ref) for _ in range(8)))
        assert all(answer == answers[0] for answer in answers)
        if self.capabilities.lists_material:
            assert await self.listed(plugin) == [ref.name]

    @needs_tokens
    async def test_concurrent_creates_of_one_name_all_answer_usable_tokens(self, plugin: KeyStorePlugin) -> None:
        ref = self.fresh_ref(self.any_spec())
        for answer in await asyncio.gather(*(plugin.create(ref) for _ in range(8))):
            await use_once(plugin, msgspec.structs.replace(ref, token=answer.token))

    async def test_concurrent_uses_of_different_keys_do_not_mix(self, plugin: KeyStorePlugin) -> None:
        refs = [await self.created(plugin) for _ in range(8)]
        await asyncio.gather(*(use_once(plugin, ref) for ref in refs * 4))

    async def test_a_cancelled_create_leaves_all_or_nothing(self, plugin: KeyStorePlugin) -> None:
        ref = self.fresh_ref(self.any_spec())
        creating = asyncio.ensure_future(plugin.create(ref))
        await asyncio.sleep(0)
        creating.cancel()
        await asyncio.wait([creating])
        seen = await plugin.observe(ref)
        made = await plugin.create(ref)
        assert seen is None or seen == made
        await use_once(plugin, msgspec.structs.replace(ref, token=made.token))

    async def test_a_cancelled_use_leaves_the_material_usable(self, plugin: KeyStorePlugin) -> None:
        ref = await self.created(plugin)
        using = asyncio.ensure_future(use_once(plugin, ref))
        await asyncio.sleep(0)
        using.cancel()
        await asyncio.wait([using])
        await use_once(plugin, ref)

    async def test_two_instances_on_one_store_see_the_same_material(
        self, plugin: KeyStorePlugin, state: MemoryState
    ) -> None:
        other = await self.reopened(state)
        ref = await self.created(plugin)
        assert await other.observe(ref) == await plugin.observe(ref)
        await use_once(other, ref)
        await other.close()

    async def test_using_material_that_is_not_there_says_so(self, plugin: KeyStorePlugin) -> None:
        with pytest.raises(MaterialNotFound):
            await use_once(plugin, self.fresh_ref(self.any_spec()))

    async def test_material_answers_to_its_own_reference_only(self, plugin: KeyStorePlugin) -> None:
        ref = await self.created(plugin)
        await use_once(plugin, ref)  # cached from here on, if the plugin caches
        for wrong in self._wrong_refs(ref):
            with pytest.raises((MaterialDamaged, MaterialNotFound)):
                await use_once(plugin, wrong)
        await use_once(plugin, ref)

    @needs_tokens
    async def test_a_damaged_token_is_refused_and_named_damaged(self, plugin: KeyStorePlugin) -> None:
        ref = await self.created(plugin)
        assert ref.token is not None
        damaged = [flipped(ref.token, at) for at in range(len(ref.token))]
        for token in (*damaged, b"", ref.token[:-1], ref.token + b"\0"):
            with pytest.raises(MaterialDamaged):
                await plugin.observe(msgspec.structs.replace(ref, token=token))

    async def test_a_store_that_is_closed_answers_nothing(self, plugin: KeyStorePlugin) -> None:
        ref = await self.created(plugin)
        await use_once(plugin, ref)
        await plugin.close()
        with pytest.raises(KeyStoreError):
            await use_once(plugin, ref)

    def _wrong_refs(self, ref: MaterialRef) -> list[MaterialRef]:
        """References that must not open ``ref``'s material."""
        if self.capabilities.custody is Custody.DEVICE:
            return [msgspec.structs.replace(ref, name=ref.name + "x")]
        other = self.fresh_ref(ref.key_spec)
        wrong = [
            msgspec.structs.replace(ref, key_arn=other.key_arn),
            msgspec.structs.replace(ref, material_id=other.material_id),
            msgspec.structs.replace(ref, key_arn=ref.key_arn + ref.material_id[:1], material_id=ref.material_id[1:]),
        ]
        others = (KeySpec.SYMMETRIC_DEFAULT, KeySpec.HMAC_256)
        declared = [spec for spec in others if spec in self.capabilities.key_specs and spec is not ref.key_spec]
        return wrong + [msgspec.structs.replace(ref, key_spec=spec) for spec in declared]
