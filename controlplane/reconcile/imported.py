"""The end of imported material by the clock: warned of, then destroyed, with every copy of it; the key waits for it.

Who calls it: ``keys``, at the start of every pass and for keys of every kind, also such whose management is paused:
the owner of the material set the end, not who manages the key. Guarantees: nothing ends before its time; what fell due
while the process was down ends with the first pass; an audit record is durable before the material goes.
"""

from __future__ import annotations

import contextlib
from typing import cast

from controlplane import metrics
from controlplane.audit.journal import AuditJournal
from controlplane.audit.records import AuditRecord
from controlplane.clock import Clock
from controlplane.domain import imports as rules
from controlplane.errors import KeysteadError
from controlplane.keystores.calls import Calls
from controlplane.reconcile.deletion import SYSTEM_PRINCIPAL
from controlplane.schema.meta import Key
from controlplane.store import imports, objects
from controlplane.store.catalog import reference
from controlplane.store.database import Database


class ImportedMaterials:
    """Acts on imported material whose time has come."""

    def __init__(self, database: Database, calls: Calls, audit: AuditJournal, clock: Clock) -> None:
        self._database = database
        self._calls = calls
        self._audit = audit
        self._clock = clock

    async def age(self, key: Key) -> Key:
        """Do what is due. The key as it is afterwards."""
        now = self._clock.now()
        uid = key.metadata.uid
        due = rules.expired(key.status, now)
        if due:
            names = ", ".join(present.material_id for present in due)
            await self._audit.append(
                AuditRecord(
                    time=now,
                    request_id=f"expiry-{uid}",
                    principal=SYSTEM_PRINCIPAL,
                    source="reconciler",
                    operation="DeleteExpiredKeyMaterial",
                    resource=key.status.arn,
                    decision="allowed",
                    reason=f"imported material expired: {names}",
                )
            )
            gone = await self._database.write(lambda tx: imports.expire(tx, uid, now))
            metrics.MATERIAL_EXPIRED.inc(len(gone))
            for each in gone:
                with contextlib.suppress(KeysteadError):  # a store that is not connected has nothing open
                    await self._calls.destroy(key.spec.key_store, reference(key, each.name, each.material_id))
            key = self._now(key)
        if rules.to_warn_of(key.status, now):
            await self._database.write(lambda tx: imports.warn(tx, uid, now))
            key = self._now(key)
        return key

    def _now(self, key: Key) -> Key:
        found = self._database.read(lambda tx: objects.get(tx, key.metadata.uid))
        return key if found is None else cast(Key, found)
