"""Rotation and multi-Region keys on the software store: new material, the moment it becomes current, replicas."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

import pytest

from controlplane.errors import Conflict, LimitExceeded, NotFound
from controlplane.reconcile.external import External
from controlplane.schema.conditions import Reason
from controlplane.schema.keys import DesiredKey, MaterialState, Origin, RotationSpec, RotationType
from controlplane.schema.keystores import STANDARD
from controlplane.schema.meta import Key
from controlplane.store import keys
from tests.controlplane.reconcile.world import ACCOUNT, REGION, World

DAY = timedelta(days=1)
ELSEWHERE = "eu-central-1"
CURRENT, OLD = MaterialState.CURRENT, MaterialState.NON_CURRENT


def states(world: World, name: str = "k") -> list[MaterialState]:
    return [present.state for present in world.key(name).status.materials]


async def ask(world: World, name: str = "k") -> Key:
    uid, now = world.key(name).metadata.uid, world.clock.now()
    return await world.database.write(lambda tx: keys.request_rotation(tx, uid, now))


@pytest.fixture
async def multi(software: World) -> World:
    """A multi-Region primary ``m`` with its replica ``r``, both with material."""
    await software.add_key("m", store=STANDARD, multi_region=True)
    await software.look("m")
    await add_replica(software, "r", ELSEWHERE)
    await software.look("r")
    return software


async def add_replica(world: World, name: str, region: str) -> Key:
    primary, now = world.key("m"), world.clock.now()
    desired = DesiredKey(
        region=region,
        key_usage=primary.spec.key_usage,
        origin=Origin.AWS_KMS,
        multi_region=True,
        replica_of="m",
    )
    return await world.database.write(lambda tx: keys.create(tx, desired=desired, account=ACCOUNT, now=now, name=name))


# ---- rotation --------------------------------------------------------------------------------------------------------


async def test_a_rotation_on_demand_makes_new_material_current_and_keeps_the_old(software: World) -> None:
    await software.look()
    first = software.key().status.current
    await ask(software)
    await software.look()
    status = software.key().status
    assert first is not None
    assert states(software) == [OLD, CURRENT]
    assert status.current is not None
    assert status.current.material_id != first.material_id
    assert status.current.rotation_type is RotationType.ON_DEMAND
    assert status.rotation.requested_at is None
    assert len(software.tokens()) == 2
    version = software.version()
    await software.look()
    assert software.version() == version, "one request is one rotation"


async def test_automatic_rotation_comes_when_it_is_due_and_not_before(software: World) -> None:
    await software.look()
    await software.change("k", rotation=RotationSpec(enabled=True, period_days=90))
    await software.look()
    assert software.due() == software.clock.now() + 90 * DAY
    software.clock.advance(90 * DAY - timedelta(seconds=1))
    await software.look()
    assert states(software) == [CURRENT]
    software.clock.advance(timedelta(seconds=1))
    await software.look()
    assert states(software) == [OLD, CURRENT]
    assert software.key().status.materials[1].rotation_type is RotationType.AUTOMATIC


async def test_no_rotation_on_demand_begins_just_before_an_automatic_one(software: World) -> None:
    await software.look()
    await software.change("k", rotation=RotationSpec(enabled=True, period_days=90))
    software.clock.advance(90 * DAY - timedelta(minutes=20, seconds=1))
    await ask(software)
    await software.look()
    assert states(software) == [OLD, CURRENT]
    for moment in (timedelta(seconds=1), timedelta(minutes=20), timedelta(minutes=5)):
        software.clock.advance(moment)
        with pytest.raises(Conflict, match="automatic rotation"):
            await ask(software)
    await software.look()
    assert states(software) == [OLD, OLD, CURRENT]
    await ask(software)


async def test_a_clock_that_jumps_back_rotates_nothing(software: World) -> None:
    await software.change("k", rotation=RotationSpec(enabled=True, period_days=90))
    await software.look()
    software.clock.advance(-1000 * DAY)
    await software.look()
    assert states(software) == [CURRENT]


async def test_what_fell_due_while_the_server_was_down_rotates_once(software: World) -> None:
    await software.change("k", rotation=RotationSpec(enabled=True, period_days=90))
    await software.look()
    software.clock.advance(1000 * DAY)
    await software.restart()
    await software.look()
    await software.look()
    assert states(software) == [OLD, CURRENT]
    next_at = software.key().status.rotation.next_at
    assert next_at is not None
    assert next_at > software.clock.now()


async def test_a_disabled_key_rotates_when_it_is_enabled_again(software: World) -> None:
    await software.change("k", rotation=RotationSpec(enabled=True, period_days=90))
    await software.look()
    await software.change("k", enabled=False)
    software.clock.advance(100 * DAY)
    await software.look()
    assert states(software) == [CURRENT]
    await software.change("k", enabled=True)
    await software.look()
    assert states(software) == [OLD, CURRENT]


async def test_a_key_that_is_pending_deletion_does_not_rotate(software: World) -> None:
    await software.change("k", rotation=RotationSpec(enabled=True, period_days=90))
    await software.look()
    await software.schedule("k", days=30)
    software.clock.advance(29 * DAY)
    await software.look()
    assert states(software) == [CURRENT]


async def test_a_second_request_is_a_conflict_while_the_first_is_under_way(software: World) -> None:
    await software.look()
    await ask(software)
    with pytest.raises(Conflict, match="in progress"):
        await ask(software)


async def test_a_key_has_25_rotations_on_demand_in_its_life(software: World) -> None:
    await software.look()
    for _ in range(25):
        await ask(software)
        await software.look()
    assert states(software) == [OLD] * 25 + [CURRENT]
    with pytest.raises(LimitExceeded):
        await ask(software)


async def test_a_crash_between_new_material_and_its_turn_is_continued(
    software: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await software.look()
    await ask(software)
    made = External.create

    async def create_and_die(self: External, key: Key) -> Key:
        await made(self, key)
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(External, "create", create_and_die)
        with pytest.raises(RuntimeError):
            await software.look()
    assert states(software) == [CURRENT, MaterialState.PENDING_ROTATION]
    await software.restart()
    await software.look()
    assert states(software) == [OLD, CURRENT], "the material that was made is used, none is made twice"


# ---- multi-Region keys -----------------------------------------------------------------------------------------------


async def test_a_replica_has_the_key_id_and_the_material_of_its_primary_in_a_token_of_its_own(multi: World) -> None:
    primary, replica = multi.key("m"), multi.key("r")
    assert replica.status.key_id == primary.status.key_id
    assert ELSEWHERE in replica.status.arn
    assert [m.material_id for m in replica.status.materials] == [m.material_id for m in primary.status.materials]
    assert replica.status.materials[0].name != primary.status.materials[0].name
    assert states(multi, "r") == [CURRENT]
    assert len(multi.tokens()) == 2


async def test_a_rotation_waits_for_the_replica_and_turns_both_at_once(multi: World) -> None:
    await ask(multi, "m")
    verdict = await multi.look("m")
    assert verdict is not None
    assert verdict.reason is Reason.ROTATING
    assert verdict.wake == (multi.key("r").metadata.uid,)
    assert states(multi, "m") == [CURRENT, MaterialState.PENDING_ROTATION]
    followed = await multi.look("r")
    assert followed is not None
    assert followed.wake == (multi.key("m").metadata.uid,)
    assert states(multi, "r") == [CURRENT, MaterialState.PENDING_ROTATION]
    await multi.look("m")
    assert states(multi, "m") == states(multi, "r") == [OLD, CURRENT]


async def test_a_new_replica_gets_every_material(multi: World) -> None:
    await ask(multi, "m")
    for name in ("m", "r", "m"):
        await multi.look(name)
    await add_replica(multi, "s", "ap-south-1")
    await multi.look("s")
    by_id = {m.material_id: m.state for m in multi.key("s").status.materials}
    assert by_id == {m.material_id: m.state for m in multi.key("m").status.materials}


async def test_a_replica_that_is_pending_deletion_does_not_hold_up_a_rotation_and_catches_up(multi: World) -> None:
    await multi.schedule("r")
    await ask(multi, "m")
    await multi.look("m")
    assert states(multi, "m") == [OLD, CURRENT]
    assert states(multi, "r") == [CURRENT]
    await multi.cancel("r")
    await multi.look("r")
    assert sorted(states(multi, "r")) == [CURRENT, OLD]
    current = multi.key("r").status.current
    assert current is not None
    assert current.material_id == cast("Key", multi.key("m")).status.materials[1].material_id


async def test_a_primary_waits_for_its_replicas_before_its_window_begins(multi: World) -> None:
    assert await multi.schedule("m", days=7) is None
    multi.clock.advance(400 * DAY)
    await multi.look("m")
    assert multi.find("m") is not None
    await multi.schedule("r", days=7)
    multi.clock.advance(7 * DAY)
    verdict = await multi.look("r")
    assert multi.find("r") is None
    assert verdict is not None
    assert verdict.wake == (multi.key("m").metadata.uid,)
    deletion = multi.key("m").metadata.deletion
    assert deletion is not None
    assert deletion.due_at == multi.clock.now() + 7 * DAY
    multi.clock.advance(7 * DAY - timedelta(seconds=1))
    await multi.look("m")
    assert multi.find("m") is not None
    multi.clock.advance(timedelta(seconds=1))
    await multi.look("m")
    assert multi.find("m") is None
    assert len(multi.tokens()) == 0


async def test_destroying_a_replica_leaves_its_primary_whole(multi: World) -> None:
    await multi.schedule("r", days=7)
    multi.clock.advance(7 * DAY)
    await multi.look("r")
    await multi.look("m")
    assert multi.synced("m").reason is Reason.UP_TO_DATE
    assert multi.tokens() == {multi.key("m").status.materials[0].name}


async def test_the_primary_moves_and_rotation_goes_with_it(multi: World) -> None:
    await multi.change("m", rotation=RotationSpec(enabled=True, period_days=100))
    uid, now = multi.key("m").metadata.uid, multi.clock.now()
    await multi.database.write(lambda tx: keys.move_primary(tx, uid, ELSEWHERE, now))
    former, new = multi.key("m"), multi.key("r")
    assert (former.spec.replica_of, new.spec.replica_of) == ("r", None)
    assert former.status.primary_region == new.status.primary_region == ELSEWHERE
    assert (former.spec.rotation.enabled, new.spec.rotation.period_days) == (False, 100)
    multi.clock.advance(100 * DAY)
    for name in ("r", "m", "r", "m"):
        await multi.look(name)
    assert states(multi, "m") == states(multi, "r") == [OLD, CURRENT]


async def test_the_primary_does_not_move_to_where_no_replica_is(multi: World) -> None:
    uid, now = multi.key("m").metadata.uid, multi.clock.now()
    with pytest.raises(NotFound, match="no replica key in ap-south-1"):
        await multi.database.write(lambda tx: keys.move_primary(tx, uid, "ap-south-1", now))
    assert multi.key("m").status.primary_region == REGION
