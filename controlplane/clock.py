"""Time behind one object, so that tests own it. Everything that reads the wall clock takes a :class:`Clock`.

Guarantee: nobody else in the control plane calls ``time.time`` or ``datetime.now``. Durations and deadlines of calls
use the event loop's monotonic clock and are not affected by a wall clock that jumps.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta


class Clock:
    """The system's wall clock."""

    def time(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def now(self) -> datetime:
        """The same moment as an aware datetime in UTC."""
        return datetime.fromtimestamp(self.time(), UTC)


class ManualClock(Clock):
    """A clock that moves only when told to; for tests."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._time = start

    def time(self) -> float:
        return self._time

    def advance(self, delta: timedelta | float) -> None:
        """Move by ``delta`` (seconds if a number); negative moves back, as a broken clock does."""
        self._time += delta.total_seconds() if isinstance(delta, timedelta) else delta
