"""What has to be done now and then for the server's own records: expired import parameters, copies that lag, a look at
all copies.

Who calls it: ``runtime``, in the process that leads. Guarantees: a look at all copies at the start and as often as the
settings say, by the injected clock; one that jumped back does not put it off; what fails is tried again a minute later
and disturbs nothing else.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Final

import structlog

from controlplane.clock import Clock
from controlplane.errors import KeysteadError
from controlplane.store import facts, imports
from controlplane.store.database import Database
from controlplane.store.safekeeping import LOOKED_AT, Safekeeping

log = structlog.get_logger("keystead.reconcile")

EVERY_SECONDS: Final = 60.0


class Upkeep:
    """Chores of one process."""

    def __init__(self, database: Database, safekeeping: Safekeeping, clock: Clock, *, look_hours: int) -> None:
        self._database = database
        self._safekeeping = safekeeping
        self._clock = clock
        self._period = timedelta(hours=look_hours)

    async def run(self) -> None:
        """Do the chores until cancelled."""
        start = True
        while True:
            try:
                await self.once(start=start)
                start = False
            except KeysteadError as error:
                log.warning("upkeep failed", error=error.message)
            await asyncio.sleep(EVERY_SECONDS)

    async def once(self, *, start: bool = False) -> None:
        """Everything that is due now."""
        now = self._clock.now()
        await self._database.write(lambda tx: imports.forget_expired(tx, now))
        await self._catch_up()
        if self._safekeeping.copies and (start or self._look_is_due(now)):
            report = await self._safekeeping.look(self._database, repair=True)
            if not report.sound:
                log.warning("copies were not all good", repaired=report.repaired, lost=len(report.lost))

    async def _catch_up(self) -> None:
        """Some records at a time, as long as that leaves fewer."""
        left, before = self._database.read(self._safekeeping.behind), None
        while left and (before is None or left < before):
            await self._database.write(self._safekeeping.catch_up)
            left, before = self._database.read(self._safekeeping.behind), left

    def _look_is_due(self, now: datetime) -> bool:
        held = self._database.read(lambda tx: facts.get(tx, LOOKED_AT))
        if held is None:
            return True
        last = datetime.fromisoformat(held)
        return now < last or now >= last + self._period
