"""Waiting for the store to change, in this process at once and in others within a tenth of a second.

Who calls it: the reconciler's runtime, the change stream of the reconciliation API, doors that wait for the reconciler.
Guarantee: whoever waits for one object is woken by a change of that object, and not by those of all others.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Final

from controlplane.errors import KeysteadError
from controlplane.store import objects
from controlplane.store.database import Database

POLL_SECONDS: Final = 0.1


class Watch:
    """A look at one object that wants to be renewed when it changes."""

    def __init__(self, event: asyncio.Event) -> None:
        self._event = event

    async def changed(self, timeout: float) -> None:
        """Return once the object has changed since the watch began or this returned last, or after ``timeout`` s."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._event.wait()
        self._event.clear()


class ChangeSignal:
    """Wakes everyone who waits when the store's version grows. One for each event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiters: set[asyncio.Future[None]] = set()
        self._watches: dict[str, set[asyncio.Event]] = {}
        self._watched = 0
        """The version up to which watches have heard of changes; it is kept up while there are any."""
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

    @contextlib.contextmanager
    def watch(self, uid: str) -> Iterator[Watch]:
        """Watch one object from now on. Many callers may, each for its own: one read of the changes serves them all."""
        if not self._watches:
            self._watched = self._database.read(objects.current_version)
        event = asyncio.Event()
        self._watches.setdefault(uid, set()).add(event)
        try:
            yield Watch(event)
        finally:
            events = self._watches[uid]
            events.discard(event)
            if not events:
                del self._watches[uid]

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        if self._watches:
            self._tell_watches()

    def _tell_watches(self) -> None:
        try:
            while changes := self._database.read(lambda tx: objects.changes_since(tx, self._watched)):
                self._watched = changes[-1].version
                for change in changes:
                    for event in self._watches.get(change.uid, ()):
                        event.set()
        except KeysteadError:  # whoever watches reads for itself and hears why
            for events in self._watches.values():
                for event in events:
                    event.set()

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
