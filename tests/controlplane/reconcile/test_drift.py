"""What a spec set states is put back where it was changed; what is not put back is said, and never written."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.domain.ownership import API, KMS, set_manager
from controlplane.planning.drift import compare
from controlplane.reconcile.drift import Drift
from controlplane.schema.conditions import Condition, ConditionStatus, ConditionType, Reason, find_condition
from controlplane.schema.drift import DriftReason, ObjectDrift
from controlplane.schema.events import Event, EventReason
from controlplane.schema.keys import Management, PolicySource
from controlplane.store import claims, events, keys, objects
from tests.controlplane.reconcile.world import World

SET = "payments"


class Stated:
    """A key of a spec set that states some of it, and one pass of the reconciler."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.drift = Drift(world.database, world.clock)

    async def declare(self, name: str = "k", spec_set: str = SET, **leaves: Any) -> None:
        uid, now = self.world.key(name).metadata.uid, self.world.clock.now()

        def write(tx: Any) -> None:
            key = objects.replace(tx, uid, now=now, spec_set=spec_set)
            stated = {path.replace("__", "."): value for path, value in leaves.items()}
            claims.put(tx, uid, set_manager(spec_set), stated, generation=key.metadata.generation, by="ci", now=now)

        await self.world.database.write(write)

    async def by_hand(self, name: str = "k", manager: str = KMS, **fields: Any) -> None:
        uid, now = self.world.key(name).metadata.uid, self.world.clock.now()
        await self.world.database.write(
            lambda tx: keys.change(tx, uid, now, manager=manager, by="user/alice", **fields)
        )

    async def look(self, name: str = "k") -> None:
        uid = self.world.key(name).metadata.uid
        await self.drift.correct(uid)
        await self.world.look(name)
        await self.drift.tell(uid)

    def drifted(self, name: str = "k") -> Condition | None:
        return find_condition(self.world.key(name).status.conditions, ConditionType.DRIFTED)

    def told(self, *reasons: EventReason) -> list[Event]:
        page = self.world.read(lambda tx: events.page(tx, limit=100))
        return [each for each in page.items if each.reason in reasons]

    def compare(self, name: str = "k") -> ObjectDrift | None:
        key = self.world.key(name)
        return self.world.read(lambda tx: compare(tx, key))


@pytest.fixture
async def stated(bare: World) -> Stated:
    world = bare
    await world.add_store()
    await world.connect()
    await world.add_key(description="mine", tags={"team": "a"}, aliases=("one",))
    await world.look()
    found = Stated(world)
    await found.declare(description="mine", enabled=True, tags__team="a", aliases__one=True)
    await found.look()
    return found


async def test_what_is_as_stated_is_not_written(stated: Stated) -> None:
    version = stated.world.version()
    await stated.look()
    assert (stated.world.version(), stated.drifted()) == (version, None)


async def test_what_was_changed_is_put_back_with_an_event_that_says_what_was(stated: Stated) -> None:
    await stated.by_hand(description="theirs", enabled=False, tags={"team": "b", "cost": "7"}, aliases=("two",))
    await stated.look()
    spec = stated.world.key().spec
    assert (spec.description, spec.enabled, spec.tags) == ("mine", True, {"team": "a", "cost": "7"})
    assert set(spec.aliases) == {"one", "two"}, "what nobody states stays"
    (event,) = stated.told(EventReason.DRIFT_CORRECTED)
    for words in (
        'description is "theirs", stated is "mine" (the KMS API, user/alice)',
        "enabled is false, stated is true",
        'tags.team is "b", stated is "a"',
        "aliases.one is absent, stated is true",
    ):
        assert words in event.message
    assert (stated.drifted(), stated.compare()) == (None, None)
    version = stated.world.version()
    await stated.look()
    assert stated.world.version() == version, "the pass after is a no-op"


async def test_a_policy_is_put_back_and_not_told_at_length(stated: Stated) -> None:
    policy = PolicySource(document='{"Statement": [' + " " * 5_000 + "]}")
    await stated.by_hand(policy=policy)
    await stated.declare(policy={"document": policy.document})
    await stated.by_hand(policy=None)
    await stated.look()
    assert stated.world.key().spec.policy == policy
    (event,) = stated.told(EventReason.DRIFT_CORRECTED)
    assert len(event.message) < 300


@pytest.mark.parametrize("management", [Management.OBSERVE, Management.PAUSED])
async def test_what_is_observed_or_paused_is_told_and_left_as_it_is(stated: Stated, management: Management) -> None:
    await stated.by_hand(manager=API, management=management)
    await stated.look()
    await stated.by_hand(description="theirs")
    await stated.look()
    assert stated.world.key().spec.description == "theirs"
    condition = stated.drifted()
    assert condition is not None
    assert (condition.status, condition.reason) == (ConditionStatus.TRUE, Reason.FIELDS_DIFFER)
    assert 'description is "theirs", stated is "mine" (the KMS API, user/alice)' in condition.message
    drift = stated.compare()
    assert drift is not None
    assert (drift.corrected, drift.management, drift.spec_set) == (False, management, SET)
    assert [(each.path, each.stated, each.live) for each in drift.fields] == [("description", "mine", "theirs")]
    assert len(stated.told(EventReason.DRIFT_FOUND)) == 1
    version = stated.world.version()
    await stated.look()
    assert stated.world.version() == version
    await stated.by_hand(manager=API, management=Management.FULL)
    await stated.look()
    assert stated.world.key().spec.description == "mine"
    condition = stated.drifted()
    assert condition is not None
    assert condition.status is ConditionStatus.FALSE


async def test_an_alias_that_another_key_took_is_told_and_all_else_is_put_back(stated: Stated) -> None:
    await stated.by_hand(aliases=(), description="theirs")
    await stated.world.add_key("other", aliases=("one",))
    await stated.look()
    spec = stated.world.key().spec
    assert (spec.description, spec.aliases) == ("mine", ())
    assert stated.world.key("other").spec.aliases == ("one",)
    condition = stated.drifted()
    assert condition is not None
    assert "aliases.one is absent" in condition.message
    await stated.by_hand("other", aliases=())
    await stated.look()
    assert stated.world.key().spec.aliases == ("one",)


async def test_a_declared_key_that_somebody_scheduled_for_deletion_waits_for_a_person(stated: Stated) -> None:
    await stated.world.schedule()
    await stated.look()
    assert stated.world.key().metadata.deletion is not None, "nothing cancels a deletion by itself"
    condition = stated.drifted()
    assert condition is not None
    assert (condition.reason, "me scheduled its deletion" in condition.message) == (Reason.PENDING_DELETION, True)
    drift = stated.compare()
    assert drift is not None
    assert (drift.reason, drift.corrected) == (DriftReason.PENDING_DELETION, False)


async def test_a_key_that_left_its_set_has_not_drifted(stated: Stated) -> None:
    uid, now = stated.world.key().metadata.uid, stated.world.clock.now()
    await stated.world.database.write(
        lambda tx: keys.schedule_deletion(tx, uid, window_days=7, by="ci", now=now, spec_set=SET)
    )
    await stated.look()
    assert (stated.drifted(), stated.compare()) == (None, None)


async def test_lost_material_is_told_and_nothing_is_made_in_its_place(stated: Stated) -> None:
    before = stated.world.key().status.materials
    stated.world.device.write_bytes(b"{}")
    await stated.look()
    condition = stated.drifted()
    assert condition is not None
    assert (condition.status, condition.reason) == (ConditionStatus.TRUE, Reason.MATERIAL_LOST)
    assert (stated.world.key().status.materials, stated.world.in_device()) == (before, set())
    drift = stated.compare()
    assert drift is not None
    assert drift.reason is DriftReason.MATERIAL_LOST


async def test_two_sets_that_share_a_key_are_both_kept_true(stated: Stated) -> None:
    uid, now = stated.world.key().metadata.uid, stated.world.clock.now()
    generation = stated.world.key().metadata.generation
    leaves = {"tags.cost": "7"}
    await stated.world.database.write(
        lambda tx: claims.put(tx, uid, set_manager("platform"), leaves, generation=generation, by="ci", now=now)
    )
    await stated.look()
    assert stated.world.key().spec.tags == {"team": "a"}, "seen to be so: it was written down with its generation"
    await stated.by_hand(tags={})
    await stated.look()
    assert stated.world.key().spec.tags == {"team": "a", "cost": "7"}
