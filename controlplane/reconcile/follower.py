"""The connections and XKS proxies of a process that does not lead: after the leader's, and status never written.

Who calls it: ``runtime``, until this process holds the lease. Guarantees: a store is opened only once the leader has
connected to it as it is declared now, so that wrong credentials are tried by one process and not by all (a device locks
itself after a few); a store that does not open costs itself only; what is declared as not connected is closed at once;
a proxy is served here, too, once the leader serves it as it is declared now, but for one whose port is any free one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

import msgspec
import structlog

from controlplane.errors import KeysteadError
from controlplane.keystores.calls import Calls
from controlplane.keystores.connections import Connection
from controlplane.reconcile.xksproxies import Listeners
from controlplane.schema.keystores import STANDARD, ConnectionState
from controlplane.schema.meta import KeyStore, Kind, XksProxy
from controlplane.store import objects
from controlplane.store.changes import ChangeSignal
from controlplane.store.database import Database

log = structlog.get_logger("keystead.reconcile")

LOOK_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 60.0
PROXY_SECONDS: Final = 30.0
MOST_PROXIES: Final = 1000


class _Tried(msgspec.Struct):
    """What came of opening one store. ``again_at``: a moment of the event loop's clock; None: not as it is declared."""

    generation: int
    failures: int = 0
    again_at: float | None = 0.0


class Follower:
    """Keeps this process's own connections while another process reconciles."""

    def __init__(
        self,
        database: Database,
        calls: Calls,
        signal: ChangeSignal,
        options_of: Callable[[KeyStore], dict[str, Any]],
        listeners: Listeners,
    ) -> None:
        self._database = database
        self._calls = calls
        self._signal = signal
        self._options_of = options_of
        self._listeners = listeners
        self._served: dict[str, tuple[int, float]] = {}
        """Generation of each proxy, and when it is to be looked at again."""
        self._tried: dict[str, _Tried] = {}
        self._opening: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Follow until cancelled. The connections stay: a process that begins to lead goes on with them."""
        try:
            while True:
                try:
                    seen = self._database.read(objects.current_version)
                    await self._look()
                    await self._serve()
                    await self._signal.wait(seen, LOOK_SECONDS)
                except KeysteadError as error:
                    log.warning("following the key stores failed", error=error.message)
                    await asyncio.sleep(LOOK_SECONDS)
        finally:
            for task in self._opening.values():
                task.cancel()
            await asyncio.gather(*self._opening.values(), return_exceptions=True)
            self._opening.clear()

    async def _look(self) -> None:
        """Close what should not be open, begin to open what should be."""
        declared = {
            store.metadata.name: store
            for store in cast("list[KeyStore]", self._database.read(lambda tx: objects.page(tx, Kind.KEY_STORE)))
            if store.metadata.name != STANDARD
        }
        for name in self._calls.connections.names():
            connection = self._calls.connections.find(name)
            if name == STANDARD or connection is None:
                continue
            store = declared.get(name)
            if (
                store is None
                or not store.spec.connected
                or not (self._as_declared(connection, store) or connection.plugin.overlaps)
            ):
                self._calls.connections.take(name)
                await self._calls.close(connection)
                log.info("key store disconnected", store=name, leads=False)
        for name, store in declared.items():
            if self._may_open(store) and name not in self._opening:
                task = asyncio.create_task(self._open(store), name=f"follow-{name}")
                self._opening[name] = task
                task.add_done_callback(lambda _, name=name: self._opening.pop(name, None))  # type: ignore[misc]

    async def _serve(self) -> None:
        """Serve every proxy that the leader serves; its secrets and certificates are read anew now and then."""
        now = asyncio.get_running_loop().time()
        found = self._database.read(lambda tx: list(objects.page(tx, Kind.XKS_PROXY, limit=MOST_PROXIES)))
        proxies = {proxy.metadata.uid: proxy for proxy in cast("list[XksProxy]", found)}
        for uid in [*self._served]:
            if uid not in proxies:
                del self._served[uid]
                await self._listeners.withdraw(uid)
        for uid, proxy in proxies.items():
            generation, again_at = self._served.get(uid, (0, 0.0))
            led = proxy.status.address is not None and proxy.status.observed_generation == proxy.metadata.generation
            if not led or proxy.spec.listen.port == 0 or (generation == proxy.metadata.generation and now < again_at):
                continue
            self._served[uid] = (proxy.metadata.generation, now + PROXY_SECONDS)
            try:
                await self._listeners.serve(proxy)
            except KeysteadError as error:
                log.warning("an XKS proxy is not served", proxy=proxy.metadata.name, error=error.message, leads=False)

    def _as_declared(self, connection: Connection, store: KeyStore) -> bool:
        try:
            return connection.options == self._options_of(store)
        except KeysteadError:  # the settings lack its cluster; that must not stop the look at the others
            return False

    def _may_open(self, store: KeyStore) -> bool:
        name, generation = store.metadata.name, store.metadata.generation
        held = self._calls.connections.find(name)
        if not store.spec.connected or (held is not None and self._as_declared(held, store)):
            return False
        if store.status.connection is not ConnectionState.CONNECTED or store.status.observed_generation != generation:
            return False
        tried = self._tried.get(name)
        if tried is None or tried.generation != generation:
            self._tried[name] = tried = _Tried(generation)
        return tried.again_at is not None and tried.again_at <= asyncio.get_running_loop().time()

    async def _open(self, store: KeyStore) -> None:
        name = store.metadata.name
        tried = self._tried[name]
        try:
            connection = self._calls.connections.prepare(name, store.spec.type, self._options_of(store))
            await self._calls.open(connection)
        except KeysteadError as error:
            tried.failures += 1
            pause = min(2.0**tried.failures, LONGEST_PAUSE_SECONDS)
            refused = getattr(error, "reason", None) == "CredentialsRefused" and not error.cause
            tried.again_at = None if refused else asyncio.get_running_loop().time() + pause
            log.warning("a key store did not open", store=name, error=error.message, leads=False)
            return
        tried.failures = 0
        replaced = self._calls.connections.find(name)
        self._calls.connections.install(connection)
        if replaced is not None:
            await self._calls.close(replaced)
        log.info("key store connected", store=name, leads=False)
