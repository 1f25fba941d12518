"""A key whose caller was told that it could not be made: nothing of it stays, here or in the device."""

from __future__ import annotations

import pytest

from controlplane.schema.conditions import Reason
from controlplane.schema.meta import Key
from controlplane.store import keys
from tests.controlplane.reconcile.world import World


async def withdraw(world: World) -> Key | None:
    uid = world.key().metadata.uid
    return await world.database.write(lambda tx: keys.withdraw(tx, uid, by="ann", now=world.clock.now()))


@pytest.mark.parametrize("effect", ["unavailable", "refuse"])
async def test_a_failed_create_has_a_cause_for_whoever_waits(world: World, effect: str) -> None:
    world.fault("create", effect)
    await world.look()
    assert world.synced().cause


async def test_without_a_connection_there_is_no_cause_for_nothing_was_tried(world: World) -> None:
    await world.restart(connect=False)
    await world.look()
    assert (world.synced().reason, world.synced().cause) == (Reason.STORE_UNREACHABLE, "")


@pytest.mark.parametrize("effect", ["unavailable", "refuse"])
async def test_what_certainly_was_not_made_is_gone_at_once(world: World, effect: str) -> None:
    world.fault("create", effect)
    await world.look()
    assert await withdraw(world) is None
    assert world.find() is None
    assert (world.in_device(), world.open_attempts()) == (set(), 0)


@pytest.mark.parametrize("effect", ["lost-answer", "lost-request"])
async def test_what_may_have_been_made_is_found_and_destroyed_before_the_key_is_gone(world: World, effect: str) -> None:
    world.fault("create", effect)
    await world.look()
    made = world.in_device()
    assert bool(made) is (effect == "lost-answer")
    assert await withdraw(world) is None
    assert world.find() is not None, "only the journal would know of its material"
    assert await withdraw(world) is None, "twice is once"
    world.fault("observe", "unavailable")
    await world.look()
    assert (world.find() is not None, world.in_device()) == (True, made)
    await world.look()
    assert world.find() is None
    assert (world.in_device(), world.open_attempts()) == (set(), 0)


async def test_what_was_made_meanwhile_is_not_taken_back(world: World) -> None:
    await world.look()
    kept = await withdraw(world)
    assert kept is not None
    assert kept == world.key()
    assert kept.status.current is not None
    assert kept.metadata.deletion is None


async def test_a_create_that_is_under_way_while_its_key_is_withdrawn_leaves_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from plugins.memory import MemoryKeyStore

    real = MemoryKeyStore.create

    async def create(self: MemoryKeyStore, ref: object) -> object:
        assert await withdraw(world) is None
        return await real(self, ref)  # type: ignore[arg-type]

    monkeypatch.setattr(MemoryKeyStore, "create", create)
    await world.look()
    assert len(world.in_device()) == 1
    await world.look()
    assert world.find() is None
    assert world.in_device() == set()
