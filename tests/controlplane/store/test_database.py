"""Transactions: durable when answered, all or nothing, shared commits, and a plain word when the disk does not play."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from controlplane.errors import Blocked, StoreDamaged, StoreUnavailable
from controlplane.store import database as module
from controlplane.store import facts, objects
from controlplane.store.database import Database, Tx
from controlplane.store.migrations import MIGRATIONS
from tests.controlplane.store.samples import add_key, other_process


def put(name: str, value: str = "x") -> Callable[[Tx], str]:
    return lambda tx: facts.put_once(tx, name, value)


def held(database: Database) -> set[str]:
    return database.read(lambda tx: {row[0] for row in tx.execute("SELECT name FROM facts")})


class Gate:
    """A job that occupies the writer until it is let go, so that others queue up behind it."""

    def __init__(self) -> None:
        self.entered, self.leave = threading.Event(), threading.Event()

    def __call__(self, tx: Tx) -> None:
        self.entered.set()
        assert self.leave.wait(60)


async def together(database: Database, *jobs: Callable[[Tx], Any]) -> list[Any]:
    """Outcomes of jobs that waited together: all were queued while another had the writer."""
    gate = Gate()
    first = asyncio.ensure_future(database.write(gate))
    await asyncio.to_thread(gate.entered.wait, 60)
    waiting = [asyncio.ensure_future(database.write(job)) for job in jobs]
    await asyncio.sleep(0)
    gate.leave.set()
    await first
    return await asyncio.gather(*waiting, return_exceptions=True)


# ---- group commit ----------------------------------------------------------------------------------------------------


async def test_jobs_that_wait_together_share_one_commit(database: Database) -> None:
    commits: list[int] = []
    database.on_commit(lambda: commits.append(1))
    await together(database, *(put(f"fact-{number}") for number in range(100)))
    assert len(commits) == 2
    assert len(held(database)) == 100


async def test_a_commit_holds_a_bounded_number_of_jobs(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BATCH", 10)
    commits: list[int] = []
    database.on_commit(lambda: commits.append(1))
    await together(database, *(put(f"fact-{number}") for number in range(25)))
    assert len(commits) == 1 + 3


async def test_jobs_run_in_order_of_arrival(database: Database) -> None:
    seen: list[int] = []
    await together(database, *(lambda tx, number=number: seen.append(number) for number in range(50)))
    assert seen == list(range(50))


async def test_a_job_that_fails_leaves_nothing_and_harms_no_other(database: Database) -> None:
    def half(tx: Tx) -> None:
        put("half")(tx)
        raise Blocked("no")

    def wrong(tx: Tx) -> None:
        put("wrong")(tx)
        tx.execute("INSERT INTO facts VALUES ('before', 'again')")

    outcomes = await together(database, put("before"), half, wrong, put("after"))
    assert outcomes[0] == outcomes[3] == "x"
    assert isinstance(outcomes[1], Blocked)
    assert isinstance(outcomes[2], StoreUnavailable)
    assert held(database) == {"before", "after"}


async def test_a_later_job_sees_what_an_earlier_one_of_the_same_commit_wrote(database: Database) -> None:
    outcomes = await together(database, put("a", "first"), put("a", "second"))
    assert outcomes == ["first", "first"]


async def test_a_cancelled_callers_work_is_still_done(database: Database) -> None:
    gate = Gate()
    first = asyncio.ensure_future(database.write(gate))
    await asyncio.to_thread(gate.entered.wait, 60)
    caller = asyncio.ensure_future(database.write(put("left-behind")))
    failing = asyncio.ensure_future(database.write(lambda tx: tx.execute("nonsense")))
    await asyncio.sleep(0)
    caller.cancel()
    failing.cancel()
    gate.leave.set()
    await asyncio.gather(first, caller, failing, return_exceptions=True)
    await database.write(put("last"))
    assert held(database) == {"left-behind", "last"}


async def test_a_reader_never_sees_an_uncommitted_job(database: Database) -> None:
    looked: list[set[str]] = []

    def job(tx: Tx) -> None:
        put("unseen")(tx)
        looked.append(held(database))  # this thread's own reader

    await database.write(job)
    assert looked == [set()]
    assert held(database) == {"unseen"}


def test_closing_finishes_the_jobs_that_wait_and_later_ones_are_refused(tmp_path: Path) -> None:
    database = Database(tmp_path / "keystead.db")
    database.open()

    async def leave_jobs() -> None:
        waiting = [asyncio.ensure_future(database.write(put(f"fact-{number}"))) for number in range(300)]
        await asyncio.sleep(0)
        database.close()
        with pytest.raises(StoreUnavailable, match="closed"):
            await database.write(put("late"))
        await asyncio.gather(*waiting)

    asyncio.run(leave_jobs())
    again = Database(database.path)
    again.open()
    assert len(held(again)) == 300
    again.close()


def test_a_loop_that_has_gone_does_not_stop_the_writer(database: Database) -> None:
    gate = Gate()

    async def walk_away() -> None:
        task = asyncio.ensure_future(database.write(gate))
        await asyncio.to_thread(gate.entered.wait, 60)
        task.cancel()

    asyncio.run(walk_away())
    gate.leave.set()
    assert asyncio.run(database.write(put("later"))) == "x"


async def test_a_listener_that_fails_does_not_stop_the_writer_or_the_other_listeners(database: Database) -> None:
    heard: list[int] = []

    def fail() -> None:
        raise ValueError("listener")

    database.on_commit(fail)
    database.on_commit(lambda: heard.append(1))
    with capture_logs() as logs:
        await database.write(put("a"))
        await database.write(put("b"))
    assert heard == [1, 1]
    assert {entry["event"] for entry in logs} == {"a listener to commits failed"}


# ---- when the disk does not play -------------------------------------------------------------------------------------


async def test_a_full_disk_is_told_and_nothing_is_half_written(database: Database) -> None:
    def fill_up(tx: Tx) -> None:
        tx.execute(f"PRAGMA max_page_count = {tx.execute('PRAGMA page_count').fetchone()[0]}")

    def big(tx: Tx) -> None:
        put("big-1")(tx)
        put("big-2", "x" * 1_000_000)(tx)

    await database.write(put("before"))
    await database.write(fill_up)
    outcomes = await together(database, put("small"), big, put("small-2"))
    failed = [outcome for outcome in outcomes if isinstance(outcome, StoreUnavailable)]
    assert outcomes[1] in failed
    assert "full" in failed[0].message
    assert "nothing was changed" in failed[0].message
    answered = {name for name, outcome in zip(("small", "big", "small-2"), outcomes, strict=True) if outcome == "x"}
    assert held(database) == {"before", *answered}
    await database.write(lambda tx: tx.execute("PRAGMA max_page_count = 1000000").fetchone())
    await database.write(big)
    assert held(database) >= {"big-1", "big-2"}


async def test_a_read_only_database_is_told_and_works_again_afterwards(database: Database) -> None:
    assert database._writer is not None
    database._writer.execute("PRAGMA query_only = ON")
    for outcome in await asyncio.gather(database.write(put("a")), database.write(put("b")), return_exceptions=True):
        assert isinstance(outcome, StoreUnavailable)
        assert "readonly" in outcome.message
    assert held(database) == set()
    database._writer.execute("PRAGMA query_only = OFF")
    assert await database.write(put("a")) == "x"


async def test_a_commit_that_fails_fails_every_job_of_its_batch(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deferred foreign key is checked by COMMIT: here every job has run well, and the commit is what fails."""

    def orphan(tx: Tx) -> str:
        tx.execute("PRAGMA defer_foreign_keys = ON")
        tx.execute("INSERT INTO aliases VALUES ('us-east-1', 'a', 'nobody', 0, 0)")
        return "ran"

    outcomes = await together(database, put("innocent"), orphan)
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable, StoreUnavailable]
    assert held(database) == set()
    assert await database.write(put("next")) == "x"


async def test_a_locked_database_is_told_after_the_busy_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.0)
    database = Database(tmp_path / "keystead.db")
    database.open()
    holder = sqlite3.connect(database.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        await database.write(put("a"))
    holder.execute("ROLLBACK")
    holder.close()
    assert await database.write(put("a")) == "x"
    database.close()


def test_a_directory_that_does_not_exist_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="absent"):
        Database(tmp_path / "absent" / "keystead.db").open()


# ---- damage ----------------------------------------------------------------------------------------------------------


async def filled(path: Path, count: int = 300) -> None:
    database = Database(path)
    database.open()
    await database.write(lambda tx: [add_key(tx, f"key-{number:04}") for number in range(count)])
    database.close()


def overwrite(path: Path, *pages: int) -> None:
    with path.open("r+b") as file:
        for page in pages:
            file.seek(page * 4096)
            file.write(b"\xa5" * 4096)


async def test_a_damaged_page_is_found_at_open_with_the_file_and_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "keystead.db"
    await filled(path)
    overwrite(path, path.stat().st_size // 4096 // 2)
    database = Database(path)
    with pytest.raises(StoreDamaged, match=r"keystead\.db is damaged.*restore it from a backup"):
        database.open()
    database.close()


async def test_a_file_that_is_no_database_is_refused_at_open_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "keystead.db"
    path.write_bytes(b"my dear diary, today " * 1000)
    before = path.read_bytes()
    with pytest.raises(StoreDamaged, match="damaged"):
        Database(path).open()
    assert path.read_bytes() == before


async def test_a_page_that_is_damaged_later_is_told_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "keystead.db"
    await filled(path)
    database = Database(path)
    database.open()
    overwrite(path, *range(2, path.stat().st_size // 4096))
    with pytest.raises(StoreDamaged, match="restore it from a backup"):
        database.read(lambda tx: tx.execute("SELECT * FROM objects ORDER BY name").fetchall())
    await database.write(lambda tx: tx.execute("PRAGMA shrink_memory").fetchall())
    with pytest.raises(StoreDamaged):
        await database.write(lambda tx: tx.execute("UPDATE objects SET generation = generation + 1"))
    database.close()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("spec", b"{"),
        ("spec", b'{"keySpec":"ROT13"}'),
        ("spec", b'{"surprise":1}'),
        ("spec", b'{"description":"\xff"}'),
        ("metadata", b""),
        ("status", b"[]"),
        ("kind", "Lock"),
    ],
)
async def test_a_row_that_does_not_decode_is_damage_and_not_a_crash(
    database: Database, column: str, value: bytes | str
) -> None:
    uid = (await database.write(lambda tx: add_key(tx, "k"))).metadata.uid
    await database.write(lambda tx: tx.execute(f"UPDATE objects SET {column} = ?", (value,)))
    with pytest.raises(StoreDamaged, match="does not decode"):
        database.read(lambda tx: objects.get(tx, uid))


# ---- the file --------------------------------------------------------------------------------------------------------


def test_nobody_else_can_read_the_database_or_its_log(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        database = Database(tmp_path / "keystead.db")
        database.open()
        asyncio.run(database.write(put("a")))
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    database.close()
    assert modes == {"keystead.db": 0o600, "keystead.db-wal": 0o600, "keystead.db-shm": 0o600}


async def test_what_was_answered_is_synced_to_disk(database: Database) -> None:
    settings = await database.write(
        lambda tx: [tx.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    )
    assert settings == ["wal", 2]


def test_readers_cannot_write(database: Database) -> None:
    with pytest.raises(StoreUnavailable):
        database.read(put("a"))


def test_migrations_apply_twice_harmlessly(tmp_path: Path) -> None:
    path = tmp_path / "keystead.db"

    def schema() -> list[Any]:
        database = Database(path)
        database.open()
        rows = database.read(lambda tx: tx.execute("SELECT * FROM sqlite_master ORDER BY name").fetchall())
        applied = database.read(lambda tx: tx.execute("SELECT name, applied_at FROM _sqlite_migrations").fetchall())
        database.close()
        return [rows, applied]

    first = schema()
    assert schema() == first
    assert len(first[1]) == len(MIGRATIONS._migrations)


def test_a_migration_that_fails_leaves_the_schema_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keystead.db"
    Database(path).open()

    def half(db: Any) -> None:
        db.conn.execute("CREATE TABLE half (id INTEGER)")
        db.conn.execute("CREATE TABLE objects (id INTEGER)")

    later = [*MIGRATIONS._migrations, type(MIGRATIONS)._Migration("m999_half", half)]
    monkeypatch.setattr(MIGRATIONS, "_migrations", later)
    with pytest.raises(StoreUnavailable):
        Database(path).open()
    monkeypatch.undo()
    database = Database(path)
    database.open()
    assert database.read(lambda tx: tx.execute("SELECT name FROM sqlite_master WHERE name = 'half'").fetchall()) == []
    database.close()


# ---- several processes -----------------------------------------------------------------------------------------------

READER = """
import sys
from pathlib import Path
from controlplane.store import facts
from controlplane.store.database import Database

database = Database(Path(sys.argv[1]))
database.open()
print("open", flush=True)
for line in sys.stdin:
    print(database.read(lambda tx: facts.get(tx, line.strip())), database.version(), flush=True)
"""


async def test_another_process_reads_at_once_what_was_answered(database: Database) -> None:
    with other_process(READER, str(database.path)) as other:
        assert other.hears() == "open"
        versions = set()
        for number in range(20):
            await database.write(put(f"fact-{number}", str(number)))
            value, version = other.ask(f"fact-{number}").split()
            assert value == str(number)
            versions.add(version)
        assert len(versions) == 20, "every commit of another process shows in the data version"


WRITER = """
import asyncio, os, sys
from pathlib import Path
from controlplane.store import facts
from controlplane.store.database import Database

async def main():
    database = Database(Path(sys.argv[1]))
    database.open()
    for number in range(1000):
        await database.write(lambda tx: facts.put_once(tx, f"fact-{number:04}", "x"))
        print(number, flush=True)

asyncio.run(main())
"""


async def test_what_was_answered_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "keystead.db"
    with other_process(WRITER, str(path)) as other:
        answered = [int(other.hears()) for _ in range(40)]
    database = Database(path)
    database.open()
    found = held(database)
    database.close()
    assert found >= {f"fact-{number:04}" for number in answered}
    assert found == {f"fact-{number:04}" for number in range(len(found))}, "nothing after a gap"
