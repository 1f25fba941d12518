"""Open key stores of this process, each with its own circuit breaker, so that a bad one costs itself only.

Who calls it: the reconciler opens and closes; ``calls`` uses. Guarantee: a connection that was closed or replaced is
never handed out again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from functools import partial
from typing import Any, Final

import msgspec

from controlplane.clock import Clock
from controlplane.errors import KeyStoreFailure, KeyStoreUnavailable
from controlplane.keystores.discovery import load_plugin
from controlplane.schema.keystores import STANDARD
from plugins.sdk import (
    Capabilities,
    InnerStore,
    KeyStorePlugin,
    Misconfigured,
    PluginContext,
    PluginState,
    SecretBytes,
)

FAILURES_TO_OPEN: Final = 5
OPEN_SECONDS: Final = 1.0


SecretOf = Callable[[str, str], Awaitable[SecretBytes]]
"""A secret that the server keeps for a key store, by the store's name and its own. Raises the SDK's errors."""


async def _given(
    secrets: Mapping[str, SecretBytes], kept: Callable[[str], Awaitable[SecretBytes]] | None, name: str
) -> SecretBytes:
    if name in secrets:
        return secrets[name]
    if kept is None:
        raise Misconfigured(f"fromStore: this server keeps no secret {name}")
    return await kept(name)


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """Stops calls to a store that keeps failing; after a pause lets one call through to see."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._failures = 0
        self._opened_at = 0.0
        self._cause = ""
        self.state = BreakerState.CLOSED

    def admit(self, store: str) -> None:
        """Raise :class:`KeyStoreUnavailable` while open; while half-open only one call passes."""
        if self.state is BreakerState.CLOSED:
            return
        if self.state is BreakerState.OPEN and self._now() - self._opened_at >= OPEN_SECONDS:
            self.state = BreakerState.HALF_OPEN
            return
        error = KeyStoreUnavailable(
            f"key store {store} failed {self._failures} times in a row and is given a pause; try again in a moment",
            reason="CircuitOpen",
            custom=store != STANDARD,
        )
        error.cause = self._cause
        raise error

    def succeeded(self) -> None:
        self._failures = 0
        self.state = BreakerState.CLOSED

    def abandoned(self) -> None:
        """A call ended without an outcome, because its caller went away. If it was the one that looks, another may."""
        if self.state is BreakerState.HALF_OPEN:
            self.state = BreakerState.OPEN

    def failed(self, cause: str = "") -> None:
        """The store itself failed (not: refused one request). ``cause`` is told while nobody is let through."""
        self._failures += 1
        self._cause = cause
        if self.state is BreakerState.HALF_OPEN or self._failures >= FAILURES_TO_OPEN:
            self.state = BreakerState.OPEN
            self._opened_at = self._now()


class Connection:
    """One open key store."""

    def __init__(self, name: str, plugin: KeyStorePlugin, options: dict[str, Any], now: Callable[[], float]) -> None:
        self.name = name
        self.plugin = plugin
        self.options = options
        self.breaker = Breaker(now)
        self.capabilities: Capabilities | None = None


class Connections:
    """All connections of this process by the name of their key store."""

    def __init__(self, state_of: Callable[[str], PluginState], clock: Clock) -> None:
        self._state_of = state_of
        self.secret_of: SecretOf | None = None
        """Set once the standard store is open: its material seals the secrets of the others."""
        self._clock = clock
        self._open: dict[str, Connection] = {}
        self._arrivals: dict[str, set[asyncio.Future[Connection]]] = {}
        self._did_not_open: dict[str, str] = {}
        self.inner: InnerStore | None = None
        """The standard key store, for stores that put a layer of their own around it; ``calls`` provides it."""

    def prepare(
        self,
        name: str,
        store_type: str,
        options: dict[str, Any],
        secrets: Mapping[str, SecretBytes] | None = None,
    ) -> Connection:
        """A connection that is not open yet. Raises :class:`KeyStoreFailure` if the options are wrong.

        ``secrets``: what ``fromStore`` names before the server keeps it, to try out what somebody asks for.
        """
        plugin_type = load_plugin(store_type)
        try:
            converted = msgspec.convert(options, plugin_type.options_type)
        except msgspec.ValidationError as error:
            raise KeyStoreFailure(f"options of key store {name}: {error}", reason="Misconfigured") from None
        inner = self.inner if store_type != STANDARD else None
        secret: Callable[[str], Awaitable[SecretBytes]] | None = None
        if self.secret_of is not None:
            secret = partial(self.secret_of, name)
        if secrets:
            secret = partial(_given, secrets, secret)
        context = PluginContext(name, self._state_of(name), self._clock.time, secret=secret, inner=inner)
        try:
            converted.check()
            plugin = plugin_type(converted, context)
        except Misconfigured as error:
            message = f"options of key store {name}: {error.message}"
            raise KeyStoreFailure(message, reason="Misconfigured", detail=error.reason) from None
        except Exception as error:  # its text may hold anything, as in calls
            message = f"key store {name}: the plugin for {store_type} failed to start with {type(error).__name__}"
            raise KeyStoreFailure(message, reason="Misconfigured") from None
        return Connection(name, plugin, options, asyncio.get_running_loop().time)

    def install(self, connection: Connection) -> None:
        """Make an opened connection the one in use."""
        self._open[connection.name] = connection
        self._did_not_open.pop(connection.name, None)
        for waiter in self._arrivals.pop(connection.name, ()):
            if not waiter.done():
                waiter.set_result(connection)

    def did_not_open(self, name: str, why: str) -> None:
        """Nobody needs to wait for this store now; ``why`` is for people."""
        self._did_not_open[name] = why
        for waiter in self._arrivals.pop(name, ()):
            if not waiter.done():
                waiter.set_exception(self._absent(name))

    async def arrival(self, name: str, seconds: float) -> Connection:
        """The open connection, waiting for it if this process has not tried to open it yet.

        Right after a start, or after another process connected the store, a request may be here before the connection.
        Raises :class:`KeyStoreUnavailable`.
        """
        connection = self._open.get(name)
        if connection is not None:
            return connection
        if name in self._did_not_open:
            raise self._absent(name)
        waiter: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        waiters = self._arrivals.setdefault(name, set())
        waiters.add(waiter)
        try:
            async with asyncio.timeout(seconds):
                return await waiter
        except TimeoutError:
            raise self._absent(name) from None
        finally:
            waiters.discard(waiter)

    def find(self, name: str) -> Connection | None:
        return self._open.get(name)

    def get(self, name: str) -> Connection:
        """The open connection, or :class:`KeyStoreUnavailable`."""
        connection = self._open.get(name)
        if connection is None:
            raise self._absent(name)
        return connection

    def _absent(self, name: str) -> KeyStoreUnavailable:
        why = self._did_not_open.get(name)
        message = f"key store {name} is not connected" + (f": {why}" if why else "")
        return KeyStoreUnavailable(message, reason="Disconnected", custom=name != STANDARD)

    def take(self, name: str) -> Connection | None:
        """Remove a connection from use, so that it can be closed."""
        self._did_not_open.pop(name, None)
        return self._open.pop(name, None)

    def names(self) -> list[str]:
        return sorted(self._open)
