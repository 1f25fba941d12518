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
from typing import Any, Final, TypeVar

import sqlite_utils
import structlog

from controlplane.errors import KeysteadError, StoreDamaged, StoreUnavailable
from controlplane.store.migrations import MIGRATIONS

T = TypeVar("T")

Tx = sqlite3.Connection
"""A transaction, or a read: what functions of ``store`` are given. Other packages pass it on and never use it."""

log = structlog.get_logger("keystead.store")

BUSY_SECONDS: Final = 20.0
MAX_BATCH: Final = 256
"""Jobs in one commit at most, so that one answer never waits for thousands of others."""

_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class _Job:
    __slots__ = ("future", "loop", "work")

    def __init__(self, work: Callable[[sqlite3.Connection], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()


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
        result: T = await asyncio.shield(job.future)
        return result

    def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``query`` on this thread's own read-only connection; point reads are fine on the event loop."""
        try:
            return query(self._reader())
        except sqlite3.DatabaseError as error:
            raise _translated(error, self.path) from None

    async def scan(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """The same in a thread, for queries that read many rows."""
        return await asyncio.to_thread(self.read, query)

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

    def _connect(self, *, read_only: bool = False) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=512
        )
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")
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
            for listener in self._listeners:
                try:
                    listener()
                except Exception:  # the writer outlives a bad listener: without it every later write would hang
                    log.exception("a listener to commits failed")
        for job, result, problem in outcomes:
            # A loop that has closed has nobody waiting any more.
            with contextlib.suppress(RuntimeError):
                job.loop.call_soon_threadsafe(_settle, job.future, result, problem)

    def _attempt(self, writer: sqlite3.Connection, job: _Job) -> tuple[Any, BaseException | None]:
        """One job in its savepoint, so that a job that fails leaves nothing and harms no other."""
        writer.execute("SAVEPOINT job")
        try:
            result = job.work(writer)
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


def _translated(error: sqlite3.Error, path: Path) -> KeysteadError:
    if (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _CORRUPT:
        return StoreDamaged(f"database {path} is damaged ({error}); stop the server and restore it from a backup")
    return StoreUnavailable(f"database {path} cannot be used now ({error}); nothing was changed")
