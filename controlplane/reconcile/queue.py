"""A keyed queue: no duplicates, never two workers on one key, delays, backoff per key, two priorities.

Who calls it: ``runtime``. Guarantees: a key that is added while it is being worked on is handed out once more
afterwards; a later ``add`` beats an earlier delay; backoff doubles from 1 s to 5 min with jitter, and one success
resets it. Time is the event loop's monotonic clock.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Hashable
from enum import IntEnum
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

BACKOFF_FIRST: Final = 1.0
BACKOFF_MOST: Final = 300.0


class Priority(IntEnum):
    CHANGED = 0
    """A user changed something: ahead of everything."""
    RESYNC = 1
    """A look as a matter of routine."""


class KeyedQueue(Generic[K]):
    """Keys that wait for a worker. One event loop only."""

    def __init__(self, *, jitter: random.Random | None = None) -> None:
        self._ready: tuple[deque[K], deque[K]] = (deque(), deque())
        self._waiting: dict[K, Priority] = {}
        self._delayed: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._working: set[K] = set()
        self._again: dict[K, Priority] = {}
        self._failures: dict[K, int] = {}
        self._jitter = jitter or random.Random()  # noqa: S311 - spreads load, protects nothing
        self._wake = asyncio.Event()
        self._count = 0
        self._closed = False

    def add(self, key: K, priority: Priority = Priority.CHANGED) -> None:
        """Hand the key out as soon as a worker is free."""
        if self._closed:
            return
        self._delayed.pop(key, None)
        if key in self._working:
            self._again[key] = min(priority, self._again.get(key, priority))
            return
        held = self._waiting.get(key)
        if held is not None and held <= priority:
            return
        self._waiting[key] = priority
        self._ready[priority].append(key)
        self._wake.set()

    def add_after(self, key: K, seconds: float) -> None:
        """Hand the key out after a delay, unless it comes earlier for another reason."""
        if self._closed or key in self._waiting or key in self._again:
            return
        due = asyncio.get_running_loop().time() + max(seconds, 0.0)
        if self._delayed.get(key, float("inf")) <= due:
            return
        self._delayed[key] = due
        self._count += 1
        heapq.heappush(self._heap, (due, self._count, key))
        self._wake.set()

    def failed(self, key: K) -> float:
        """Count a failure and requeue with backoff; the delay in seconds."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay: float = min(BACKOFF_FIRST * 2 ** min(failures - 1, 20), BACKOFF_MOST) * self._jitter.uniform(0.75, 1.25)
        self.add_after(key, delay)
        return delay

    def succeeded(self, key: K) -> None:
        """Forget the failures of a key."""
        self._failures.pop(key, None)

    async def get(self) -> K | None:
        """The next key; the caller owns it until :meth:`done`. None once the queue is closed."""
        while not self._closed:
            self._promote()
            for priority, ready in zip(Priority, self._ready, strict=True):
                while ready:
                    key = ready.popleft()
                    if self._waiting.get(key) is not priority:
                        continue  # it was raised to the other queue meanwhile
                    del self._waiting[key]
                    self._working.add(key)
                    return key
            self._wake.clear()
            await self._sleep()
        return None

    def done(self, key: K) -> None:
        """The worker is finished with the key; it comes again if it was added meanwhile."""
        self._working.discard(key)
        priority = self._again.pop(key, None)
        if priority is not None:
            self.add(key, priority)

    def close(self) -> None:
        """Hand out nothing more; waiting workers return."""
        self._closed = True
        self._wake.set()

    def __len__(self) -> int:
        """Keys that are ready or being worked on; delayed ones do not count."""
        return len(self._waiting) + len(self._working)

    def _promote(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._heap and self._heap[0][0] <= now:
            due, _, key = heapq.heappop(self._heap)
            if self._delayed.get(key) == due:
                del self._delayed[key]
                self.add(key, Priority.RESYNC)

    async def _sleep(self) -> None:
        if not self._heap:
            await self._wake.wait()
            return
        remaining = self._heap[0][0] - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(max(remaining, 0.0)):
                await self._wake.wait()
        except TimeoutError:
            return
