"""Whether a key is as it should be, and what it says: shared by the tests of keys."""

from __future__ import annotations

from datetime import timedelta

from controlplane.schema.conditions import ConditionStatus, Reason
from controlplane.schema.keys import MaterialState
from tests.controlplane.reconcile.world import World

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN


def said(world: World, name: str = "k") -> tuple[ConditionStatus, Reason]:
    synced = world.synced(name)
    return synced.status, synced.reason


async def assert_settled(world: World, name: str = "k") -> None:
    """As declared, one material, known to both sides; and another pass writes nothing."""
    key = world.key(name)
    assert said(world, name) == (TRUE, Reason.UP_TO_DATE)
    assert world.synced(name).observed_generation == key.metadata.generation == key.status.observed_generation
    assert [material.state for material in key.status.materials] == [MaterialState.CURRENT]
    assert world.open_attempts() == 0
    assert world.in_device() <= world.in_status(), "no orphan"
    version, attempts = world.version(), len(world.attempts())
    verdict = await world.look(name)
    assert verdict is not None
    assert verdict.status is TRUE
    assert not verdict.retry
    assert (world.version(), len(world.attempts())) == (version, attempts), (
        "a pass over an unchanged key writes nothing"
    )
