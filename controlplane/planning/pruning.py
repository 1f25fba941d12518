"""What leaves a spec set because it is no longer declared: deleted after its window, forgotten, or let go of.

Who calls it: ``planner``. Guarantee: only the set's own objects and claims; what is protected, shared or in use stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec

from controlplane.domain import lifecycle
from controlplane.domain.diff import field_changes
from controlplane.domain.ownership import merged
from controlplane.planning.live import Live
from controlplane.planning.shown import shown_field
from controlplane.planning.warnings import used_recently
from controlplane.schema.keys import Management
from controlplane.schema.meta import AnyObject, Key, KeyStore, Kind
from controlplane.schema.plans import Action, PlannedChange, PlanReason
from controlplane.store import keys, objects

ORDER = (Kind.XKS_PROXY, Kind.KEY, Kind.PRINCIPAL, Kind.KEY_STORE)
KEPT = (Management.OBSERVE, Management.KEEP_ON_DELETE)


def pruned(live: Live, declared: set[tuple[Kind, str]], newcomers: Counter[str], now: float) -> Iterator[PlannedChange]:
    """Objects of the set that are no longer declared. ``newcomers``: how many keys the plan makes in each key store."""
    for kind in ORDER:
        for uid, name in objects.names_of_set(live.tx, kind, live.spec_set):
            if (kind, name) not in declared:
                present = objects.require(live.tx, uid)
                if present.metadata.deletion is None:
                    yield _removal(live, present, newcomers, now)


def released(live: Live, declared: set[tuple[Kind, str]]) -> Iterator[PlannedChange]:
    """Objects of others of which the set stated fields, and states none any more."""
    for (kind, name), uid in sorted(live.claimed.items()):
        if (kind, name) in declared:
            continue
        present = objects.require(live.tx, uid)
        if present.metadata.spec_set == live.spec_set:
            continue
        own, others = live.claims_on(present)
        spec = merged(present.kind, present.spec, {}, own.leaves if own else {}, others)
        changes, same = field_changes(present.kind, present.spec, spec)
        owner = f"spec set {present.metadata.spec_set}" if present.metadata.spec_set else "no spec set"
        yield PlannedChange(
            action=Action.UPDATE,
            kind=present.kind,
            name=name,
            uid=uid,
            generation=present.metadata.generation,
            owner=present.metadata.spec_set,
            reason=PlanReason.RELEASED,
            message=f"it belongs to {owner}; only the fields that this set states are let go of",
            fields=tuple(shown_field(change, present.kind) for change in changes),
            unchanged_fields=same,
        )


def _removal(live: Live, present: AnyObject, newcomers: Counter[str], now: float) -> PlannedChange:
    meta = present.metadata
    change = PlannedChange(
        action=Action.DELETE,
        kind=present.kind,
        name=meta.name,
        uid=meta.uid,
        generation=meta.generation,
        owner=meta.spec_set,
        reason=PlanReason.REMOVED_FROM_SET,
    )

    def blocked(reason: PlanReason, message: str) -> PlannedChange:
        return msgspec.structs.replace(change, action=Action.BLOCKED, reason=reason, message=message)

    sharers = [claim.spec_set for claim in live.claims_on(present)[1] if claim.spec_set is not None]
    management = present.spec.management
    if management in KEPT:
        message = f"management: {management}; it stays as it is"
        return msgspec.structs.replace(change, action=Action.FORGET, message=message)
    if sharers:
        return blocked(
            PlanReason.SHARED,
            f"spec set {', '.join(sharers)} states fields of it; take it out there first, or put it back here",
        )
    if isinstance(present, Key):
        if present.spec.deletion.protect:
            return blocked(
                PlanReason.PROTECTED,
                "it is protected (deletion.protect: true); put it back and lift the protection first",
            )
        if refused := lifecycle.refusal("ScheduleKeyDeletion", keys.state(live.tx, present), present.status.arn):
            return blocked(
                PlanReason.KEY_STATE,
                f"{refused.message.rstrip('.')}; plan again when that has ended, or put it back until then",
            )
        return msgspec.structs.replace(
            change,
            action=Action.SCHEDULE_DELETION,
            window_days=present.spec.deletion.window_days,
            warnings=tuple(used_recently(live.tx, meta.uid, now)),
        )
    if isinstance(present, KeyStore):
        left = objects.count(live.tx, Kind.KEY, key_store=meta.name) + newcomers[meta.name]
        if left:
            return blocked(
                PlanReason.KEYS_IN_STORE,
                f"{left:,} {'key lives in it or is' if left == 1 else 'keys live in it or are'} declared for it; "
                "a key store leaves when its last key has been destroyed",
            )
    return change
