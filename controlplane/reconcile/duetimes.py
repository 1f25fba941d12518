"""Which keys fall due as the wall clock goes on, from the table of due times.

Who calls it: ``runtime``, each second, and with what is left from before at the start. Guarantees: a key is handed out
once when it falls due, wherever the clock jumps; a pass that fails is tried again by the queue, not from here. A look
when nothing is due is one search in an index.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from controlplane.store import duetimes
from controlplane.store.database import Database

LATE_SECONDS: Final = 300.0
"""How long after the moment it names an entry may be committed and is still found by the running process."""
PAGE: Final = 1000


class DueTimes:
    """Remembers how far one process has looked."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: float | None = None
        self._handed: dict[str, float] = {}
        """What was handed out and could be found again."""

    def fallen_due(self, now: datetime) -> Iterator[list[str]]:
        """Uids of keys that fell due since the last time this was asked, some at a time.

        A clock that jumped back makes what lies ahead of it due again when it gets there.
        """
        until = now.timestamp()
        since = 0.0 if self._seen is None else min(self._seen, until) - LATE_SECONDS
        self._handed = {uid: at for uid, at in self._handed.items() if since < at <= until}
        last: duetimes.Entry = (since, "")
        while page := self._database.read(lambda tx, last=last: duetimes.between(tx, last, until, PAGE)):  # type: ignore[misc]
            last = page[-1]
            fresh = {uid: at for at, uid in page if self._handed.get(uid) != at}
            self._handed |= fresh
            if fresh:
                yield list(fresh)
        self._seen = until
