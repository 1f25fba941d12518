"""Rotation: new material when it falls due or was asked for, and the moment at which it becomes the current one.

Who calls it: ``keys``, for keys that have their material. Guarantees: the new material exists, durably, before it is
current; it becomes current in one transaction for a multi-Region primary key and all its replicas that are in use, so
that what one of them encrypts every other decrypts; older material stays. A crash between the two steps is continued
by the next pass. A disabled key does not rotate; what fell due meanwhile rotates once when it is enabled.
"""

from __future__ import annotations

from typing import cast

from controlplane.clock import Clock
from controlplane.domain import materials
from controlplane.domain.schedule import rotation_due
from controlplane.reconcile.external import External, Held
from controlplane.schema.conditions import Reason
from controlplane.schema.events import EventReason
from controlplane.schema.keys import Origin, RotationType
from controlplane.schema.meta import Key
from controlplane.store import events, objects
from controlplane.store.database import Database, Tx


class Rotation:
    """The steps of a rotation."""

    def __init__(self, database: Database, external: External, clock: Clock) -> None:
        self._database = database
        self._external = external
        self._clock = clock

    async def turn(self, key: Key) -> Key:
        """Rotate if it is time. The key as it is afterwards.

        Raises :class:`Held` while replicas do not have the new material yet; they are woken.
        """
        if materials.is_replica(key) or not key.spec.enabled:
            return key
        if rotation_due(key.status.rotation, self._clock.now()) is None:
            return key
        if key.status.pending is None:
            if key.spec.origin is Origin.EXTERNAL:
                return key  # its owner has to import the next material first
            key = await self._external.create(key)
        behind = [replica for replica in self._replicas(key) if _lacks_pending(replica, key)]
        if behind:
            regions = ", ".join(str(replica.spec.region) for replica in behind)
            raise Held(
                Reason.ROTATING,
                f"the new material waits until the replica keys in {regions} have it, too",
                wake=tuple(replica.metadata.uid for replica in behind),
            )
        return await self._promote(key)

    async def follow(self, key: Key) -> tuple[Key, tuple[str, ...]]:
        """Give a replica key what its primary key has and it has not. The key afterwards, and whom to wake."""
        source = materials.primary_of(self._database.read(lambda tx: objects.related_keys(tx, key.status.key_id)))
        if source is None:
            return key, ()
        left = materials.missing(key, source)
        for theirs in left:
            key = await self._external.replicate(key, source, theirs)
        return key, (source.metadata.uid,) if left else ()

    def _replicas(self, key: Key) -> list[Key]:
        """Replicas in use: one that is being made or destroyed does not hold up the others."""
        if not key.spec.multi_region:
            return []
        related = self._database.read(lambda tx: objects.related_keys(tx, key.status.key_id))
        return [other for other in related if materials.is_replica(other) and _in_use(other)]

    async def _promote(self, seen: Key) -> Key:
        now = self._clock.now()
        uid = seen.metadata.uid

        def promote(tx: Tx) -> Key:
            key = cast(Key, objects.require(tx, uid))
            kind = rotation_due(key.status.rotation, now)
            if kind is None or key.metadata.deletion is not None or not key.spec.enabled:
                return key  # called off since the pass looked; the material waits for the next time
            status = materials.rotated(key.status, kind, key.spec.rotation, now)
            for replica in objects.related_keys(tx, key.status.key_id) if key.spec.multi_region else ():
                if materials.is_replica(replica):
                    objects.replace(
                        tx, replica.metadata.uid, now=now, status=materials.mirrored(replica.status, status)
                    )
            turned = cast(Key, objects.replace(tx, uid, now=now, status=status))
            if status.current is not None:
                how = "on demand" if kind is RotationType.ON_DEMAND else "because it was due"
                message = f"rotated {how}: {status.current.material_id[:12]}… encrypts now, older material decrypts"
                events.record(tx, turned, EventReason.MATERIAL_ROTATED, message, now)
            return turned

        return await self._database.write(promote)


def _in_use(key: Key) -> bool:
    return key.metadata.deletion is None and key.status.current is not None


def _lacks_pending(replica: Key, key: Key) -> bool:
    pending = key.status.pending
    return pending is not None and all(
        present.material_id != pending.material_id for present in replica.status.materials
    )
