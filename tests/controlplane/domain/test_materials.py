"""Which material of a key is current, which is next, and how a replica follows its primary key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from controlplane.domain import materials, schedule
from controlplane.schema.keys import (
    DesiredKey,
    KeyStatus,
    MaterialState,
    MaterialStatus,
    Origin,
    RotationSpec,
    RotationStatus,
    RotationType,
)
from controlplane.schema.meta import Key, Metadata

NOW = datetime(2027, 1, 15, 8, 0, tzinfo=UTC)
DAY = timedelta(days=1)
CURRENT, OLD, NEXT = MaterialState.CURRENT, MaterialState.NON_CURRENT, MaterialState.PENDING_ROTATION


def material(name: str, state: MaterialState) -> MaterialStatus:
    return MaterialStatus(material_id=name, name=f"keystead:uid:{name}", state=state, created_at=NOW)


def status(*states: tuple[str, MaterialState], **fields: object) -> KeyStatus:
    held = tuple(material(name, state) for name, state in states)
    return msgspec.structs.replace(KeyStatus(key_id="mrk-1", arn="arn", created_at=NOW, materials=held), **fields)


def key(region: str, told: KeyStatus, **spec: object) -> Key:
    metadata = Metadata(name=region, uid=region, generation=1, resource_version=1, created_at=NOW)
    desired = msgspec.structs.replace(DesiredKey(region=region, multi_region=True, origin=Origin.AWS_KMS), **spec)
    return Key(metadata=metadata, spec=desired, status=msgspec.structs.replace(told, primary_region="us-east-1"))


def states(told: KeyStatus) -> dict[str, MaterialState]:
    return {present.material_id: present.state for present in told.materials}


def test_the_first_material_is_current_and_a_later_one_waits() -> None:
    assert materials.state_of_new(status()) is CURRENT
    assert materials.state_of_new(status(("a", CURRENT))) is NEXT


def test_a_rotation_turns_the_pending_material_on_and_the_current_one_off() -> None:
    before = status(("a", OLD), ("b", CURRENT), ("c", NEXT), rotation=RotationStatus(requested_at=NOW))
    after = materials.rotated(before, RotationType.ON_DEMAND, RotationSpec(), NOW)
    assert states(after) == {"a": OLD, "b": OLD, "c": CURRENT}
    assert (after.current.rotated_at, after.current.rotation_type) == (NOW, RotationType.ON_DEMAND)
    assert after.rotation == RotationStatus(on_demand=1)


def test_a_rotation_without_pending_material_changes_nothing() -> None:
    before = status(("a", CURRENT), rotation=RotationStatus(requested_at=NOW))
    assert materials.rotated(before, RotationType.ON_DEMAND, RotationSpec(), NOW) is before


def test_a_rotation_on_demand_leaves_the_automatic_dates_alone() -> None:
    wanted, at = RotationSpec(enabled=True, period_days=90), NOW + 10 * DAY
    before = RotationStatus(next_at=at, requested_at=NOW)
    assert schedule.after_rotation(before, RotationType.ON_DEMAND, wanted, NOW).next_at == at


def test_dates_that_passed_while_nothing_could_rotate_are_made_up_for_once() -> None:
    wanted = RotationSpec(enabled=True, period_days=90)
    after = schedule.after_rotation(RotationStatus(next_at=NOW), RotationType.AUTOMATIC, wanted, NOW + 200 * DAY)
    assert after.next_at == NOW + 270 * DAY


def test_a_clock_that_jumped_back_makes_no_rotation_due() -> None:
    told = schedule.rotation_schedule(RotationSpec(), RotationSpec(enabled=True, period_days=90), RotationStatus(), NOW)
    assert schedule.rotation_due(told, NOW - 1000 * DAY) is None
    assert schedule.rotation_due(told, NOW + 90 * DAY) is RotationType.AUTOMATIC


def test_the_period_counts_anew_only_when_it_changes() -> None:
    once = schedule.rotation_schedule(RotationSpec(), RotationSpec(enabled=True), RotationStatus(), NOW)
    same = schedule.rotation_schedule(RotationSpec(enabled=True), RotationSpec(enabled=True), once, NOW + DAY)
    other = RotationSpec(enabled=True, period_days=90)
    changed = schedule.rotation_schedule(RotationSpec(enabled=True), other, once, NOW + DAY)
    off = schedule.rotation_schedule(RotationSpec(enabled=True), RotationSpec(), once, NOW + DAY)
    assert (once.next_at, same.next_at) == (NOW + 365 * DAY, NOW + 365 * DAY)
    assert (changed.next_at, off.next_at) == (NOW + 91 * DAY, None)


def test_a_replica_lacks_what_its_primary_has_and_takes_the_current_one_first() -> None:
    primary = key("us-east-1", status(("a", OLD), ("b", CURRENT), ("c", NEXT)))
    left = materials.missing(key("eu-central-1", status()), primary)
    assert [each.material_id for each in left] == ["b", "a", "c"]
    left = materials.missing(key("eu-central-1", status(("b", CURRENT))), primary)
    assert [each.material_id for each in left] == ["a", "c"]


def test_imported_material_is_never_replicated() -> None:
    primary = key("us-east-1", status(("a", CURRENT)), origin=Origin.EXTERNAL)
    assert materials.missing(key("eu-central-1", status(), origin=Origin.EXTERNAL), primary) == []


def test_a_replica_shows_every_material_as_its_primary_does() -> None:
    theirs = status(("a", OLD), ("b", CURRENT), rotation=RotationStatus(next_at=NOW))
    ours = materials.mirrored(status(("b", NEXT), ("a", CURRENT)), theirs)
    assert states(ours) == {"a": OLD, "b": CURRENT}
    assert ours.rotation.next_at == NOW


def test_a_replica_that_could_not_follow_goes_on_with_what_it_has() -> None:
    behind = status(("a", CURRENT))
    assert materials.mirrored(behind, status(("a", OLD), ("b", CURRENT))) is behind


def test_primary_and_replica_are_told_apart_by_region() -> None:
    primary, replica = key("us-east-1", status()), key("eu-central-1", status())
    assert not materials.is_replica(primary)
    assert materials.is_replica(replica)
    assert materials.primary_of([replica, primary]) is primary
    assert materials.primary_of([replica]) is None
