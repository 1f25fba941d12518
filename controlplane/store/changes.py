"""Waiting for the store to change, in this process at once and in others within a tenth of a second.

Who calls it: the reconciler's runtime, the change stream of the reconciliation API, doors that wait for the reconciler.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from controlplane.errors import KeysteadError
from controlplane.store import objects
from controlplane.store.database import Database

POLL_SECONDS: Final = 0.1


class ChangeSignal:
    """Wakes everyone who waits when the store's version grows. One for each event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiters: set[asyncio.Future[None]] = set()
        self._poller: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen; call it on the event loop."""
        loop = asyncio.get_running_loop()

        def committed() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more
                loop.call_soon_threadsafe(self._wake)

        self._database.on_commit(committed)
        self._poller = asyncio.create_task(self._poll(), name="store-poll")

    async def stop(self) -> None:
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)
        self._wake()

    async def wait(self, seen: int, timeout: float) -> int:
        """The store's version once it is beyond ``seen``, or as it is after ``timeout`` seconds."""
        deadline = asyncio.get_running_loop().time() + timeout
        while True:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                version = self._database.read(objects.current_version)
                remaining = deadline - asyncio.get_running_loop().time()
                if version > seen or remaining <= 0:
                    return version
                async with asyncio.timeout(remaining):
                    await waiter
            except TimeoutError:
                return self._database.read(objects.current_version)
            finally:
                self._waiters.discard(waiter)

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _poll(self) -> None:
        """Commits of other processes have no listener here, so look at SQLite's data version."""
        seen = None
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                version = self._database.version()
            except KeysteadError:
                version = None  # whoever waits reads for itself and hears why
            if version is None or version != seen:
                seen = version
                self._wake()
