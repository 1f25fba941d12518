"""Kind ``Principal``: nothing lives outside the store, so a pass says that the declaration is in force."""

from __future__ import annotations

from typing import cast

import msgspec

from controlplane.clock import Clock
from controlplane.reconcile.keys import Verdict
from controlplane.schema.conditions import Condition, ConditionStatus, ConditionType, Reason, with_condition
from controlplane.schema.meta import Principal
from controlplane.store import objects
from controlplane.store.database import Database, Tx


class PrincipalReconciler:
    """Makes one principal's conditions current, or lets a removed one go."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def reconcile(self, uid: str) -> Verdict | None:
        """One pass. None if there is no such principal (any more)."""
        seen = cast("Principal | None", self._database.read(lambda tx: objects.get(tx, uid)))
        if seen is None:
            return None
        if seen.status.observed_generation != seen.metadata.generation:
            await self._database.write(lambda tx: self._write(tx, uid))
        return Verdict(ConditionStatus.TRUE, Reason.UP_TO_DATE)

    def _write(self, tx: Tx, uid: str) -> None:
        principal = cast("Principal | None", objects.get(tx, uid))
        if principal is None:
            return
        now, generation = self._clock.now(), principal.metadata.generation
        conditions = principal.status.conditions
        for kind, reason in ((ConditionType.SYNCED, Reason.UP_TO_DATE), (ConditionType.READY, Reason.AVAILABLE)):
            conditions = with_condition(
                conditions,
                Condition(
                    type=kind,
                    status=ConditionStatus.TRUE,
                    reason=reason,
                    last_transition=now,
                    observed_generation=generation,
                ),
            )
        status = msgspec.structs.replace(principal.status, conditions=conditions, observed_generation=generation)
        objects.replace(tx, uid, now=now, status=status)
