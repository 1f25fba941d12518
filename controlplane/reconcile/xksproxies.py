"""Kind ``XksProxy``: what is declared is served. Opens, looks after and closes; says where, how well, and why not.

Who calls it: ``runtime``. The ports themselves are given by the composition root (``Listeners``), because the doors and
the reconciler do not know each other.
"""

from __future__ import annotations

from typing import Final, Protocol, cast

import msgspec

from controlplane.clock import Clock
from controlplane.errors import Conflict, KeysteadError
from controlplane.reconcile.keys import Verdict
from controlplane.schema.conditions import Condition, ConditionStatus, ConditionType, Reason, with_condition
from controlplane.schema.events import EventReason
from controlplane.schema.meta import XksProxy
from controlplane.schema.xksproxies import XksHealth, XksServing
from controlplane.store import events, objects
from controlplane.store.database import Database, Tx

LOOK_SECONDS: Final = 30.0
"""How often secrets, certificates and health are looked at again."""


class Listeners(Protocol):
    """Who serves the proxies of this process."""

    async def serve(self, proxy: XksProxy) -> XksServing:
        """Serve as declared; raises :class:`KeysteadError` that says why it cannot."""

    async def withdraw(self, uid: str) -> None:
        """Serve it no more; nothing to do is fine."""


class XksProxyReconciler:
    """Makes one proxy served as it is declared."""

    def __init__(self, database: Database, clock: Clock, listeners: Listeners) -> None:
        self._database = database
        self._clock = clock
        self._listeners = listeners

    async def reconcile(self, uid: str) -> Verdict | None:
        """One pass. None if there is no such proxy (any more)."""
        proxy = cast("XksProxy | None", self._database.read(lambda tx: objects.get(tx, uid)))
        if proxy is None:
            await self._listeners.withdraw(uid)
            return None
        try:
            serving = await self._listeners.serve(proxy)
        except KeysteadError as error:
            reason = Reason.ADDRESS_TAKEN if isinstance(error, Conflict) else Reason.MISCONFIGURED
            await self._write(proxy, None, False, reason, False, reason, error.message)
            return Verdict(ConditionStatus.FALSE, reason, error.message, retry=True)
        told = "; ".join(serving.problems)
        synced, ready, reason, message = True, True, Reason.LISTENING, ""
        if serving.problems:
            synced, message = False, told
        if not proxy.spec.enabled:
            ready, reason, message = False, Reason.DISABLED, "it refuses every request (enabled: false)"
        elif serving.certificate_expires_at <= self._clock.now():
            ready, reason, message = False, Reason.MISCONFIGURED, "its certificate has expired: clients refuse it"
        elif serving.key_managers and all(each.health is XksHealth.UNAVAILABLE for each in serving.key_managers):
            ready, reason, message = False, Reason.UNHEALTHY, "no key store behind it can be used"
        await self._write(
            proxy, serving, synced, Reason.UP_TO_DATE if synced else Reason.MISCONFIGURED, ready, reason, message
        )
        status = ConditionStatus.TRUE if synced else ConditionStatus.FALSE
        return Verdict(status, Reason.UP_TO_DATE if synced else Reason.MISCONFIGURED, told, after=LOOK_SECONDS)

    async def _write(
        self,
        seen: XksProxy,
        serving: XksServing | None,
        synced: bool,
        synced_reason: Reason,
        ready: bool,
        ready_reason: Reason,
        message: str,
    ) -> None:
        now, generation = self._clock.now(), seen.metadata.generation

        def condition(kind: ConditionType, holds: bool, why: Reason) -> Condition:
            return Condition(
                type=kind,
                status=ConditionStatus.TRUE if holds else ConditionStatus.FALSE,
                reason=why,
                message=message if not holds else "",
                last_transition=now,
                observed_generation=generation,
            )

        def write(tx: Tx) -> None:
            proxy = cast("XksProxy | None", objects.get(tx, seen.metadata.uid))
            if proxy is None:
                return
            was = proxy.status
            conditions = with_condition(was.conditions, condition(ConditionType.SYNCED, synced, synced_reason))
            conditions = with_condition(conditions, condition(ConditionType.READY, ready, ready_reason))
            status = msgspec.structs.replace(
                was,
                observed_generation=generation,
                address=serving.address if serving else None,
                certificate_expires_at=serving.certificate_expires_at if serving else None,
                key_managers=serving.key_managers if serving else (),
                conditions=was.conditions if set(conditions) == set(was.conditions) else conditions,
            )
            if status == was:
                return
            objects.replace(tx, seen.metadata.uid, now=now, status=status)
            if serving is not None and was.address != serving.address:
                events.record(tx, proxy, EventReason.PROXY_LISTENING, f"it listens on {serving.address}", now)
            if message and (not ready or not synced):
                events.record(tx, proxy, EventReason.PROXY_FAILED, message, now)

        await self._database.write(write)
