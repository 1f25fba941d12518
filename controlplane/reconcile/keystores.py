"""Kind ``KeyStore``: connection is desired state. Opens, probes, looks after and closes; says since when and why not.

Who calls it: ``runtime``. A store that fails keeps its last observed status and gets a condition; others are untouched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import msgspec
import structlog

from controlplane.clock import Clock
from controlplane.errors import KeysteadError, KeyStoreFailure
from controlplane.keystores.calls import Calls
from controlplane.keystores.connections import Connection
from controlplane.reconcile import storehealth
from controlplane.reconcile.keys import Verdict
from controlplane.schema.conditions import Condition, ConditionStatus, ConditionType, Reason, with_condition
from controlplane.schema.events import EventReason
from controlplane.schema.keystores import ConnectionProblem, ConnectionState
from controlplane.schema.meta import KeyStore, Kind
from controlplane.store import events, keystores, objects
from controlplane.store.database import Database, Tx
from controlplane.usage.probing import Probes
from controlplane.usage.testkeys import TestKeys
from plugins.sdk import Capabilities, Health, HealthLevel

log = structlog.get_logger("keystead.reconcile")

PROBE_SECONDS: Final = 30.0
CLEAR_SECONDS: Final = 5.0

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
        self._refused: dict[str, _Refused] = {}
        self._test_keys = TestKeys(database, calls)
        self._probes = Probes(database, calls, clock)

    async def reconcile(self, uid: str) -> Verdict | None:
        """One pass. None if there is no such key store (any more)."""
        store = cast("KeyStore | None", self._database.read(lambda tx: objects.get(tx, uid)))
        if store is None:
            return None
        if store.metadata.deletion is not None:
            return await self._delete(store)
        if not store.spec.connected:
            self._refused.pop(uid, None)  # whoever connects it again wants it tried
            await self._clear(store)
            await self._disconnect(store.metadata.name)
            await self._write(store, ConnectionState.DISCONNECTED, Reason.DISCONNECTED, "declared as not connected")
            return Verdict(ConditionStatus.TRUE, Reason.UP_TO_DATE)
        return await self._keep_connected(store)

    async def _keep_connected(self, store: KeyStore) -> Verdict:
        name, uid = store.metadata.name, store.metadata.uid
        replaced: Connection | None = None
        options: dict[str, Any] = {}
        try:
            options = self._options_of(store)
            refused = self._refused.get(uid)
            if refused is not None and refused.credentials == _credentials(store, options):
                return refused.verdict
            connection = self._calls.connections.find(name)
            if connection is not None and connection.options != options:
                if connection.plugin.overlaps:
                    replaced = connection  # in use until the new one is open
                else:
                    await self._disconnect(name)
                connection = None
            if connection is None:
                if store.status.connection is ConnectionState.DISCONNECTED:
                    await self._write(store, ConnectionState.CONNECTING, Reason.CONNECTING, "", synced=False)
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
            reason = Reason.UNHEALTHY
            if isinstance(error, KeyStoreFailure):
                reason = _REASONS.get(error.reason, Reason.STORE_UNREACHABLE)
            if reason is Reason.CREDENTIALS_REFUSED and not error.cause:
                await self._disconnect(name)  # whoever mends it asks for a connection, and that has to be a new one
            connected = self._calls.connections.find(name) is not None
            state = ConnectionState.CONNECTED if connected else ConnectionState.FAILED
            await self._tell(store, EventReason.STORE_FAILED, error.message)
            detail = error.detail if isinstance(error, KeyStoreFailure) else error.code
            problem = ConnectionProblem(reason=error.cause or detail, message=error.message, at=self._clock.now())
            await self._write(store, state, reason, error.message, synced=False, problem=problem)
            # Credentials that were refused are not tried again before they change: a device locks itself after a few. A
            # proxy does not, and may have been told of them meanwhile.
            if reason is Reason.CREDENTIALS_REFUSED and not error.cause:
                verdict = Verdict(ConditionStatus.FALSE, reason, error.message, after=PROBE_SECONDS)
                self._refused[uid] = _Refused(_credentials(store, options), verdict)
                return verdict
            return Verdict(ConditionStatus.FALSE, reason, error.message, retry=True)
        self._refused.pop(uid, None)
        reason = Reason.CONNECTED if health.healthy else Reason.UNHEALTHY
        await self._write(store, ConnectionState.CONNECTED, reason, health.detail, connection.capabilities, health)
        return Verdict(ConditionStatus.TRUE, Reason.UP_TO_DATE, after=PROBE_SECONDS)

    async def _delete(self, store: KeyStore) -> Verdict | None:
        keys = self._database.read(lambda tx: objects.count(tx, Kind.KEY, key_store=store.metadata.name))
        if keys:
            message = f"{keys} keys still live in key store {store.metadata.name}: delete them first"
            await self._keep_connected(store)  # its keys leave through it only
            return Verdict(ConditionStatus.FALSE, Reason.DESTROY_FAILED, message, retry=True)
        await self._clear(store)
        await self._disconnect(store.metadata.name)

        # No key was made meanwhile: in a store that is being removed nobody can make one.
        await self._database.write(lambda tx: keystores.remove(tx, store.metadata.uid, self._clock.now()))
        storehealth.measure(store.metadata.name, store.spec.type, None, None, self._clock.now())
        return None

    async def _tell(self, store: KeyStore, reason: EventReason, message: str) -> None:
        await self._database.write(lambda tx: events.record(tx, store, reason, message, self._clock.now()))

    async def _clear(self, store: KeyStore) -> None:
        """Leave no test material behind in a store that may not be connected to again."""
        name = store.metadata.name
        if self._calls.connections.find(name) is None:
            return
        try:
            async with asyncio.timeout(CLEAR_SECONDS):
                await self._test_keys.remove(name, store.metadata.uid)
                await self._probes.clear(name, store.metadata.uid)
        except (KeysteadError, TimeoutError) as error:
            log.warning("the test material of a key store was left behind", store=name, error=type(error).__name__)

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
        health: Health | None = None,
        *,
        synced: bool = True,
        problem: ConnectionProblem | None = None,
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
            state = connection
            if store.metadata.generation != generation:  # what this pass did is not what is wanted any more
                state = store.status.connection
            healthy = connection is ConnectionState.CONNECTED and reason is Reason.CONNECTED
            conditions = with_condition(
                store.status.conditions,
                condition(ConditionType.CONNECTED, connection is ConnectionState.CONNECTED, reason),
            )
            conditions = with_condition(
                conditions, condition(ConditionType.SYNCED, synced, Reason.UP_TO_DATE if synced else reason)
            )
            conditions = with_condition(conditions, condition(ConditionType.READY, healthy, reason))
            if health is not None and health.members:
                conditions = with_condition(conditions, _members(health, now, generation))
            specs = store.status.key_specs
            if capabilities is not None:
                specs = {spec: tuple(sorted(usages)) for spec, usages in sorted(capabilities.key_specs.items())}
            status = msgspec.structs.replace(
                store.status,
                connection=state,
                conditions=conditions,
                key_specs=specs,
                observed_generation=generation,
                problem=_first(store.status.problem, problem),
            )
            if health is not None:
                status = storehealth.seen(status, health, now)
            elif problem is not None:
                status = msgspec.structs.replace(status, health=HealthLevel.UNAVAILABLE)
            elif connection is ConnectionState.DISCONNECTED:
                status = msgspec.structs.replace(status, health=None, latency=None)
            if set(conditions) == set(store.status.conditions):
                status = msgspec.structs.replace(status, conditions=store.status.conditions)
            objects.replace(tx, seen.metadata.uid, now=now, status=status)
            storehealth.measure(seen.metadata.name, seen.spec.type, status.health, health, now)
            if health is not None:
                for what, told in storehealth.news(store.status, status, message):
                    events.record(tx, store, what, told, now)

        await self._database.write(write)


class _Refused(NamedTuple):
    """Credentials that a store refused, and how the pass ended that tried them."""

    credentials: tuple[object, ...]
    verdict: Verdict


def _credentials(store: KeyStore, options: object) -> tuple[object, ...]:
    """What tells whether there is anything new to try: the declaration, and the files that it names for secrets.

    Nothing is read of a file: replacing it, or writing into it, changes its inode or its time.
    """
    return (store.metadata.generation, *_files(options))


def _files(options: object) -> Iterator[object]:
    if isinstance(options, Mapping):
        for name, value in options.items():
            if name == "fromFile" and isinstance(value, str):
                yield _state_of(value)
            else:
                yield from _files(value)
    elif isinstance(options, list | tuple):
        for each in options:
            yield from _files(each)


def _state_of(path: str) -> tuple[object, ...]:
    try:
        seen = Path(path).stat()
    except (OSError, ValueError):
        return (path,)
    return path, seen.st_ino, seen.st_mtime_ns, seen.st_size, seen.st_mode


def _first(present: ConnectionProblem | None, new: ConnectionProblem | None) -> ConnectionProblem | None:
    """The same problem since when it began, so that an attempt that fails like the last one writes nothing."""
    if present is not None and new is not None and (present.reason, present.message) == (new.reason, new.message):
        return present
    return new


def _members(health: Health, now: datetime, generation: int) -> Condition:
    """What is to be said of the devices of a store over several."""
    inactive = [member for member in health.members if not member.active]
    if inactive:
        reason = Reason.MEMBERS_INACTIVE
        message = "; ".join(f"{member.name}: {member.detail}" for member in inactive)
    elif health.synchronised is False:
        reason = Reason.NOT_SYNCHRONISED
        message = (
            "the members do not synchronise by themselves: each key is in the member that made it, and cannot be used "
            "while that one is away"
        )
    else:
        reason, message = Reason.ALL_ACTIVE, f"all {len(health.members)} members are active"
    return Condition(
        type=ConditionType.MEMBERS,
        status=ConditionStatus.TRUE if reason is Reason.ALL_ACTIVE else ConditionStatus.FALSE,
        reason=reason,
        message=message,
        last_transition=now,
        observed_generation=generation,
    )
