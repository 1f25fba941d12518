"""Kind ``KeyStore``: connection is desired state. Opens, probes, looks after and closes; says since when and why not.

Who calls it: ``runtime``. A store that fails keeps its last observed status and gets a condition; others are untouched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import msgspec
import structlog

from controlplane.clock import Clock
from controlplane.errors import Conflict, KeysteadError, KeyStoreFailure
from controlplane.keystores.calls import Calls
from controlplane.keystores.connections import Connection
from controlplane.reconcile.keys import Verdict
from controlplane.schema.conditions import Condition, ConditionStatus, ConditionType, Reason, with_condition
from controlplane.schema.events import EventReason
from controlplane.schema.keystores import ConnectionState
from controlplane.schema.meta import CONNECTION_FINALIZER, KeyStore, Kind
from controlplane.store import events, objects
from controlplane.store.database import Database, Tx
from plugins.sdk import Capabilities

log = structlog.get_logger("keystead.reconcile")

PROBE_SECONDS: Final = 30.0

_REASONS: Final = {
    "CredentialsRefused": Reason.CREDENTIALS_REFUSED,
    "Misconfigured": Reason.MISCONFIGURED,
}


class KeyStoreReconciler:
    """Makes one key store's connection what it should be."""

    def __init__(
        self, database: Database, calls: Calls, clock: Clock, options_of: Callable[[KeyStore], dict[str, Any]]
    ) -> None:
        self._database = database
        self._calls = calls
        self._clock = clock
        self._options_of = options_of

    async def reconcile(self, uid: str) -> Verdict | None:
        """One pass. None if there is no such key store (any more)."""
        store = cast("KeyStore | None", self._database.read(lambda tx: objects.get(tx, uid)))
        if store is None:
            return None
        if store.metadata.deletion is not None:
            return await self._delete(store)
        if not store.spec.connected:
            await self._disconnect(store.metadata.name)
            await self._write(store, ConnectionState.DISCONNECTED, Reason.DISCONNECTED, "declared as not connected")
            return Verdict(ConditionStatus.TRUE, Reason.UP_TO_DATE)
        return await self._keep_connected(store)

    async def _keep_connected(self, store: KeyStore) -> Verdict:
        name = store.metadata.name
        options = self._options_of(store)
        connection = self._calls.connections.find(name)
        replaced: Connection | None = None
        if connection is not None and connection.options != options:
            if connection.plugin.overlaps:
                replaced = connection  # in use until the new one is open
            else:
                await self._disconnect(name)
            connection = None
        try:
            if connection is None:
                connection = self._calls.connections.prepare(name, store.spec.type, options)
                await self._calls.open(connection)
                self._calls.connections.install(connection)
                if replaced is not None:
                    await self._calls.close(replaced)
                log.info("key store connected", store=name)
                await self._tell(store, EventReason.STORE_CONNECTED, "it is connected")
            health = await self._calls.probe(connection)
            for sentence in await self._calls.maintain(connection):
                log.info("key store maintained", store=name, done=sentence)
                await self._tell(store, EventReason.STORE_MAINTAINED, sentence)
        except KeysteadError as error:
            connected = self._calls.connections.find(name) is not None
            reason = Reason.UNHEALTHY
            if isinstance(error, KeyStoreFailure):
                reason = _REASONS.get(error.reason, Reason.STORE_UNREACHABLE)
            state = ConnectionState.CONNECTED if connected else ConnectionState.FAILED
            await self._tell(store, EventReason.STORE_FAILED, error.message)
            await self._write(store, state, reason, error.message, synced=False)
            # Credentials that were refused are not tried again and again: a device locks itself after a few. A proxy
            # does not, and may have been told of them meanwhile.
            retry = reason is not Reason.CREDENTIALS_REFUSED or bool(error.cause)
            return Verdict(ConditionStatus.FALSE, reason, error.message, retry=retry)
        reason = Reason.CONNECTED if health.healthy else Reason.UNHEALTHY
        await self._write(store, ConnectionState.CONNECTED, reason, health.detail, connection.capabilities)
        return Verdict(ConditionStatus.TRUE, Reason.UP_TO_DATE, after=PROBE_SECONDS)

    async def _delete(self, store: KeyStore) -> Verdict | None:
        keys = self._database.read(lambda tx: objects.count(tx, Kind.KEY, key_store=store.metadata.name))
        if keys:
            message = f"{keys} keys still live in key store {store.metadata.name}: delete them first"
            await self._keep_connected(store)  # its keys leave through it only
            return Verdict(ConditionStatus.FALSE, Reason.DESTROY_FAILED, message, retry=True)
        await self._disconnect(store.metadata.name)

        def remove(tx: Tx) -> None:
            present = objects.require(tx, store.metadata.uid)
            if objects.count(tx, Kind.KEY, key_store=present.metadata.name):
                raise Conflict(f"a key was made in key store {present.metadata.name} meanwhile")
            left = tuple(name for name in present.metadata.finalizers if name != CONNECTION_FINALIZER)
            objects.replace(tx, store.metadata.uid, now=self._clock.now(), finalizers=left)
            objects.remove(tx, store.metadata.uid)

        await self._database.write(remove)
        return None

    async def _tell(self, store: KeyStore, reason: EventReason, message: str) -> None:
        await self._database.write(lambda tx: events.record(tx, store, reason, message, self._clock.now()))

    async def _disconnect(self, name: str) -> None:
        connection: Connection | None = self._calls.connections.take(name)
        if connection is not None:
            await self._calls.close(connection)
            log.info("key store disconnected", store=name)

    async def _write(
        self,
        seen: KeyStore,
        connection: ConnectionState,
        reason: Reason,
        message: str,
        capabilities: Capabilities | None = None,
        *,
        synced: bool = True,
    ) -> None:
        now = self._clock.now()
        generation = seen.metadata.generation

        def condition(kind: ConditionType, holds: bool, why: Reason) -> Condition:
            return Condition(
                type=kind,
                status=ConditionStatus.TRUE if holds else ConditionStatus.FALSE,
                reason=why,
                message=message,
                last_transition=now,
                observed_generation=generation,
            )

        def write(tx: Tx) -> None:
            store = cast("KeyStore | None", objects.get(tx, seen.metadata.uid))
            if store is None:
                return
            healthy = connection is ConnectionState.CONNECTED and reason is Reason.CONNECTED
            conditions = with_condition(
                store.status.conditions,
                condition(ConditionType.CONNECTED, connection is ConnectionState.CONNECTED, reason),
            )
            conditions = with_condition(
                conditions, condition(ConditionType.SYNCED, synced, Reason.UP_TO_DATE if synced else reason)
            )
            conditions = with_condition(conditions, condition(ConditionType.READY, healthy, reason))
            specs = store.status.key_specs
            if capabilities is not None:
                specs = {spec: tuple(sorted(usages)) for spec, usages in sorted(capabilities.key_specs.items())}
            status = msgspec.structs.replace(
                store.status,
                connection=connection,
                conditions=conditions,
                key_specs=specs,
                observed_generation=generation,
            )
            if set(conditions) == set(store.status.conditions):
                status = msgspec.structs.replace(status, conditions=store.status.conditions)
            objects.replace(tx, seen.metadata.uid, now=now, status=status)

        await self._database.write(write)
