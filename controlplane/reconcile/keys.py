"""Kind ``Key``: one pass for one key. Its conditions are written once, at the end, whatever happened.

Who calls it: ``runtime``. A pass over a key that is as declared changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import msgspec

from controlplane.clock import Clock
from controlplane.domain import imports
from controlplane.domain.lifecycle import key_state
from controlplane.domain.materials import is_replica
from controlplane.domain.schedule import due_words
from controlplane.errors import KeysteadError, KeyStoreUnavailable
from controlplane.keystores.connections import Connections
from controlplane.reconcile.deletion import Deletion
from controlplane.reconcile.external import External, Held
from controlplane.reconcile.imported import ImportedMaterials
from controlplane.reconcile.rotation import Rotation
from controlplane.schema.conditions import Condition, ConditionStatus, ConditionType, Reason, with_condition
from controlplane.schema.keys import KeyState, Management
from controlplane.schema.keystores import ConnectionState
from controlplane.schema.meta import Key
from controlplane.store import keys, objects
from controlplane.store.database import Database, Tx

POLL_SECONDS = 600.0
"""How often a key that is as declared is looked at again."""

READY_REASON: Mapping[KeyState, Reason] = {
    KeyState.ENABLED: Reason.ENABLED,
    KeyState.DISABLED: Reason.DISABLED,
    KeyState.CREATING: Reason.CREATING,
    KeyState.PENDING_DELETION: Reason.PENDING_DELETION,
    KeyState.PENDING_REPLICA_DELETION: Reason.PENDING_DELETION,
    KeyState.PENDING_IMPORT: Reason.PENDING_IMPORT,
    KeyState.UNAVAILABLE: Reason.UNAVAILABLE,
    KeyState.UPDATING: Reason.CREATING,
}


class Verdict(msgspec.Struct, frozen=True):
    """How a pass ended: the Synced condition, and when to look again (due times are in ``store.duetimes``)."""

    status: ConditionStatus
    reason: Reason
    message: str = ""
    after: float | None = None
    """Seconds of the event loop's clock."""
    retry: bool = False
    gone: bool = False
    wake: tuple[str, ...] = ()
    """Uids of other keys that should look again because of this pass."""
    cause: str = ""
    """Of the condition."""


class KeyReconciler:
    """Makes one key's material and conditions what they should be."""

    def __init__(
        self,
        database: Database,
        connections: Connections,
        external: External,
        deletion: Deletion,
        imported: ImportedMaterials,
        clock: Clock,
    ) -> None:
        self._database = database
        self._connections = connections
        self._external = external
        self._rotation = Rotation(database, external, clock)
        self._deletion = deletion
        self._imported = imported
        self._clock = clock

    async def reconcile(self, uid: str) -> Verdict | None:
        """One pass. None if there is no such key (any more)."""
        key = cast("Key | None", self._database.read(lambda tx: objects.get(tx, uid)))
        if key is None:
            return None
        try:
            verdict = await self._converge(key)
        except Held as held:
            status = ConditionStatus.UNKNOWN if held.unknown else ConditionStatus.FALSE
            verdict = Verdict(status, held.reason, held.message, retry=held.retry, wake=held.wake, cause=held.cause)
        except KeyStoreUnavailable as error:
            verdict = Verdict(ConditionStatus.FALSE, Reason.STORE_UNREACHABLE, error.message, retry=True)
        except KeysteadError as error:
            verdict = Verdict(ConditionStatus.FALSE, Reason.RECONCILE_ERROR, error.message, retry=True)
        if not verdict.gone:
            await self._write(key, verdict)
        return verdict

    async def _converge(self, key: Key) -> Verdict:
        key = await self._imported.age(key)
        if key.spec.management is Management.PAUSED:
            return Verdict(ConditionStatus.FALSE, Reason.PAUSED, "management is paused")
        deletion = key.metadata.deletion
        if deletion is not None:
            if not self._deletion.due(key):
                # Not to leave material in the device for a month that only the journal knows of.
                await self._external.resolve(key)
                return Verdict(ConditionStatus.TRUE, Reason.UP_TO_DATE, f"destroyed {due_words(deletion)}")
            self._connections.get(key.spec.key_store)
            key = await self._external.resolve(key)
            await self._deletion.destroy(key)
            woken = self._others(key)
            return Verdict(ConditionStatus.TRUE, Reason.UP_TO_DATE, gone=True, wake=woken)
        self._connections.get(key.spec.key_store)
        key = await self._external.resolve(key)
        wake: tuple[str, ...] = ()
        if is_replica(key):
            key, wake = await self._rotation.follow(key)
        if imports.waits(key):
            return Verdict(ConditionStatus.TRUE, Reason.UP_TO_DATE, imports.waiting_words(key))
        if key.status.materials:
            await self._external.observe(key)
            key = await self._rotation.turn(key)
        elif not is_replica(key):
            key = await self._external.create(key)
        return Verdict(ConditionStatus.TRUE, Reason.UP_TO_DATE, after=POLL_SECONDS, wake=wake)

    def _others(self, key: Key) -> tuple[str, ...]:
        """Keys that share the key id: the primary key's deletion may begin when a replica is gone."""
        if not key.spec.multi_region:
            return ()
        related = self._database.read(lambda tx: objects.related_keys(tx, key.status.key_id))
        return tuple(other.metadata.uid for other in related)

    async def _write(self, seen: Key, verdict: Verdict) -> None:
        """Write both conditions for the generation that this pass saw; nothing at all if they stand already."""
        generation = seen.metadata.generation
        now = self._clock.now()

        def write(tx: Tx) -> None:
            key = cast("Key | None", objects.get(tx, seen.metadata.uid))
            if key is None:
                return
            state = keys.state(tx, key)
            synced = Condition(
                type=ConditionType.SYNCED,
                status=verdict.status,
                reason=verdict.reason,
                message=verdict.message,
                last_transition=now,
                observed_generation=generation,
                cause=verdict.cause,
            )
            ready = Condition(
                type=ConditionType.READY,
                status=ConditionStatus.TRUE if state is KeyState.ENABLED else ConditionStatus.FALSE,
                reason=READY_REASON[state],
                last_transition=now,
                observed_generation=generation,
            )
            conditions = with_condition(with_condition(key.status.conditions, synced), ready)
            status = msgspec.structs.replace(key.status, conditions=conditions, observed_generation=generation)
            if _same(key.status.conditions, conditions) and key.status.observed_generation == generation:
                return
            objects.replace(tx, seen.metadata.uid, now=now, status=status)

        if self._would_change(seen, verdict):
            await self._database.write(write)

    def _would_change(self, seen: Key, verdict: Verdict) -> bool:
        """A cheap look without the writer: the routine pass over an unchanged key must not queue for it."""
        if seen.status.observed_generation != seen.metadata.generation:
            return True
        if self._database.read(lambda tx: objects.version_of(tx, seen.metadata.uid)) != seen.metadata.resource_version:
            return True
        synced = next((c for c in seen.status.conditions if c.type is ConditionType.SYNCED), None)
        if synced is None or (synced.status, synced.reason, synced.message) != (
            verdict.status,
            verdict.reason,
            verdict.message,
        ):
            return True
        ready = next((c for c in seen.status.conditions if c.type is ConditionType.READY), None)
        connection = self._connection_state(seen)
        return ready is None or ready.reason is not READY_REASON[key_state(seen, connection)]

    def _connection_state(self, key: Key) -> ConnectionState:
        open_here = self._connections.find(key.spec.key_store) is not None
        return ConnectionState.CONNECTED if open_here else ConnectionState.DISCONNECTED


def _same(before: tuple[Condition, ...], after: tuple[Condition, ...]) -> bool:
    """Whether two sets of conditions say the same; the order in which they were set says nothing."""
    return set(before) == set(after)
