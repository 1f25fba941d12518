"""Last uses: exact where they are noted, written soon when new and seldom when not, and never lost by a good end."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.clock import ManualClock
from controlplane.errors import StoreUnavailable
from controlplane.store import last_uses
from controlplane.store.database import Database
from controlplane.usage.last_uses import TICKS_APART, LastUses
from tests.controlplane.store.samples import add_key


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "keystead.db")
    database.open()
    yield database
    database.close()


class Uses:
    """Two keys, the noting process, and what is written."""

    def __init__(self, database: Database, clock: ManualClock, keys: list[str]) -> None:
        self.database, self.clock, self.keys = database, clock, keys
        self.here = LastUses(database, clock)

    def use(self, key: int = 0) -> float:
        self.clock.advance(0.1)
        self.here.note(self.keys[key], "Encrypt", f"request at {self.clock.time()}", "chain-0", 7)
        return self.clock.time()

    def written(self, key: int = 0) -> float | None:
        found = self.database.read(lambda tx: last_uses.get(tx, self.keys[key]))
        return found.at if found else None

    def known(self, key: int = 0) -> float | None:
        found = self.here.get(self.keys[key])
        return found.at if found else None

    async def ticks(self, number: int = 1) -> None:
        for _ in range(number):
            await self.here.tick()


@pytest.fixture
async def uses(database: Database, clock: ManualClock) -> Uses:
    keys = [await database.write(lambda tx, name=name: add_key(tx, name)) for name in ("a", "b")]  # type: ignore[misc]
    return Uses(database, clock, [key.metadata.uid for key in keys])


async def test_a_first_use_is_written_with_the_next_tick_and_a_later_one_is_known_at_once(uses: Uses) -> None:
    assert uses.known() is None
    first = uses.use()
    assert (uses.known(), uses.written()) == (first, None)
    await uses.ticks()
    assert uses.written() == first
    second = uses.use()
    await uses.ticks()
    assert (uses.known(), uses.written()) == (second, first)


async def test_the_use_before_a_silence_is_written_in_time(uses: Uses) -> None:
    uses.use()
    await uses.ticks()
    last = uses.use()
    await uses.ticks(TICKS_APART)
    assert uses.written() == last
    assert uses.known() == last
    again = uses.use()
    await uses.ticks()
    assert uses.written() == again, "it is a first use again"


async def test_a_key_in_constant_use_is_written_seldom(uses: Uses, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = 0
    really = last_uses.put

    def put(tx: sqlite3.Connection, given: Any) -> None:
        nonlocal rows
        rows += len(given)
        really(tx, given)

    monkeypatch.setattr(last_uses, "put", put)
    for _ in range(4 * TICKS_APART):
        uses.use()
        await uses.ticks()
    assert rows <= 9
    assert uses.known() == uses.clock.time()


async def test_writing_everything_writes_the_last_use_of_every_key_once(uses: Uses) -> None:
    uses.use(0)
    await uses.ticks()
    late, only = uses.use(0), uses.use(1)
    await uses.here.write()
    assert (uses.written(0), uses.written(1)) == (late, only)
    version = uses.database.version()
    await uses.ticks(0)
    assert uses.database.version() == version


async def test_stopping_writes_what_is_left(uses: Uses) -> None:
    uses.here.start()
    uses.use()
    await uses.here.stop()
    assert uses.written() == uses.clock.time()


async def test_what_cannot_be_written_is_written_later(uses: Uses, monkeypatch: pytest.MonkeyPatch) -> None:
    uses.use(0)
    await uses.ticks()
    late = uses.use(0)
    await uses.ticks(TICKS_APART - 1)
    new = uses.use(1)

    async def full(work: object) -> None:
        raise StoreUnavailable("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(uses.database, "write", full)
        with pytest.raises(StoreUnavailable):
            await uses.ticks()
    assert (uses.known(0), uses.known(1)) == (late, new)
    await uses.ticks()
    assert (uses.written(0), uses.written(1)) == (late, new)


async def test_another_process_may_know_better(uses: Uses) -> None:
    uses.use()
    other = Uses(uses.database, uses.clock, uses.keys)
    later = other.use()
    await other.ticks()
    assert uses.known() == later
