"""How an object has drifted: what spec sets state of it against what it is, its deletion and its material, too.

Who calls it: the reconciler, which puts fields back and tells of the rest, and the reconciliation API for its report.
Reads only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from controlplane.domain.diff import FieldChange
from controlplane.domain.ownership import Claim, differences, manager_words
from controlplane.domain.schedule import due_words
from controlplane.planning.shown import shown_field
from controlplane.schema.conditions import ConditionStatus, ConditionType, Reason, find_condition
from controlplane.schema.drift import DriftReason, FieldDrift, ObjectDrift
from controlplane.schema.keys import Management
from controlplane.schema.meta import AnyObject, Key
from controlplane.store import claims
from controlplane.store.database import Tx

LEFT_ALONE: Final = (Management.OBSERVE, Management.PAUSED)
_MATERIAL: Final = {
    Reason.MATERIAL_LOST: DriftReason.MATERIAL_LOST,
    Reason.MATERIAL_DAMAGED: DriftReason.MATERIAL_DAMAGED,
}


def compare(tx: Tx, present: AnyObject, *, fields_only: bool = False) -> ObjectDrift | None:
    """How an object has drifted now, or None. Changes nothing."""
    kept = [each.claim for each in claims.of(tx, present.metadata.uid)]
    stated = stated_by_sets(kept)
    meta = present.metadata
    management = present.spec.management

    def drift(reason: DriftReason, message: str, **more: Any) -> ObjectDrift:
        return ObjectDrift(
            kind=present.kind,
            name=meta.name,
            uid=meta.uid,
            spec_set=meta.spec_set,
            management=management,
            reason=reason,
            message=message,
            **more,
        )

    synced = find_condition(present.status.conditions, ConditionType.SYNCED)
    lost = synced is not None and synced.reason in _MATERIAL and synced.status is not ConditionStatus.TRUE
    if lost and synced is not None and not fields_only:
        return drift(_MATERIAL[synced.reason], synced.message)
    deletion = meta.deletion
    if deletion is not None:
        if not isinstance(present, Key) or meta.spec_set is None or deletion.spec_set is not None:
            return None
        return drift(
            DriftReason.PENDING_DELETION,
            f"{deletion.requested_by} scheduled its deletion; it is destroyed {due_words(deletion)} unless cancelled",
        )
    found = differences(present.kind, present.spec, stated)
    if not found:
        return None
    authors = _authors(kept)
    fields = []
    for each in found:
        shown = shown_field(FieldChange(each.path, each.stated, each.live), present.kind)
        fields.append(
            FieldDrift(
                path=each.path,
                stated=shown.before,
                live=shown.after,
                changed_by=authors.get(each.path, ""),
                sensitive=shown.sensitive,
            )
        )
    corrected = management not in LEFT_ALONE
    return drift(DriftReason.FIELDS_DIFFER, drift_words(fields), fields=tuple(fields), corrected=corrected)


def stated_by_sets(kept: Iterable[Claim]) -> dict[str, Any]:
    """What spec sets state of the object together."""
    return {path: value for claim in kept if claim.spec_set is not None for path, value in claim.leaves.items()}


def drift_words(fields: Sequence[FieldDrift]) -> str:
    """Before and after of every field, in one sentence."""
    parts = []
    for field in fields[:5]:
        by = f" ({field.changed_by})" if field.changed_by else ""
        parts.append(f"{field.path} is {_value(field.live)}, stated is {_value(field.stated)}{by}")
    more = f", and {len(fields) - 5} more" if len(fields) > 5 else ""
    return "; ".join(parts) + more


# ---- inside ----------------------------------------------------------------------------------------------------------


def _authors(kept: Iterable[Claim]) -> dict[str, str]:
    """Through which API, and by whom, a leaf was changed."""
    return {
        path: f"{manager_words(claim.manager)}, {claim.by}" if claim.by else manager_words(claim.manager)
        for claim in kept
        if claim.spec_set is None
        for path in claim.leaves
    }


def _value(value: Any) -> str:
    if value is None:
        return "absent"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:60]}… ({len(text):,} characters)"
