"""How the key stores behind a proxy are, found out by really encrypting and decrypting with a test key in each.

Who calls it: ``door`` for GetHealthStatus, ``listeners`` every few seconds so that the answer is there already, and the
reconciler's status through it. Guarantee: no answer is older than ``MAX_AGE`` (the specification allows a minute).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

import msgspec

from controlplane import __version__
from controlplane.errors import KeysteadError, KeyStoreUnavailable
from controlplane.schema.conditions import ConditionStatus, ConditionType, find_condition
from controlplane.schema.keystores import STANDARD, ConnectionState
from controlplane.schema.meta import KeyStore
from controlplane.schema.xksproxies import XksHealth, XksKeyManager
from controlplane.store.catalog import Catalog
from controlplane.usage.testkeys import TestKeys

MAX_AGE: Final = 50.0
CHECK_SECONDS: Final = 5.0
"""For a check that nobody waits for."""
WAITED_SECONDS: Final = 0.15
"""For a check that a request waits for."""
SLOW_SECONDS: Final = 0.1
"""A store that takes longer than this for one encryption and one decryption is told as DEGRADED: two thirds of the 250
milliseconds that KMS waits are gone when it has also answered a request."""


MAX_FLEET: Final = 10
"""So many key managers GetHealthStatus may tell of at most."""


class Checked(msgspec.Struct, frozen=True):
    """One look at one key store. ``at`` is monotonic, in seconds; ``late`` if it did not answer in time."""

    manager: XksKeyManager
    at: float
    late: bool = False
    connected: bool = True
    """Whether the store was. It is looked at anew once that changes."""
    declared_off: bool = False
    """It is unavailable because it is declared so."""


class Health:
    """The latest look at each key store."""

    def __init__(self, catalog: Catalog, test_keys: TestKeys, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._catalog = catalog
        self._test_keys = test_keys
        self._known: dict[str, Checked] = {}
        self._looking: dict[str, asyncio.Lock] = {}

    async def of(self, stores: Sequence[str]) -> list[Checked]:
        """Fresh enough looks at these stores, at once if they are known, within ``WAITED_SECONDS`` otherwise."""
        return list(await asyncio.gather(*(self._fresh(name, MAX_AGE, WAITED_SECONDS) for name in stores)))

    async def renew(self, stores: Sequence[str]) -> list[Checked]:
        """Look anew, with time."""
        return list(await asyncio.gather(*(self._fresh(name, -1.0, CHECK_SECONDS) for name in stores)))

    async def _fresh(self, name: str, age: float, seconds: float) -> Checked:
        known = self._known.get(name)
        if known is not None and self._now() - known.at <= age and not self._moved(name, known):
            return known
        async with self._looking.setdefault(name, asyncio.Lock()):
            looked = self._known.get(name)
            if looked is not None and looked is not known:  # somebody looked while we waited
                return looked
            checked = await self._look(name, seconds)
            self._known[name] = checked
            return checked

    def _moved(self, name: str, known: Checked) -> bool:
        """Whether the store was connected or disconnected since: that counts at once."""
        store = self._catalog.key_store(name)
        connected = store is not None and store.status.connection is ConnectionState.CONNECTED
        return connected is not known.connected

    async def _look(self, name: str, seconds: float) -> Checked:
        began = self._now()
        store = self._catalog.key_store(name)
        if store is None or store.status.connection is not ConnectionState.CONNECTED:
            off = store is not None and not store.spec.connected
            manager = _manager(store, name, XksHealth.UNAVAILABLE, "it is not connected")
            return Checked(manager, self._now(), connected=False, declared_off=off)
        try:
            async with asyncio.timeout(seconds):  # making the test key, the first time, may take longer than that
                took = await self._test_keys.check(name, store.metadata.uid, seconds=seconds)
        except (KeysteadError, TimeoutError) as error:
            late = isinstance(error, TimeoutError) or (
                isinstance(error, KeyStoreUnavailable) and error.reason == "Deadline"
            )
            told = error.message if isinstance(error, KeysteadError) else f"it did not answer within {seconds:g} s"
            return Checked(_manager(store, name, XksHealth.UNAVAILABLE, told), self._now(), late=late)
        ready = find_condition(store.status.conditions, ConditionType.READY)
        if took > SLOW_SECONDS:
            detail = f"one encryption and one decryption took more than {SLOW_SECONDS * 1000:.0f} ms"
            return Checked(_manager(store, name, XksHealth.DEGRADED, detail), began)
        if ready is not None and ready.status is ConditionStatus.FALSE:
            return Checked(_manager(store, name, XksHealth.DEGRADED, ready.message), began)
        return Checked(_manager(store, name, XksHealth.ACTIVE, ""), began)


def told(looks: Sequence[Checked]) -> list[Checked]:
    """Those that GetHealthStatus has room for: what is not well first, but one that serves if there is any.

    Without that one, KMS would read ten stores that are down among many as a proxy that cannot be used at all.
    """
    ordered = sorted(looks, key=lambda look: look.manager.health is XksHealth.ACTIVE)
    shown, rest = ordered[:MAX_FLEET], ordered[MAX_FLEET:]
    if not any(map(_serves, shown)):
        shown[-1:] = [*filter(_serves, rest)][:1] or shown[-1:]
    return shown


def _serves(look: Checked) -> bool:
    return look.manager.health is not XksHealth.UNAVAILABLE


def _manager(store: KeyStore | None, name: str, health: XksHealth, detail: str) -> XksKeyManager:
    kind = store.spec.type if store is not None else STANDARD
    return XksKeyManager(id=name, model=f"Keystead {__version__}, key store {kind}", health=health, detail=detail)
