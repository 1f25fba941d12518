"""Events: told with what they tell of, counted when they repeat, bounded however often something happens."""

from __future__ import annotations

from datetime import timedelta

import pytest

from controlplane.errors import Blocked
from controlplane.schema.events import WARNINGS, Event, EventReason, Severity
from controlplane.schema.meta import Key
from controlplane.store import events, keys, objects
from controlplane.store.database import Database, Tx
from tests.controlplane.store.samples import NOW, add_key


async def told(database: Database, key: Key, message: str, at: float = 0.0) -> None:
    now = NOW + timedelta(seconds=at)
    await database.write(lambda tx: events.record(tx, key, EventReason.USE_REFUSED, message, now))


def shown(database: Database, uid: str | None = None, since: int | None = None, limit: int = 200) -> list[Event]:
    return list(database.read(lambda tx: events.page(tx, uid=uid, since=since, limit=limit)).items)


async def test_a_repeat_is_counted_and_heard_of_by_a_reader_that_goes_on(database: Database) -> None:
    key = await database.write(lambda tx: add_key(tx, "k"))
    await told(database, key, "a")
    await told(database, key, "b", 1)
    seen = database.read(events.latest)
    await told(database, key, "a", 2)
    (again,) = shown(database, since=seen)
    assert (again.message, again.count, again.first_at, again.last_at) == ("a", 2, NOW, NOW + timedelta(seconds=2))
    assert [event.message for event in shown(database)] == ["b", "a"], "oldest first, by the last time"


async def test_a_clock_that_jumps_back_neither_hides_nor_reorders_a_repeat(database: Database) -> None:
    key = await database.write(lambda tx: add_key(tx, "k"))
    await told(database, key, "a", 1000)
    await told(database, key, "a", -1000)
    (event,) = shown(database)
    assert (event.count, event.last_at) == (2, NOW + timedelta(seconds=1000))


async def test_what_repeats_after_more_than_a_day_is_news(database: Database) -> None:
    key = await database.write(lambda tx: add_key(tx, "k"))
    await told(database, key, "a")
    await told(database, key, "a", 86_401)
    assert [event.count for event in shown(database)] == [1, 1]


async def test_a_reader_that_pages_sees_everything_once(database: Database) -> None:
    one, two = [await database.write(lambda tx, n=name: add_key(tx, n)) for name in ("one", "two")]
    for number in range(10):
        await told(database, one if number % 2 else two, f"{number}")
    seen, since = [], 0
    while page := database.read(lambda tx, s=since: events.page(tx, since=s, limit=3)):
        seen += [event.message for event in page.items]
        assert page.version >= since
        if page.version == since:
            break
        since = page.version
    assert seen == [f"{number}" for number in range(10)]
    assert [event.message for event in shown(database, uid=one.metadata.uid)] == ["1", "3", "5", "7", "9"]
    assert [event.message for event in shown(database, limit=2)] == ["8", "9"], "without since: the newest"


async def test_events_are_bounded_for_one_object_and_altogether(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "PER_OBJECT", 5)
    monkeypatch.setattr(events, "IN_ALL", 12)
    noisy, quiet = [await database.write(lambda tx, n=name: add_key(tx, n)) for name in ("noisy", "quiet")]
    await told(database, quiet, "kept")
    for number in range(9):
        await told(database, noisy, f"{number}", number)
    assert [event.message for event in shown(database, uid=noisy.metadata.uid)] == ["4", "5", "6", "7", "8"]
    assert [event.message for event in shown(database, uid=quiet.metadata.uid)] == ["kept"]
    others = [await database.write(lambda tx, n=n: add_key(tx, f"k{n}")) for n in range(20)]
    for key in others:
        await told(database, key, "x")
    assert len(shown(database)) == 12


async def test_a_message_is_cut_not_refused(database: Database) -> None:
    key = await database.write(lambda tx: add_key(tx, "k"))
    await told(database, key, "m" * 5000)
    await told(database, key, "m" * 5000)
    (event,) = shown(database)
    assert (len(event.message), event.count) == (events.MAX_MESSAGE, 2)


async def test_scheduling_and_cancelling_a_deletion_are_told_and_a_refused_one_is_not(database: Database) -> None:
    key = await database.write(lambda tx: add_key(tx, "k"))
    uid = key.metadata.uid

    def protect(tx: Tx) -> None:
        spec = key.spec.deletion.__class__(protect=True)
        keys.change(tx, uid, NOW, deletion=spec)

    await database.write(lambda tx: keys.schedule_deletion(tx, uid, window_days=7, by="ann", now=NOW))
    await database.write(lambda tx: keys.cancel_deletion(tx, uid, by="bob", now=NOW))
    await database.write(protect)
    with pytest.raises(Blocked):
        await database.write(lambda tx: keys.schedule_deletion(tx, uid, window_days=7, by="eve", now=NOW))
    scheduled, cancelled = shown(database, uid=uid)
    assert scheduled.reason is EventReason.DELETION_SCHEDULED
    assert scheduled.message.startswith("ann scheduled")
    assert "2026-01-08" in scheduled.message
    assert (cancelled.reason, cancelled.name) == (EventReason.DELETION_CANCELLED, "k")
    assert "bob" in cancelled.message


async def test_events_outlive_their_object(database: Database) -> None:
    key = await database.write(lambda tx: add_key(tx, "k"))
    await told(database, key, "last words")

    def remove(tx: Tx) -> None:
        objects.replace(tx, key.metadata.uid, now=NOW, finalizers=())
        objects.remove(tx, key.metadata.uid)

    await database.write(remove)
    assert [event.message for event in shown(database, uid=key.metadata.uid)] == ["last words"]


def test_severity_follows_from_the_reason() -> None:
    assert set(EventReason) >= WARNINGS
    assert Severity.WARNING.value != Severity.NORMAL.value
