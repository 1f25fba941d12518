"""Runs the reconciler: holds the lease, follows the change feed, feeds workers, resyncs, drains.

Who calls it: the composition root. Guarantees: only the holder of the lease reconciles, and every other process keeps
connections of its own meanwhile (``follower``); after a start every object is
looked at once; a change is picked up at once in this process and within a tenth of a second from another; what falls
due by the wall clock is looked at within a second, also if it fell due while the process was down, and a clock that
jumps back makes nothing due; :meth:`Runtime.stop` lets running passes finish within its deadline.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog

from controlplane.audit.journal import AuditJournal
from controlplane.clock import Clock
from controlplane.errors import KeysteadError
from controlplane.keystores.calls import Calls
from controlplane.reconcile.deletion import Deletion
from controlplane.reconcile.drift import Drift
from controlplane.reconcile.duetimes import DueTimes
from controlplane.reconcile.external import External
from controlplane.reconcile.follower import Follower
from controlplane.reconcile.imported import ImportedMaterials
from controlplane.reconcile.keys import KeyReconciler, Verdict
from controlplane.reconcile.keystores import KeyStoreReconciler
from controlplane.reconcile.principals import PrincipalReconciler
from controlplane.reconcile.queue import KeyedQueue, Priority
from controlplane.reconcile.xksproxies import Listeners, XksProxyReconciler
from controlplane.schema.meta import KeyStore, Kind
from controlplane.store import objects
from controlplane.store.changes import ChangeSignal
from controlplane.store.database import Database
from controlplane.store.lease import Lease

log = structlog.get_logger("keystead.reconcile")

WORKERS: Final = 64
"""Passes at once. They share commits, so that many passes cost few syncs; what one key store is asked at once bounds
``external``."""
LEASE_RETRY_SECONDS: Final = 1.0
TICK_SECONDS: Final = 1.0
FEED_WAIT_SECONDS: Final = 30.0
RESYNC_SECONDS: Final = 36_000.0
PASS_SECONDS: Final = 120.0
DRAIN_SECONDS: Final = 10.0

Item = tuple[Kind, str]


class Runtime:
    """The reconciler of one process."""

    def __init__(
        self,
        database: Database,
        calls: Calls,
        clock: Clock,
        audit: AuditJournal,
        signal: ChangeSignal,
        options_of: Callable[[KeyStore], dict[str, Any]],
        listeners: Listeners,
        chores: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._signal = signal
        self._chores = chores
        self._connections = calls.connections
        self.lease = Lease(database)
        self.queue: KeyedQueue[Item] = KeyedQueue()
        external = External(database, calls, clock, self.lease)
        deletion = Deletion(database, external, audit, clock)
        imported = ImportedMaterials(database, calls, audit, clock)
        self._keys = KeyReconciler(database, calls.connections, external, deletion, imported, clock)
        self._key_stores = KeyStoreReconciler(database, calls, clock, options_of)
        self._principals = PrincipalReconciler(database, clock)
        self._drift = Drift(database, clock)
        self._follower = Follower(database, calls, signal, options_of, listeners)
        self._xks_proxies = XksProxyReconciler(database, clock, listeners)
        self._due_times = DueTimes(database, clock)
        self._generations: dict[str, int] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._workers: list[asyncio.Task[None]] = []
        self._jitter = random.Random()  # noqa: S311 - spreads load, protects nothing

    async def start(self) -> None:
        """Begin; returns at once. Where another process holds the lease, this one waits for it."""
        self._tasks = [asyncio.create_task(self._lead(), name="reconcile-lead")]

    async def stop(self) -> None:
        """Hand out nothing more, let running passes finish, give back the lease."""
        self.queue.close()
        if self._workers:
            _, unfinished = await asyncio.wait(self._workers, timeout=DRAIN_SECONDS)
            if unfinished:
                log.warning("passes were cut off at shutdown", count=len(unfinished))
        for task in (*self._tasks, *self._workers):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._workers, return_exceptions=True)
        self._tasks.clear()
        self._workers.clear()
        self.lease.release()

    def resync(self) -> None:
        """Look at everything once, behind what users change."""
        for kind in (Kind.KEY_STORE, Kind.PRINCIPAL, Kind.KEY, Kind.XKS_PROXY):
            for uid in self._database.read(lambda tx, kind=kind: objects.uids(tx, kind)):  # type: ignore[misc]
                self.queue.add((kind, uid), Priority.RESYNC)

    def look_at(self, kind: Kind, uid: str) -> None:
        """Look at one object now."""
        self.queue.add((kind, uid))

    # ---- tasks -----------------------------------------------------------------------------------------------------

    async def _lead(self) -> None:
        # The lock is another process's; nothing in this process can be waited for instead.
        if not await self._take_lease():
            following = asyncio.create_task(self._follower.run(), name="reconcile-follow")
            try:
                while not await self._take_lease():  # noqa: ASYNC110
                    await asyncio.sleep(LEASE_RETRY_SECONDS)
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
        log.info("reconciler leads", epoch=self.lease.epoch)
        for number in range(WORKERS):
            self._workers.append(asyncio.create_task(self._work(), name=f"reconcile-worker-{number}"))
        self._tasks.append(asyncio.create_task(self._tick(), name="reconcile-tick"))
        if self._chores is not None:
            self._tasks.append(asyncio.create_task(self._chores(), name="upkeep"))
        while True:
            try:
                await self._follow()
            except KeysteadError as error:  # a database that cannot be read for a moment must not end the reconciler
                log.warning("following the changes failed", error=error.message)
                await asyncio.sleep(LEASE_RETRY_SECONDS)

    async def _take_lease(self) -> bool:
        try:
            return await self.lease.take(self._clock.now())
        except KeysteadError as error:
            log.warning("taking the lease failed", error=error.message)
            return False

    async def _follow(self) -> None:
        """Turn the change feed into work. The look at everything begins after the feed's position is taken."""
        seen = self._database.read(objects.current_version)
        self.resync()
        resync_at = self._next_resync()
        while True:
            await self._signal.wait(seen, FEED_WAIT_SECONDS)
            while changes := self._database.read(lambda tx, seen=seen: objects.changes_since(tx, seen)):  # type: ignore[misc]
                for change in changes:
                    seen = change.version
                    self._changed(change)
            if asyncio.get_running_loop().time() >= resync_at:
                self.resync()
                resync_at = self._next_resync()

    def _changed(self, change: objects.Change) -> None:
        """Queue a change of intent. Status writes are the reconciler's own and wake nobody."""
        if change.removed:
            self._generations.pop(change.uid, None)
            if change.kind is Kind.XKS_PROXY:  # what is gone must not be served on
                self.queue.add((change.kind, change.uid))
            return
        if self._generations.get(change.uid) == change.generation:
            return
        self._generations[change.uid] = change.generation
        self.queue.add((change.kind, change.uid))

    async def _work(self) -> None:
        while (item := await self.queue.get()) is not None:
            try:
                async with asyncio.timeout(PASS_SECONDS):
                    verdict = await self._pass(item)
                self._reschedule(item, verdict)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                expected = isinstance(error, KeysteadError | TimeoutError)
                delay = self.queue.failed(item)
                log.warning(
                    "a pass failed",
                    kind=item[0].value,
                    uid=item[1],
                    error=str(error) if isinstance(error, KeysteadError) else type(error).__name__,
                    retry_in=round(delay, 1),
                    exc_info=not expected,
                )
            finally:
                self.queue.done(item)

    async def _pass(self, item: Item) -> Verdict | None:
        await self._drift.correct(item[1])
        verdict = await self._converge(item)
        if verdict is None or not verdict.gone:
            await self._drift.tell(item[1])
        return verdict

    async def _converge(self, item: Item) -> Verdict | None:
        kind, uid = item
        if kind is Kind.KEY:
            return await self._keys.reconcile(uid)
        if kind is Kind.KEY_STORE:
            before = set(self._connections.names())
            verdict = await self._key_stores.reconcile(uid)
            for name in before ^ set(self._connections.names()):
                self._look_at_keys_of(name)
            return verdict
        if kind is Kind.XKS_PROXY:
            return await self._xks_proxies.reconcile(uid)
        return await self._principals.reconcile(uid)

    def _reschedule(self, item: Item, verdict: Verdict | None) -> None:
        if verdict is None or not verdict.retry:
            self.queue.succeeded(item)
        for uid in verdict.wake if verdict is not None else ():
            self.queue.add((Kind.KEY, uid))
        if verdict is None or verdict.gone:
            return
        if verdict.retry:
            self.queue.failed(item)
        elif verdict.after is not None:
            self.queue.add_after(item, verdict.after * self._jitter.uniform(0.9, 1.1))

    def _look_at_keys_of(self, key_store: str) -> None:
        for uid in self._database.read(lambda tx: objects.uids(tx, Kind.KEY, key_store=key_store)):
            self.queue.add((Kind.KEY, uid), Priority.RESYNC)

    async def _tick(self) -> None:
        """Due times are compared with the wall clock each second: no timer survives a clock that jumps."""
        while True:
            try:
                for uids in self._due_times.fallen_due():
                    for uid in uids:
                        self.queue.add((Kind.KEY, uid))
                    await asyncio.sleep(0)  # a fleet that falls due at once must not hold up requests
            except KeysteadError as error:
                log.warning("looking for what is due failed", error=error.message)
            await asyncio.sleep(TICK_SECONDS)

    def _next_resync(self) -> float:
        return asyncio.get_running_loop().time() + RESYNC_SECONDS * self._jitter.uniform(0.9, 1.1)
