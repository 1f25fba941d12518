"""The end of a key: nothing before its window has passed, then material, tokens and the object, with an audit record.

Who calls it: ``keys``. Guarantee: the object leaves the store only after its key store was seen without the material.
"""

from __future__ import annotations

from typing import cast

from controlplane.audit.journal import AuditJournal
from controlplane.audit.records import AuditRecord
from controlplane.clock import Clock
from controlplane.domain.schedule import deletion_due, due_words
from controlplane.errors import Conflict
from controlplane.reconcile.external import External
from controlplane.schema.events import EventReason
from controlplane.schema.meta import Key
from controlplane.store import events, keys, objects
from controlplane.store.database import Database, Tx

SYSTEM_PRINCIPAL = "keystead:reconciler"


class Deletion:
    """Acts on keys whose deletion was asked for."""

    def __init__(self, database: Database, external: External, audit: AuditJournal, clock: Clock) -> None:
        self._database = database
        self._external = external
        self._audit = audit
        self._clock = clock

    def due(self, key: Key) -> bool:
        """Whether the waiting period is over now."""
        return deletion_due(key.metadata.deletion, self._clock.now())

    async def destroy(self, key: Key) -> None:
        """Destroy a key whose waiting period is over. Raises ``Held`` if its key store does not let go."""
        deletion = key.metadata.deletion
        assert deletion is not None
        for present in key.status.materials:
            if present.present:
                await self._external.destroy(key, present)
        await self._audit.append(
            AuditRecord(
                time=self._clock.now(),
                request_id=f"deletion-{key.metadata.uid}",
                principal=SYSTEM_PRINCIPAL,
                source="reconciler",
                operation="DeleteKey",
                action="kms:DeleteKey",
                region=key.spec.region,
                resource=key.status.arn,
                decision="allowed",
                reason=f"scheduled by {deletion.requested_by}, due {due_words(deletion)}",
            )
        )

        def remove(tx: Tx) -> None:
            uid = key.metadata.uid
            present = objects.require(tx, uid)
            if not deletion_due(present.metadata.deletion, self._clock.now()):
                raise Conflict(f"the deletion of {key.status.arn} was cancelled or put off")
            keys.take_out(tx, cast(Key, present), self._clock.now())
            message = f"its waiting period is over and its material is destroyed; {deletion.requested_by} had asked"
            events.record(tx, present, EventReason.KEY_DESTROYED, message, self._clock.now())

        await self._database.write(remove)
