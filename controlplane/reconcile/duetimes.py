"""Which keys fall due as the wall clock goes on, from the table of due times.

Who calls it: ``runtime``, each second, and with what is left from before at the start. Guarantees: a key is handed out
when it falls due, wherever the clock jumps, and also if its moment was past already when it was written (material that
is imported for six days is to be warned of at once; a request may wait for the writer past the moment it names). A
pass that fails is tried again by the queue, not from here. A look when nothing is due is two searches in an index.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from controlplane.clock import Clock
from controlplane.store import duetimes, objects
from controlplane.store.database import Database, Tx

PAGE: Final = 1000


class DueTimes:
    """Remembers how far one process has looked."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._seen = float("-inf")
        self._version = 0
        """Every entry of an older version whose moment is not after ``_seen`` was handed out."""

    def fallen_due(self) -> Iterator[list[str]]:
        """Uids of keys that fell due since the last time this was asked, some at a time.

        A clock that jumped back makes what lies ahead of it due again when it gets there.
        """
        until = self._clock.time()
        since = min(self._seen, until)

        def late(tx: Tx) -> tuple[int, list[str]]:
            return objects.current_version(tx), duetimes.written_overdue(tx, self._version, since)

        self._version, overdue = self._database.read(late)
        if overdue:
            yield overdue
        last: duetimes.Entry = (since, "\U0010ffff")  # after every uid of that moment
        while page := self._database.read(lambda tx, last=last: duetimes.between(tx, last, until, PAGE)):  # type: ignore[misc]
            last = page[-1]
            yield [uid for _, uid in page]
        self._seen = until
