"""One reconciler for each database. The operating system's file lock says who; an epoch in the database says since
when.

Guarantees: at most one process holds the lease; when the holder dies, even by ``kill -9``, the lock is free at once and
no clock is involved, so a wall clock that jumps cannot make two holders; a holder that was replaced cannot open
attempts (``attempts.begin`` compares the epoch).
"""

from __future__ import annotations

import fcntl
import os
import socket
from datetime import datetime
from pathlib import Path

from controlplane.store.database import Database


class Lease:
    """The right to reconcile. ``epoch`` is 0 until it is taken."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._path: Path = database.path.with_name(database.path.name + ".lease")
        self._descriptor: int | None = None
        self.epoch = 0

    async def take(self, now: datetime) -> bool:
        """Take it if it is free. True if this process holds it now."""
        if self._descriptor is not None:
            return True
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        holder = f"{socket.gethostname()}:{os.getpid()}"
        try:
            self.epoch = await self._database.write(
                lambda tx: int(
                    tx.execute(
                        "UPDATE lease SET epoch = epoch + 1, holder = ?, taken_at = ? RETURNING epoch",
                        (holder, now.timestamp()),
                    ).fetchone()[0]
                )
            )
        except BaseException:
            os.close(descriptor)  # a lock without an epoch would look like a lease and open no attempt
            raise
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Give it back; closing the file drops the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            self.epoch = 0
