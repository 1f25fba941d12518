"""SQLite: connections, transactions, group commit, and the signal that something changed.

Who calls it: every module of ``store``; the composition root opens and closes it. Guarantees: what
:meth:`Database.write` returned is on disk (WAL, synchronous FULL); a job is all or nothing; jobs run one at a time in
order of arrival, and those that wait together share one commit (self-clocking group commit, no timer); reads see every
write that was answered before, in this and in any other process that shares the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, Protocol, TypeVar

import sqlite_utils
import structlog

from controlplane.errors import KeysteadError, StoreDamaged, StoreUnavailable
from controlplane.store.copies import What
from controlplane.store.migrations import MIGRATIONS

T = TypeVar("T")

Tx = sqlite3.Connection
"""A transaction, or a read: what functions of ``store`` are given. Other packages pass it on and never use it."""

log = structlog.get_logger("keystead.store")

BUSY_SECONDS: Final = 60.0
"""How long a write waits for another process's: the longest is an apply of 100,000 keys, all of it or nothing."""
MAX_BATCH: Final = 256
"""Jobs in one commit at most, so that one answer never waits for thousands of others."""

_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class Guard(Protocol):
    """Keeps things outside the database in step with what is committed (``safekeeping``)."""

    def before_answer(self, tx: sqlite3.Connection) -> None:
        """After each job, in its savepoint; what it raises undoes the job."""

    def removals_due(self, tx: sqlite3.Connection) -> bool:
        """Whether what was committed deleted something that has to go elsewhere, too. Asked after each commit."""

    def remove(self, tx: sqlite3.Connection) -> None:
        """Have it go, in a transaction of its own and before anybody is answered."""

    def find(self, what: What, owner: str, name: str) -> bytes | None:
        """What another place has under a name that is missing or damaged here."""

    def repair_row(self, tx: sqlite3.Connection, what: What, owner: str, name: str) -> bool:
        """Make a row good from another place. False if there is nothing to do or to do it with."""

    def state_names(self, store: str) -> set[str]:
        """Names of what a plugin keeps, as other places know them."""


class Connection(sqlite3.Connection):
    """A connection that knows its database, so that reading a token can ask for a copy of it."""

    database: Database | None = None


class _Job:
    """Work for the writer. ``loop`` None: nobody waits for it."""

    __slots__ = ("future", "loop", "work")

    def __init__(self, work: Callable[[sqlite3.Connection], Any], loop: asyncio.AbstractEventLoop | None) -> None:
        self.work = work
        self.loop = loop
        self.future: asyncio.Future[Any] | None = loop.create_future() if loop is not None else None


class Database:
    """One SQLite file. Open it once for each process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._readers_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._writer: sqlite3.Connection | None = None
        self._listeners: list[Callable[[], None]] = []
        self._log_holds_secrets = False
        self.guard: Guard | None = None

    # ---- life ------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Open or create the file, bring its schema up to date, check it.

        Raises :class:`StoreDamaged`, or :class:`StoreUnavailable` if it cannot be opened; then nothing is held open.
        """
        try:
            # Made here and not by SQLite, so that nobody else can read it, nor the log, which copies its mode.
            with contextlib.suppress(FileExistsError):
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StoreUnavailable(f"database {self.path} cannot be made: {error.strerror}") from None
        try:
            self._writer = self._connect()
            self._prepare(self._writer)
        except sqlite3.DatabaseError as error:
            self.close()
            raise _translated(error, self.path) from None
        except StoreDamaged:
            self.close()
            raise
        self.path.chmod(0o600)
        self._thread = threading.Thread(target=self._run, args=(self._writer,), name="store-writer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Finish the jobs that wait, then close every connection."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        with self._readers_lock:
            for connection in self._readers:
                connection.close()
            self._readers.clear()

    def protect(self, guard: Guard) -> None:
        """Have ``guard`` take part in every transaction from now on."""
        self.guard = guard

    def on_commit(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` from the writer's thread after each commit of this process."""
        self._listeners.append(listener)

    # ---- use -------------------------------------------------------------------------------------------------------

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` in a transaction of its own and return its result once that is durable.

        What ``work`` raises is raised here, and nothing of it is kept. Cancelling the caller does not undo the work.
        """
        if self._thread is None:
            raise StoreUnavailable(f"database {self.path} is closed; nothing was changed")
        job = _Job(work, asyncio.get_running_loop())
        self._jobs.put(job)
        assert job.future is not None
        result: T = await asyncio.shield(job.future)
        return result

    def later(self, work: Callable[[sqlite3.Connection], Any]) -> None:
        """Run ``work`` in a transaction of its own some time soon; nobody hears of its end. From any thread."""
        if self._thread is not None:
            self._jobs.put(_Job(work, None))

    def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``query`` on this thread's own read-only connection; point reads are fine on the event loop."""
        try:
            return query(self._reader())
        except sqlite3.DatabaseError as error:
            raise _translated(error, self.path) from None

    async def scan(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """The same in a thread, for queries that read many rows."""
        return await asyncio.to_thread(self.read, query)

    async def snapshot(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """The same, and everything that ``query`` reads is of one moment."""

        def read(tx: sqlite3.Connection) -> T:
            tx.execute("BEGIN")
            try:
                return query(tx)
            finally:
                tx.execute("COMMIT")

        return await self.scan(read)

    def version(self) -> int:
        """A number that differs after any commit by another connection, in this process or another."""
        value: int = self.read(lambda tx: tx.execute("PRAGMA data_version").fetchone()[0])
        return value

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _prepare(self, writer: sqlite3.Connection) -> None:
        check = writer.execute("PRAGMA quick_check(1)").fetchone()[0]
        if check != "ok":
            what = check.splitlines()[-1]  # under a headline
            raise StoreDamaged(f"database {self.path} is damaged ({what}); restore it from a backup")
        MIGRATIONS.apply(sqlite_utils.Database(writer))
        if writer.in_transaction:
            writer.commit()
        _clear_log(writer)

    def _connect(self, *, read_only: bool = False) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=512,
            factory=Connection,
        )
        connection.database = self
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")
            # What is deleted is overwritten: a key token in a free page would still open.
            connection.execute("PRAGMA secure_delete=ON")
            if read_only:
                connection.execute("PRAGMA query_only=ON")
        except sqlite3.DatabaseError:
            connection.close()
            raise
        return connection

    def _reader(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect(read_only=True)
            with self._readers_lock:
                self._readers.append(connection)
        return connection

    def _run(self, writer: sqlite3.Connection) -> None:
        while (job := self._jobs.get()) is not None:
            batch = [job]
            stop = False
            while len(batch) < MAX_BATCH and not self._jobs.empty():
                another = self._jobs.get()
                if another is None:
                    stop = True
                    break
                batch.append(another)
            self._commit(writer, batch)
            if stop:
                return

    def _commit(self, writer: sqlite3.Connection, batch: list[_Job]) -> None:
        outcomes: list[tuple[_Job, Any, BaseException | None]] = []
        try:
            writer.execute("BEGIN IMMEDIATE")
            outcomes.extend((job, *self._attempt(writer, job)) for job in batch)
            writer.execute("COMMIT")
        except sqlite3.Error as error:
            # The commit failed, so nothing of the batch exists: every caller hears it, also those whose job had run.
            with contextlib.suppress(sqlite3.Error):
                writer.execute("ROLLBACK")
            failure = _translated(error, self.path)
            outcomes = [(job, None, failure) for job in batch]
        else:
            self._remove(writer)
            for listener in self._listeners:
                try:
                    listener()
                except Exception:  # the writer outlives a bad listener: without it every later write would hang
                    log.exception("a listener to commits failed")
        for job, result, problem in outcomes:
            if job.loop is None or job.future is None:
                if problem is not None:
                    log.warning("work that nobody waits for failed", error=type(problem).__name__)
                continue
            # A loop that has closed has nobody waiting any more.
            with contextlib.suppress(RuntimeError):
                job.loop.call_soon_threadsafe(_settle, job.future, result, problem)

    def _remove(self, writer: sqlite3.Connection) -> None:
        """Let the guard remove elsewhere what was deleted here, and clear the log of it, before anybody is answered.

        What fails here is marked in the database and done later; the commit stands.
        """
        if self.guard is None:
            return
        try:
            if self.guard.removals_due(writer):
                writer.execute("BEGIN IMMEDIATE")
                self.guard.remove(writer)
                writer.execute("COMMIT")
                self._log_holds_secrets = True
            if self._log_holds_secrets:
                self._log_holds_secrets = not _clear_log(writer)
        except Exception as error:
            with contextlib.suppress(sqlite3.Error):
                writer.execute("ROLLBACK")
            log.warning("copies of what was deleted are still there", error=type(error).__name__)

    def _attempt(self, writer: sqlite3.Connection, job: _Job) -> tuple[Any, BaseException | None]:
        """One job in its savepoint, so that a job that fails leaves nothing and harms no other."""
        writer.execute("SAVEPOINT job")
        try:
            result = job.work(writer)
            if self.guard is not None:
                self.guard.before_answer(writer)
        except Exception as error:
            if isinstance(error, sqlite3.Error) and not writer.in_transaction:
                raise  # SQLite rolled the whole transaction back (full disk, I/O error)
            writer.execute("ROLLBACK TO job")
            writer.execute("RELEASE job")
            return None, _translated(error, self.path) if isinstance(error, sqlite3.Error) else error
        writer.execute("RELEASE job")
        return result, None


def _settle(future: asyncio.Future[Any], result: Any, problem: BaseException | None) -> None:
    if future.cancelled():
        return
    if problem is not None:
        future.set_exception(problem)
        future.exception()  # the caller may have been cancelled: an outcome nobody awaits is not worth a warning
    else:
        future.set_result(result)


def _clear_log(writer: sqlite3.Connection) -> bool:
    """Empty the write-ahead log, which holds pages as they were before. False while a reader needs it."""
    writer.execute("PRAGMA busy_timeout = 250")
    try:
        return not writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    finally:
        writer.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")


def _translated(error: sqlite3.Error, path: Path) -> KeysteadError:
    if (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _CORRUPT:
        return StoreDamaged(f"database {path} is damaged ({error}); stop the server and restore it from a backup")
    return StoreUnavailable(f"database {path} cannot be used now ({error}); nothing was changed")
