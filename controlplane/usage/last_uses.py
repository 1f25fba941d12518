"""The last use of every key, for GetKeyLastUsage and for the warning of a plan that would delete a key in use.

Who calls it: ``perform`` notes, the KMS door and the planner look. Noting costs one entry of a dictionary: a write for
each request would cost the crypto path its speed, and a write a second for each of 100,000 keys in use as much again.
So the first use of a key is written within a second, and a later one when it is a minute old or at shutdown: in
this process the last use is exact, in another and after a crash it is at most that much behind (KMS itself is
eventually consistent here, and the audit journal has every use).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from datetime import datetime
from typing import Final

import structlog

from controlplane.clock import Clock
from controlplane.errors import KeysteadError
from controlplane.schema.meta import Key
from controlplane.store import facts, last_uses
from controlplane.store.database import Database
from controlplane.store.last_uses import LastUse

log = structlog.get_logger("keystead.usage")

TICK_SECONDS: Final = 1.0
TICKS_APART: Final = 60
"""A key in constant use is written once in so many ticks, and the uses of the last one when they are over."""
USES_TRACKED_SINCE: Final = "uses-tracked-since"
"""The fact that says since when uses are noted: an ISO 8601 time."""


class LastUses:
    """One for each process."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._noted: dict[str, LastUse] = {}
        """The last use of each key that was used in the last ``TICKS_APART`` ticks."""
        self._new: list[str] = []
        """Keys that are in ``_noted`` since the last tick, and not written yet."""
        self._written: deque[list[LastUse]] = deque()
        """What each of the last ticks wrote, oldest first: it leaves ``_noted`` when it falls out here."""
        self._task: asyncio.Task[None] | None = None

    def note(self, uid: str, operation: str, request_id: str, chain: str, seq: int) -> None:
        """A use that succeeded just now, and the place of its record in the audit journal."""
        if uid not in self._noted:
            self._new.append(uid)
        self._noted[uid] = LastUse(uid, operation, self._clock.time(), request_id, chain, seq)

    def get(self, uid: str) -> LastUse | None:
        """The last use that is known here."""
        written = self._database.read(lambda tx: last_uses.get(tx, uid))
        noted = self._noted.get(uid)
        if noted is None or (written is not None and written.at > noted.at):
            return written
        return noted

    def idle_days(self, key: Key) -> int:
        """Whole days since a key was last used; of one that was not, since it was made or uses are noted."""
        use = self.get(key.metadata.uid)
        if use is not None:
            since = use.at
        else:
            tracked = self._database.read(lambda tx: facts.get(tx, USES_TRACKED_SINCE))
            since = key.metadata.created_at.timestamp()
            if tracked is not None:
                since = max(since, datetime.fromisoformat(tracked).timestamp())
        return max(0, int((self._clock.time() - since) // 86_400))

    def start(self) -> None:
        """Begin to write; call it on the event loop."""
        self._task = asyncio.create_task(self._run(), name="last-uses")

    async def stop(self) -> None:
        """Write what is left."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        with contextlib.suppress(KeysteadError):
            await self.write()

    async def write(self) -> None:
        """Write everything that is known here and not yet there. Raises what the database raises."""
        last_written = {use.uid: use for tick in self._written for use in tick}
        await self._put([use for uid, use in self._noted.items() if last_written.get(uid) is not use])

    async def tick(self) -> None:
        """Write first uses, and later ones whose time has come. What cannot be written now is tried with the next."""
        new, self._new = self._new, []
        first = [self._noted[uid] for uid in new]
        old = self._written.popleft() if len(self._written) >= TICKS_APART else []
        later = [use for before in old if (use := self._noted.pop(before.uid, before)) is not before]
        try:
            await self._put([*first, *later])
        except KeysteadError:
            for use in later:
                if use.uid not in self._noted:
                    self._noted[use.uid] = use
                    self._new.append(use.uid)
            self._new += new
            raise
        self._written.append(first)

    async def _put(self, uses: list[LastUse]) -> None:
        if uses:
            await self._database.write(lambda tx: last_uses.put(tx, uses))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            try:
                await self.tick()
            except KeysteadError as error:
                log.warning("last uses could not be written", error=error.message)
