"""The last use of every key, for GetKeyLastUsage and for the warning of a plan that would delete a key in use.

Who calls it: ``perform`` notes, the KMS door and the planner look. Noting costs one entry of a dictionary: a write for
each request would cost the crypto path its speed. What was noted is written within a second, and at shutdown; a crash
can lose that second of this information (the audit journal has it), and another process sees it a second later.
"""

from __future__ import annotations

import asyncio
import contextlib
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

WRITE_SECONDS: Final = 1.0
USES_TRACKED_SINCE: Final = "uses-tracked-since"
"""The fact that says since when uses are noted: an ISO 8601 time."""


class LastUses:
    """One for each process."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._noted: dict[str, LastUse] = {}
        self._task: asyncio.Task[None] | None = None

    def note(self, uid: str, operation: str, request_id: str) -> None:
        """A use that succeeded just now."""
        self._noted[uid] = LastUse(uid, operation, self._clock.time(), request_id)

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
        """Write what was noted since the last time. What cannot be written now stays noted."""
        noted, self._noted = self._noted, {}
        if not noted:
            return
        try:
            await self._database.write(lambda tx: last_uses.put(tx, noted.values()))
        except KeysteadError:
            self._noted = {**noted, **self._noted}
            raise

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            try:
                await self.write()
            except KeysteadError as error:
                log.warning("last uses could not be written", error=error.message)
