"""The audit journal: append-only, hash-chained JSON lines, durable before ``append`` returns.

Who calls it: ``usage`` and the doors append one record per request; ``server`` opens and closes.

Guarantees:

- What ``append`` returned for is on disk (``fdatasync``) and chained to all that came before it.
- Fail closed: a batch that cannot be written and synced fails every append in it and every one after, with
  :class:`controlplane.errors.AuditUnavailable`, until the journal is opened again. The caller fails its request.
Writing is a group commit without timers: one batch is written and synced in the journal's only worker thread, the
next one collects meanwhile. Under load a batch holds what arrived during one sync; alone, a record waits for nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from controlplane.audit.chain import (
    CHAIN,
    GENESIS,
    Walk,
    last_of,
    make_line,
    past_of,
    segment_path,
    segments_of,
    sync_directory,
)
from controlplane.audit.records import AuditRecord, Head, SegmentNote, TailNote
from controlplane.errors import AuditUnavailable, StoreDamaged

_MAX_CHAINS = 1024


class _Batch:
    """Records that are written and synced together."""

    __slots__ = ("end", "head", "lines", "segment", "waiters")

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        # A future for each record, not one for all: a cancelled request cancels what it waits for, and must not take
        # the others of its batch with it; and it can be cancelled while a disk hangs. Costs the same (measured).
        self.waiters: list[asyncio.Future[str | None]] = []
        self.segment: int | None = None  # begin this segment first
        self.end: Head | None = None  # where the one before it ended
        self.head = Head(0, "")


class AuditJournal:
    """One chain of the journal in ``directory``; see the module for what it guarantees.

    ``segment_bytes`` is where a new file is begun (a segment exceeds it by at most one batch). ``sync=False`` gives up
    durability, for tests. After :meth:`open`, all methods belong to one event loop.
    """

    def __init__(self, directory: Path, *, segment_bytes: int = 64 * 1024 * 1024, sync: bool = True) -> None:
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._sync = sync
        self._encoder = msgspec.json.Encoder()
        self._refusal: str | None = "the audit journal is not open"
        self._beyond_repair = False
        self._chain_directory = directory
        self._chain = directory.name
        self._lock_fd = -1
        self._executor: ThreadPoolExecutor | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        # The chain as it will be when all that was taken in is written; touched by the event loop only.
        self._seq = 0
        self._prev = GENESIS
        self._size = 0
        self._segment = 0
        self._collecting: _Batch | None = None
        self._writing: _Batch | None = None
        self._closers: list[asyncio.Future[None]] = []
        self._head = Head(-1, GENESIS.decode())
        self._ends: list[Head] = []
        # The file as it is; touched by the worker only, while one runs.
        self._fd = -1
        self._durable_size = 0

    @property
    def chain(self) -> str:
        """The chain that this journal writes, such as ``chain-0``: sequence numbers count within it."""
        return self._chain

    @property
    def head(self) -> Head:
        """The last durable record; an anchor for :func:`verify`."""
        return self._head

    @property
    def directory(self) -> Path:
        """Where the files of this chain are."""
        return self._chain_directory

    def ends(self) -> list[Head]:
        """Last durable records of segments that became full, since this was last asked; at the start, of the newest."""
        ends, self._ends = self._ends, []
        return ends

    def open(self) -> None:
        """Take a free chain, check its last segment, cut off a torn tail and continue. Blocks; call it before serving.

        Also reopens after a failure. Raises :class:`StoreDamaged` with file and line for anything but a torn tail, and
        :class:`AuditUnavailable` if the directory cannot be used, or if a failed write could not be taken back either:
        then the page cache may show records that the disk does not have, and continuing would build on them.
        """
        if self._beyond_repair:
            raise AuditUnavailable("the audit journal could not take back a failed write: check the disk, then restart")
        if self._refusal is None or self._writing is not None:
            raise RuntimeError("the audit journal is open")
        self._release()
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._take_chain()
            self._continue()
        except OSError as error:
            self._release()
            raise AuditUnavailable(f"the audit journal cannot be opened: {error}") from error
        except BaseException:
            self._release()
            raise
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="audit-journal")
        self._loop = None
        self._refusal = None

    async def append(self, record: AuditRecord) -> int:
        """Its sequence number in this chain, once it is durable.

        Raises :class:`AuditUnavailable` if it is not: the request must fail. Cancelled, the record is written still.
        """
        if self._refusal is not None:
            raise AuditUnavailable(self._refusal)
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._bind(loop)
        try:
            raw = self._encoder.encode(record)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise AuditUnavailable(f"the audit record cannot be encoded: {type(error).__name__}") from error
        batch = self._collecting
        if batch is None:
            batch = self._collecting = self._begin_batch()
        seq = self._seq
        batch.lines.append(self._chained(raw))
        waiter: asyncio.Future[str | None] = loop.create_future()
        batch.waiters.append(waiter)
        if self._writing is None:
            self._start()
        failure = await waiter
        if failure is not None:
            raise AuditUnavailable(failure)
        return seq

    async def close(self) -> None:
        """Refuse new records, wait for those taken in, give up the chain. Closing twice is fine."""
        if self._refusal is None:
            self._refusal = "the audit journal is closed"
        while self._writing is not None:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._closers.append(waiter)
            await waiter
        self._release()

    # Opening

    def _take_chain(self) -> None:
        for number in range(_MAX_CHAINS):
            path = self._directory / f"{CHAIN}{number}"
            with contextlib.suppress(FileExistsError):
                path.mkdir(mode=0o700)
                sync_directory(self._directory)
            fd = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # another process's chain: two writers in one would fork it
                os.close(fd)
                continue
            except OSError:
                os.close(fd)
                raise
            self._lock_fd = fd
            self._chain_directory = path
            self._chain = path.name
            return
        raise AuditUnavailable(f"all {_MAX_CHAINS} chains of the audit journal are in use")

    def _continue(self) -> None:
        """Set the chain to the end of the last segment. Earlier segments are :func:`verify`'s to read."""
        past = past_of(self._chain_directory)
        segments = segments_of(self._chain_directory, past.segment + 1)
        self._segment = past.segment + (len(segments) or 1)
        self._seq, self._prev = past.seq, past.hash.encode()
        if len(segments) > 1:
            self._seq, self._prev = last_of(segments[-2])
        self._ends = [Head(self._seq - 1, self._prev.decode())] if len(segments) > 1 else []
        path = segment_path(self._chain_directory, self._segment)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o600)
        self._size, torn = 0, b""
        with path.open("rb") as file:
            walk = Walk(path, self.chain, self._segment, self._seq, self._prev)
            for line in walk.good_lines(file):
                self._size += len(line)
            if walk.bad is not None:
                raise StoreDamaged(f"the audit journal is damaged: {walk.bad}")
            torn = walk.torn
        self._seq, self._prev = walk.seq, walk.prev

        lines = []
        if torn:  # a crash in the middle of a write, so nobody was told that it was kept
            os.ftruncate(self._fd, self._size)
        if self._size == 0:
            lines.append(self._chained(self._segment_note()))
        if torn:
            note = TailNote(len(torn), hashlib.sha256(torn).hexdigest())
            lines.append(self._chained(self._encoder.encode(note)))
        _write_all(self._fd, b"".join(lines))
        if self._sync:
            # For what was read, too: a process killed between write and sync leaves lines that only the page cache has.
            os.fsync(self._fd)
            sync_directory(self._chain_directory)
        self._durable_size = self._size
        self._head = Head(self._seq - 1, self._prev.decode())

    def _release(self) -> None:
        if self._executor is not None:
            self._executor.shutdown()
            self._executor = None
        for fd in (self._fd, self._lock_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._lock_fd = -1

    # Taking in, on the event loop

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._writing is not None or self._collecting is not None:
            raise RuntimeError("the audit journal belongs to another event loop")
        self._loop = loop

    def _begin_batch(self) -> _Batch:
        batch = _Batch()
        if self._size >= self._segment_bytes:
            self._segment += 1
            self._size = 0
            batch.segment = self._segment
            batch.end = Head(self._seq - 1, self._prev.decode())
            batch.lines.append(self._chained(self._segment_note()))
        return batch

    def _segment_note(self) -> bytes:
        return self._encoder.encode(SegmentNote(self.chain, self._segment, self._prev.decode()))

    def _chained(self, raw: bytes) -> bytes:
        """The line of the chain's next record. From here on the chain includes it, whether it is written or not: so a
        batch that fails takes everything after it along."""
        line, digest = make_line(self._seq, self._prev, b'"record":%b}' % raw)
        self._seq += 1
        self._prev = digest
        self._size += len(line)
        return line

    def _start(self) -> None:
        batch = self._writing = self._collecting
        self._collecting = None
        assert batch is not None
        assert self._executor is not None
        batch.head = Head(self._seq - 1, self._prev.decode())
        self._executor.submit(self._write, batch)

    def _finished(self, batch: _Batch, failure: str | None) -> None:
        self._writing = None
        waiters = batch.waiters
        if failure is None:
            self._head = batch.head
            if batch.end is not None:
                self._ends.append(batch.end)
            if self._collecting is not None:  # before anybody wakes: the disk need not wait for the loop
                self._start()
        else:
            self._refusal = failure
            if self._collecting is not None:  # chained to what is lost
                waiters = waiters + self._collecting.waiters
                self._collecting = None
        for waiter in waiters:
            if not waiter.done():  # cancelled meanwhile
                waiter.set_result(failure)
        if self._writing is None:
            for closer in self._closers:
                if not closer.done():
                    closer.set_result(None)
            self._closers.clear()

    # Writing, in the worker thread

    def _write(self, batch: _Batch) -> None:
        failure = None
        try:
            if batch.segment is not None:
                self._switch_to(batch.segment)
            data = b"".join(batch.lines)
            _write_all(self._fd, data)
            if self._sync:
                os.fdatasync(self._fd)
            self._durable_size += len(data)
        except Exception as error:
            failure = f"the audit record could not be written: {error}"
            self._take_back()
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._finished, batch, failure)

    def _switch_to(self, segment: int) -> None:
        path = segment_path(self._chain_directory, segment)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        full, self._fd, self._durable_size = self._fd, os.open(path, flags, 0o600), 0
        os.close(full)
        if self._sync:
            sync_directory(self._chain_directory)  # or power loss leaves synced records in a file without a name

    def _take_back(self) -> None:
        """Cut the file back to its last durable record.

        Part of a batch may be in the file: a later line would follow half a record. After a failed *sync* it is worse.
        The kernel marks the pages clean although they never reached the disk, so reading them back succeeds and the
        next sync does, too (https://wiki.postgresql.org/wiki/Fsync_Errors). Records that nobody was told were kept must
        not be what the next ones are chained to, so they go. If even that fails, this journal does not open again.
        """
        try:
            os.ftruncate(self._fd, self._durable_size)
            if self._sync:
                os.fsync(self._fd)
        except OSError:
            self._beyond_repair = True


def _write_all(fd: int, data: bytes) -> None:
    """``os.write`` may take less than it was given, on a disk that is filling up for one."""
    view = memoryview(data)
    while view:
        written = os.write(fd, view)
        if written == 0:
            raise OSError("nothing was written")
        view = view[written:]
