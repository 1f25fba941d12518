"""The table of due times: each key is handed out once when its time comes, whatever the clock does meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from controlplane.clock import ManualClock
from controlplane.domain.schedule import deletion_request
from controlplane.reconcile import duetimes as module
from controlplane.reconcile.duetimes import DueTimes
from controlplane.schema.keys import Management, RotationSpec
from controlplane.store import objects
from tests.controlplane.reconcile.world import World

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


@pytest.fixture
async def world(tmp_path: Path, clock: ManualClock) -> AsyncIterator[World]:
    world = World(tmp_path, clock)
    await world.start()
    await world.add_store()
    yield world
    await world.stop()


class Sweep:
    def __init__(self, world: World) -> None:
        self._world = world
        self._due = DueTimes(world.database, world.clock)

    def names(self) -> list[str]:
        """Names of keys that fell due since the last call, in the order in which they did."""
        by_uid = {self._world.key(name).metadata.uid: name for name in ("a", "b", "c") if self._world.find(name)}
        return [by_uid[uid] for uids in self._due.fallen_due() for uid in uids]


async def test_keys_are_handed_out_in_their_order_and_once(world: World) -> None:
    sweep = Sweep(world)
    for name, days in (("a", 9), ("b", 7), ("c", 30)):
        await world.add_key(name)
        await world.schedule(name, days)
    assert sweep.names() == []
    world.clock.advance(7 * DAY - SECOND)
    assert sweep.names() == []
    world.clock.advance(SECOND)
    assert sweep.names() == ["b"]
    assert sweep.names() == []
    world.clock.advance(40 * DAY)
    assert sweep.names() == ["a", "c"]
    assert sweep.names() == []


async def test_a_clock_that_jumped_back_hands_a_key_out_again_when_it_gets_there_and_not_before(world: World) -> None:
    sweep = Sweep(world)
    await world.add_key("a")
    await world.schedule("a", 7)
    world.clock.advance(8 * DAY)
    assert sweep.names() == ["a"]
    world.clock.advance(-5 * DAY)
    assert sweep.names() == []
    world.clock.advance(4 * DAY)
    assert sweep.names() == ["a"]
    assert sweep.names() == []


async def test_what_fell_due_while_nothing_ran_is_due_at_the_start(world: World) -> None:
    await world.add_key("a")
    await world.schedule("a", 7)
    world.clock.advance(21 * DAY)
    await world.restart()
    assert Sweep(world).names() == ["a"]


async def test_an_entry_that_was_committed_after_its_time_is_found(world: World) -> None:
    """A request that waited for the writer longer than until the moment it names."""
    sweep = Sweep(world)
    await world.add_key("a")
    asked = world.clock.now()
    world.clock.advance(7 * DAY + 20 * SECOND)
    assert sweep.names() == []
    world.clock.advance(asked - world.clock.now())
    await world.schedule("a", 7)
    world.clock.advance(7 * DAY + 21 * SECOND)
    assert sweep.names() == ["a"]


async def test_an_entry_for_a_moment_long_past_is_found_once(world: World) -> None:
    """Material that is imported for two days is to be warned of at once: its moment was five days ago."""
    sweep = Sweep(world)
    await world.add_key("a")
    await world.schedule("a", 7)
    asked = world.clock.now()
    world.clock.advance(90 * DAY)
    assert sweep.names() == ["a"]
    uid = world.key("a").metadata.uid
    past = msgspec.structs.replace(deletion_request(asked, 7, "me"), due_at=asked)
    await world.database.write(lambda tx: objects.replace(tx, uid, now=world.clock.now(), deletion=past))
    assert sweep.names() == ["a"]
    assert sweep.names() == []


async def test_a_due_time_that_moved_counts_and_the_old_one_does_not(world: World) -> None:
    sweep = Sweep(world)
    await world.add_key("a")
    await world.schedule("a", 7)
    await world.cancel("a")
    assert world.due("a") is None
    world.clock.advance(DAY)
    await world.schedule("a", 20)
    world.clock.advance(10 * DAY)
    assert sweep.names() == []
    world.clock.advance(10 * DAY)
    assert sweep.names() == ["a"]


async def test_more_keys_than_a_page_are_all_handed_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    sweep = Sweep(world)
    for name in ("a", "b", "c"):
        await world.add_key(name)
        await world.schedule(name, 7)
    world.clock.advance(7 * DAY)
    assert sorted(sweep.names()) == ["a", "b", "c"]


async def test_the_table_says_what_a_key_can_do(world: World) -> None:
    """Nothing is due for a key that cannot do it: it is looked at when that changes."""
    await world.add_key("a", rotation=RotationSpec(enabled=True, period_days=90))
    await world.connect()
    await world.look("a")
    await world.change("a", rotation=RotationSpec(enabled=True, period_days=100))
    rotates = world.clock.now() + 100 * DAY
    assert world.due("a") == rotates
    await world.change("a", enabled=False)
    assert world.due("a") is None
    await world.change("a", enabled=True)
    assert world.due("a") == rotates
    await world.change("a", management=Management.PAUSED)
    assert world.due("a") is None
    await world.change("a", management=Management.FULL)
    destroyed = await world.schedule("a", 7)
    assert world.due("a") == destroyed
    world.clock.advance(7 * DAY)
    await world.look("a")
    assert world.find("a") is None
    assert world.read(lambda tx: tx.execute("SELECT count(*) FROM due_times").fetchone()[0]) == 0
