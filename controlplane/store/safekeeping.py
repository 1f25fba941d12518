"""Key tokens and plugin records in several places: written there before the answer, made good from each other, removed
together.

Who calls it: ``database`` with every job (it is the guard of its transactions), ``material`` where a row is missing or
damaged, upkeep and the reconciliation API for a look at everything. Guarantees: when a write is answered, the database
and every directory that can be reached hold it; if directories are configured and none can be reached, it is refused
and nothing has changed; what could not be reached is noted in the database and made up for; a row that fails its
checksum is answered from a copy and made good at once; when material goes, its files go before the answer, and what
could not be reached then is remembered. A file that nothing in the database speaks of is reported and never removed:
the database may be the older one, restored from a backup.

``material`` marks in the table ``copies_due`` what a transaction did, so whoever writes tokens is covered by this.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Final, TypeVar

import structlog

from controlplane import metrics
from controlplane.clock import Clock
from controlplane.errors import StoreUnavailable
from controlplane.schema.copies import CopiesReport, CopyState
from controlplane.schema.events import EventReason
from controlplane.schema.keystores import STANDARD
from controlplane.schema.meta import Key, Kind
from controlplane.store import events, material, objects
from controlplane.store.copies import Copy, CopyDamaged, Record, What
from controlplane.store.database import Database

T = TypeVar("T")

log = structlog.get_logger("keystead.store")

DATABASE: Final = "database"
"""How the database is called among the places."""
LOOKED_AT: Final = "copies-looked-at"
"""The fact that says when everything was last looked at: an ISO 8601 time."""
PAGE: Final = 500
CHUNK: Final = 50
"""Records that are written in one transaction: each is synced in every directory, and others wait meanwhile."""
NAMED: Final = 20
"""Damaged records that are named one by one; of more the number is told."""


class Safekeeping:
    """Keeps several places the same. One for each process."""

    def __init__(self, copies: Sequence[Copy], clock: Clock) -> None:
        self.copies = tuple(copies)
        self._clock = clock
        self._pool = ThreadPoolExecutor(len(copies) or 1, thread_name_prefix="copies")

    def open(self, server_id: str) -> None:
        """Make sure of the directories. One that cannot be reached now is written to later; it keeps nobody down.

        Raises :class:`StartupRefused` for one that belongs to another server.
        """
        for copy in self.copies:
            try:
                if copy.open(server_id):
                    log.info("a directory for copies was empty and is being filled", copy=str(copy))
            except OSError as error:
                log.warning("a directory for copies cannot be reached", copy=str(copy), error=error.strerror)

    def close(self) -> None:
        self._pool.shutdown()

    # ---- the guard of transactions ---------------------------------------------------------------------------------

    def before_answer(self, tx: sqlite3.Connection) -> None:
        """After each job, before it is committed: write what it stored to every directory.

        Raises :class:`StoreUnavailable` if none of them can be written; the job is undone then.
        """
        due = tx.execute("SELECT what, owner, name FROM copies_due WHERE state = 'put'").fetchall()
        for what, owner, name in due:
            if self.copies and not self._put(tx, What(what), owner, name):
                places = ", ".join(map(str, self.copies))
                raise StoreUnavailable(f"no copy of a key token can be written ({places}); nothing was changed")
        if due:
            tx.execute("DELETE FROM copies_due WHERE state = 'put'")

    def removals_due(self, tx: sqlite3.Connection) -> bool:
        """Whether tokens went in what was just committed."""
        return tx.execute("SELECT 1 FROM copies_due WHERE state = 'gone' LIMIT 1").fetchone() is not None

    def remove(self, tx: sqlite3.Connection) -> None:
        """Remove the files of tokens that went; where a directory cannot be reached, note it."""
        for (owner,) in tx.execute("SELECT DISTINCT owner FROM copies_due WHERE state = 'gone'").fetchall():
            names = material.names_of(tx, owner)
            failed = self._each(lambda copy, o=owner, n=names: copy.keep_only(o, n))  # type: ignore[misc]
            if failed:
                tx.execute("UPDATE copies_due SET state = 'stuck' WHERE owner = ? AND state = 'gone'", (owner,))
                self._unreachable(tx, failed)
            else:
                tx.execute("DELETE FROM copies_due WHERE owner = ? AND state = 'gone'", (owner,))

    def find(self, what: What, owner: str, name: str) -> bytes | None:
        """A good copy, from whichever directory has one."""
        for copy in self.copies:
            value = _good(copy, what, owner, name)
            if value is not None:
                return value
        return None

    def state_names(self, store: str) -> set[str]:
        """Names of the records of a key store's plugin, from every directory that can be read."""
        found: set[str] = set()
        for copy in self.copies:
            with contextlib.suppress(OSError):
                files = [file for file in copy.listing(What.STATE) if file.startswith(f"{copy.folder_of(store)}/")]
                records = [copy.content(What.STATE, file) for file in files]
                found |= {each.name for each in records if each is not None and each.owner == store}
        return found

    # ---- making up for it ------------------------------------------------------------------------------------------

    def catch_up(self, tx: sqlite3.Connection) -> None:
        """Try again, in this transaction, some of what a directory could not be reached for."""
        tx.execute("UPDATE copies_due SET state = 'gone' WHERE state = 'stuck'")
        tx.execute(
            """UPDATE copies_due SET state = 'put' WHERE state = 'late' AND rowid IN
               (SELECT rowid FROM copies_due WHERE state = 'late' LIMIT ?)""",
            (CHUNK,),
        )

    def behind(self, tx: sqlite3.Connection) -> int:
        """How many records some directory does not have yet, or still has."""
        return int(tx.execute("SELECT count(*) FROM copies_due WHERE state IN ('late', 'stuck')").fetchone()[0])

    def repair_row(self, tx: sqlite3.Connection, what: What, owner: str, name: str) -> bool:
        """Make a damaged or missing row of the database good from a copy, if it should be there."""
        value = self.find(what, owner, name)
        if value is None or _intact(tx, what, owner, name) or material.leaving(tx, owner, name):
            return False
        material.restore(tx, what, owner, name, value)
        metrics.COPIES_REPAIRED.labels(DATABASE).inc()
        self._tell(tx, what, owner, EventReason.COPY_REPAIRED, f"{what} {name} in the database, from a copy")
        return True

    async def look(self, database: Database, *, repair: bool) -> CopiesReport:
        """Compare every place with every other, and make good what can be. Reads in a thread, a page at a time."""
        now = self._clock.now()
        found = _Findings(self.copies)
        listings = await _in_thread(lambda: [_listing(copy) for copy in self.copies])
        for what in What:
            known: set[str] = set()
            after = ("", "")
            while rows := await database.scan(lambda tx, w=what, a=after: material.page(tx, w, a, PAGE)):  # type: ignore[misc]
                after = (rows[-1][0], rows[-1][1])
                bad = await _in_thread(lambda w=what, r=rows: found.compare(w, r))  # type: ignore[misc]
                known |= {self._file(what, owner, name) for owner, name, _ in rows}
                for start in range(0, len(bad) if repair else 0, CHUNK):
                    chunk = bad[start : start + CHUNK]
                    await database.write(lambda tx, c=chunk: self._repair(tx, c, found))  # type: ignore[misc]
            found.unknown(what, known, listings)
        if repair and found.strays:
            await database.write(lambda tx: self._bring_back(tx, found))
        report = found.report(now, repaired=repair)
        await database.write(lambda tx: self._conclude(tx, report))
        return report

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _file(self, what: What, owner: str, name: str) -> str:
        return self.copies[0].file_of(what, owner, name) if self.copies else ""

    def _put(self, tx: sqlite3.Connection, what: What, owner: str, name: str) -> bool:
        """Write one record to every directory. False if none has it now; directories that failed are noted."""
        value = material.value(tx, what, owner, name)
        if value is None:
            return True  # it went again in the same transaction
        record = Record(what, owner, name, value)
        failed = self._each(lambda copy: copy.write(record))
        if failed and len(failed) < len(self.copies):
            tx.execute("INSERT OR REPLACE INTO copies_due VALUES (?, ?, ?, 'late')", (what.value, owner, name))
            self._unreachable(tx, failed)
        return len(failed) < len(self.copies)

    def _each(self, work: Callable[[Copy], None]) -> list[Copy]:
        """Do the same in every directory at once. Those in which it failed."""

        def attempt(copy: Copy) -> bool:
            try:
                work(copy)
            except OSError as error:
                log.warning("a copy cannot be reached", copy=str(copy), error=error.strerror)
                return False
            return True

        return [copy for copy, done in zip(self.copies, self._pool.map(attempt, self.copies), strict=True) if not done]

    def _repair(self, tx: sqlite3.Connection, bad: Iterable[tuple[What, str, str]], found: _Findings) -> None:
        """Make records good everywhere. They are read again here: a token that went meanwhile must not come back."""
        for what, owner, name in bad:
            if not material.exists(tx, what, owner, name):
                continue
            if not _intact(tx, what, owner, name):
                if not self.repair_row(tx, what, owner, name):
                    continue
                found.repaired += 1
            value = material.value(tx, what, owner, name)
            if value is None:
                continue
            record = Record(what, owner, name, value)
            for copy in self.copies:
                if _good(copy, what, owner, name) == value:
                    continue
                try:
                    copy.write(record)
                except OSError:
                    tx.execute("INSERT OR REPLACE INTO copies_due VALUES (?, ?, ?, 'late')", (what.value, owner, name))
                else:
                    found.repaired += 1
                    metrics.COPIES_REPAIRED.labels(str(copy)).inc()

    def _bring_back(self, tx: sqlite3.Connection, found: _Findings) -> None:
        """Rows that are missing though a key speaks of them, or a store has its records: from the copies."""
        for copy, what, file in list(found.strays):
            record = copy.content(what, file)
            if record is None or not _spoken_of(tx, record):
                continue
            if _intact(tx, record.what, record.owner, record.name):
                found.strays.discard((copy, what, file))  # another directory's copy was first
            elif self.repair_row(tx, record.what, record.owner, record.name):
                found.strays.discard((copy, what, file))
                found.database_missing += 1
                found.repaired += 1

    def _conclude(self, tx: sqlite3.Connection, report: CopiesReport) -> None:
        """Tell what a look at everything found."""
        bad = report.database_damaged + sum(each.missing + each.damaged for each in report.copies)
        metrics.COPIES_BAD.set(max(bad - report.repaired, 0))
        metrics.COPIES_LOST.set(len(report.lost))
        metrics.COPIES_LOOKED_AT.set(report.looked_at.timestamp())
        tx.execute(
            "INSERT INTO facts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (LOOKED_AT, report.looked_at.isoformat()),
        )
        for each in report.copies:
            if each.missing or each.damaged or not each.reachable:
                metrics.COPIES_DAMAGED.labels(each.place).inc(each.missing + each.damaged)
                state = f"{each.missing} missing, {each.damaged} damaged" if each.reachable else "it cannot be reached"
                self._tell_store(tx, EventReason.COPY_DAMAGED, f"copies in {each.place}: {state}")
        if report.database_damaged:
            metrics.COPIES_DAMAGED.labels(DATABASE).inc(report.database_damaged)
            self._tell_store(tx, EventReason.COPY_DAMAGED, f"the database: {report.database_damaged} damaged")
        if report.repaired:
            self._tell_store(tx, EventReason.COPY_REPAIRED, f"{report.repaired} copies made good")
        for name in report.lost[:NAMED]:
            self._tell_store(tx, EventReason.COPY_LOST, f"no good copy is left of {name}; restore a backup")

    def _unreachable(self, tx: sqlite3.Connection, failed: Iterable[Copy]) -> None:
        for copy in failed:
            metrics.COPIES_DAMAGED.labels(str(copy)).inc()
            self._tell_store(tx, EventReason.COPY_DAMAGED, f"copies in {copy}: it cannot be reached; it is made up for")

    def _tell(self, tx: sqlite3.Connection, what: What, owner: str, reason: EventReason, message: str) -> None:
        found = objects.get(tx, owner) if what is What.TOKEN else None
        if found is not None:
            events.record(tx, found, reason, message, self._clock.now())
        else:
            self._tell_store(tx, reason, message)

    def _tell_store(self, tx: sqlite3.Connection, reason: EventReason, message: str) -> None:
        store = objects.get_named(tx, Kind.KEY_STORE, STANDARD)
        if store is not None:  # while a server is being made there is none yet
            events.record(tx, store, reason, message, self._clock.now())


class _Findings:
    """What a look at everything has seen so far."""

    def __init__(self, copies: Sequence[Copy]) -> None:
        self._copies = copies
        self._counts = {copy: {"good": 0, "missing": 0, "damaged": 0} for copy in copies}
        self._unreachable: set[Copy] = set()
        self._records = dict.fromkeys(What, 0)
        self.database_damaged = 0
        self.database_missing = 0
        self.repaired = 0
        self.lost: list[str] = []
        self.strays: set[tuple[Copy, What, str]] = set()

    def compare(self, what: What, rows: Sequence[tuple[str, str, bytes | None]]) -> list[tuple[What, str, str]]:
        """Look for each row (its value, or None if it is damaged) in every directory; what is not right everywhere."""
        bad = []
        self._records[what] += len(rows)
        for owner, name, value in rows:
            good = [self._look(copy, what, owner, name, value) for copy in self._copies]
            self.database_damaged += value is None
            if value is None and not any(good):
                self.lost.append(f"{what} {name}")
            if value is None or not all(good):
                bad.append((what, owner, name))
        return bad

    def _look(self, copy: Copy, what: What, owner: str, name: str, value: bytes | None) -> bool:
        counts = self._counts[copy]
        try:
            held = copy.read(what, owner, name)
        except CopyDamaged:
            counts["damaged"] += 1
            return False
        except OSError:
            self._unreachable.add(copy)
            counts["missing"] += 1
            return False
        if held is None:
            counts["missing"] += 1
            return False
        if value is not None and held != value:
            counts["damaged"] += 1
            return False
        counts["good"] += 1
        return True

    def unknown(self, what: What, known: set[str], listings: Sequence[dict[What, set[str]] | None]) -> None:
        """Files that stand for nothing in the database."""
        for copy, listing in zip(self._copies, listings, strict=True):
            if listing is None:
                self._unreachable.add(copy)
                continue
            self.strays |= {(copy, what, file) for file in listing[what] - known}

    def report(self, now: datetime, *, repaired: bool) -> CopiesReport:
        strays = {copy: sum(1 for each, _, _ in self.strays if each is copy) for copy in self._copies}
        lost = self.lost
        return CopiesReport(
            looked_at=now,
            tokens=self._records[What.TOKEN],
            states=self._records[What.STATE],
            database_damaged=self.database_damaged + self.database_missing,
            copies=tuple(
                CopyState(
                    place=str(copy),
                    reachable=copy not in self._unreachable,
                    unknown=strays[copy],
                    **self._counts[copy],
                )
                for copy in self._copies
            ),
            repaired=self.repaired if repaired else 0,
            lost=tuple(lost),
        )


def _spoken_of(tx: sqlite3.Connection, record: Record) -> bool:
    """Whether the database should have a row for this record: a key has this material, or it is a store's record."""
    if record.what is What.STATE:
        return True  # plugins never remove their records
    key = objects.get(tx, record.owner)
    if not isinstance(key, Key):
        return False
    return any(each.name == record.name and each.present for each in key.status.materials)


def _intact(tx: sqlite3.Connection, what: What, owner: str, name: str) -> bool:
    return material.value(tx, what, owner, name) is not None


def _good(copy: Copy, what: What, owner: str, name: str) -> bytes | None:
    try:
        return copy.read(what, owner, name)
    except (CopyDamaged, OSError):
        return None


def _listing(copy: Copy) -> dict[What, set[str]] | None:
    try:
        return {what: copy.listing(what) for what in What}
    except OSError:
        return None


async def _in_thread(work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work)
