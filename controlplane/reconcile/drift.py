"""Drift: what spec sets state is put back where it was changed, with an event that says what was and what is; what is
not put back is said in the condition ``Drifted``.

Who calls it: ``runtime``, around the pass of every kind; what drift is says ``planning.drift``.
Guarantees: only fields are written, never material; an object that is observed, paused or pending deletion is left as
it is; a look at an object that has not changed since the last one writes nothing and reads one row.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, cast

import msgspec

from controlplane.clock import Clock
from controlplane.domain.ownership import with_leaves
from controlplane.errors import AlreadyExists
from controlplane.planning.drift import compare, drift_words, stated_by_sets
from controlplane.schema.conditions import (
    Condition,
    ConditionStatus,
    ConditionType,
    Reason,
    find_condition,
    with_condition,
)
from controlplane.schema.drift import DriftReason
from controlplane.schema.events import EventReason
from controlplane.schema.keys import DesiredKey
from controlplane.schema.meta import AnyObject, Key, Status
from controlplane.store import claims, events, keys, objects
from controlplane.store.database import Database, Tx

_CONDITION: Final = {
    DriftReason.FIELDS_DIFFER: Reason.FIELDS_DIFFER,
    DriftReason.PENDING_DELETION: Reason.PENDING_DELETION,
    DriftReason.MATERIAL_LOST: Reason.MATERIAL_LOST,
    DriftReason.MATERIAL_DAMAGED: Reason.MATERIAL_DAMAGED,
}


class Drift:
    """Keeps what is stated true."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def correct(self, uid: str) -> None:
        """Put back what was changed, ahead of a pass."""
        if self._database.read(lambda tx: claims.unsure(tx, uid)):
            now = self._clock.now()
            await self._database.write(lambda tx: _correct(tx, uid, now))

    async def tell(self, uid: str) -> None:
        """Bring the condition up to date, behind a pass."""
        if self._database.read(lambda tx: claims.may_drift(tx, uid)):
            now = self._clock.now()
            await self._database.write(lambda tx: _tell(tx, uid, now))


# ---- inside ----------------------------------------------------------------------------------------------------------


def _correct(tx: Tx, uid: str, now: datetime) -> None:
    present = objects.get(tx, uid)
    if present is None:
        return
    drift = compare(tx, present, fields_only=True)
    if drift is None:
        if present.metadata.deletion is None:
            claims.seen(tx, uid, present.metadata.generation)
        return
    if not drift.corrected:
        return
    stated = stated_by_sets(each.claim for each in claims.of(tx, uid))
    wanted = {field.path: stated[field.path] for field in drift.fields}
    corrected = _put(tx, present, wanted, now)
    if corrected is None:
        # An alias that another key has now; the rest can be put back.
        wanted = {path: value for path, value in wanted.items() if not path.startswith("aliases.")}
        corrected = _put(tx, present, wanted, now) if wanted else None
    if corrected is None:
        return
    claims.take(tx, uid, "", set(wanted), from_sets=False)
    if len(wanted) == len(drift.fields):
        claims.seen(tx, uid, corrected.metadata.generation)
    put_back = [field for field in drift.fields if field.path in wanted]
    events.record(tx, corrected, EventReason.DRIFT_CORRECTED, f"put back as declared: {drift_words(put_back)}", now)


def _put(tx: Tx, present: AnyObject, wanted: dict[str, Any], now: datetime) -> AnyObject | None:
    """The object with these leaves, or None, with nothing written, if one cannot be had."""
    spec = with_leaves(present.kind, present.spec, wanted)
    tx.execute("SAVEPOINT correction")
    try:
        if isinstance(spec, DesiredKey):
            done: AnyObject = keys.put_spec(tx, cast(Key, present), spec, now)
        else:
            done = objects.replace(tx, present.metadata.uid, now=now, spec=spec)
    except AlreadyExists:
        tx.execute("ROLLBACK TO correction")
        return None
    finally:
        tx.execute("RELEASE correction")
    return done


def _tell(tx: Tx, uid: str, now: datetime) -> None:
    present = objects.get(tx, uid)
    if present is None:
        return
    drift = compare(tx, present)
    held = find_condition(present.status.conditions, ConditionType.DRIFTED)
    if drift is None and (held is None or held.status is ConditionStatus.FALSE):
        return
    told = Condition(
        type=ConditionType.DRIFTED,
        status=ConditionStatus.FALSE if drift is None else ConditionStatus.TRUE,
        reason=Reason.UP_TO_DATE if drift is None else _CONDITION[drift.reason],
        message="" if drift is None else drift.message,
        last_transition=now,
        observed_generation=present.metadata.generation,
    )
    conditions = with_condition(present.status.conditions, told)
    if set(conditions) == set(present.status.conditions):
        return
    status: Status = msgspec.structs.replace(present.status, conditions=conditions)
    objects.replace(tx, uid, now=now, status=status)
    if drift is not None and (held is None or held.message != drift.message):
        events.record(tx, present, EventReason.DRIFT_FOUND, drift.message, now)
