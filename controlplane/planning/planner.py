"""A spec set against live objects, to a Plan. Reads only.

Who calls it: the reconciliation API. Guarantees: the plan shows exactly what :mod:`controlplane.planning.apply` writes,
because both come from the same wishes; a change that cannot be made in place, that is protected, or that another
manager's fields stand against is ``blocked`` and says what to do instead; nothing is ever replaced.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, Final, cast

import msgspec

from controlplane.domain import imports
from controlplane.domain.diff import FieldChange, field_changes
from controlplane.domain.ownership import Clash, clashes, manager_words
from controlplane.domain.schedule import due_words
from controlplane.errors import InvalidInput, InvalidSpec
from controlplane.planning.completing import Wish, complete
from controlplane.planning.live import Live, Options, Surroundings
from controlplane.planning.pruning import pruned, released
from controlplane.planning.shown import shown_field
from controlplane.planning.warnings import keeping_an_administrator, warned
from controlplane.schema.documents import Located, check
from controlplane.schema.keys import DesiredKey, KeyState, Management, Origin
from controlplane.schema.meta import AnyObject, Desired, Key, Kind
from controlplane.schema.plans import (
    FORMAT_VERSION,
    Action,
    Counts,
    FieldPlan,
    Plan,
    PlannedChange,
    PlanReason,
    Waiting,
)
from controlplane.store import objects
from controlplane.store.database import Tx

PLAN_LIFETIME: Final = timedelta(hours=1)

_TAKING: Final = (Management.ADOPT, Management.OBSERVE)


class Desire(msgspec.Struct, frozen=True):
    """One object of a plan as the apply writes it. ``stated`` are the leaves that the set states of it from then on."""

    kind: Kind
    name: str
    spec: Desired
    stated: dict[str, Any]


class Draft(msgspec.Struct):
    """A plan in the making, with what the apply needs to carry it out."""

    plan: Plan
    desires: list[Desire]


def make_plan(
    tx: Tx, documents: Sequence[Located], spec_set: str, around: Surroundings, options: Options | None = None
) -> Draft:
    """Compare. Raises :class:`InvalidSpec` with every problem of the documents; changes nothing."""
    options = options or Options()
    live = Live(tx, spec_set, options)
    if options.targets:
        documents = _targeted(documents, live, options.targets)
    made = complete(documents, live, around, options)
    problems = [*check(documents, resolved=True), *made.problems]
    if problems:
        raise InvalidSpec(problems)
    found = [(wish, _change(wish, live, options)) for wish in made.wishes]
    changes = [change for _, change in found if change is not None]
    changes = list(_with_alias_conflicts(tx, made.wishes, changes, spec_set))
    if options.prune:
        former = {(wish.kind, wish.moved_from) for wish in made.wishes if wish.moved_from is not None}
        newcomers = Counter(
            wish.spec.key_store for wish in made.wishes if isinstance(wish.spec, DesiredKey) and wish.present is None
        )
        leaving = [
            *pruned(live, made.declared | former, newcomers, around.now.timestamp()),
            *released(live, made.declared | former),
        ]
        changes += [each for each in leaving if not options.targets or f"{each.kind}/{each.name}" in options.targets]
    changes = keeping_an_administrator(tx, changes, made.wishes)
    changes = warned(live, made.wishes, changes, around)
    plan = Plan(
        format_version=FORMAT_VERSION,
        id=around.plan_id,
        server_id=around.server_id,
        spec_set=spec_set,
        created_at=around.now,
        expires_at=around.now + PLAN_LIFETIME,
        changes=tuple(changes),
        counts=_counts(changes, made.settled + sum(change is None for _, change in found)),
        waiting=tuple(_waiting(documents, live)),
        targets=options.targets,
        takes_ownership=options.take_ownership,
    )
    return Draft(plan, [Desire(wish.kind, wish.name, wish.spec, wish.stated) for wish, _ in found])


def _targeted(documents: Sequence[Located], live: Live, targets: Sequence[str]) -> list[Located]:
    """The targets, and what they cannot be without: their key stores and primary keys, if those are declared, too."""
    by_target = {f"{each.document.kind}/{each.document.name}": each for each in documents}
    wanted: dict[str, Located] = {}
    waiting = list(targets)
    while waiting:
        target = waiting.pop()
        located = by_target.get(target)
        if located is None:
            kind, _, name = target.partition("/")
            known = kind in list(Kind) and live.find(Kind(kind), name) is not None
            if target in targets and not known:
                raise InvalidInput(f"target {target} is neither declared here nor there already; write it as Key/NAME")
            continue
        if target in wanted:
            continue
        wanted[target] = located
        spec = located.document.spec
        if isinstance(spec, DesiredKey):
            waiting.append(f"{Kind.KEY_STORE}/{spec.key_store}")
            if spec.replica_of is not None:
                waiting.append(f"{Kind.KEY}/{spec.replica_of}")
    return [each for each in documents if f"{each.document.kind}/{each.document.name}" in wanted]


# ---- comparing -------------------------------------------------------------------------------------------------------


def _change(wish: Wish, live: Live, options: Options) -> PlannedChange | None:
    """What one document changes, or None if its object is as declared."""
    if wish.present is None:
        return _creation(wish)
    present, meta = wish.present, wish.present.metadata
    changes, same = field_changes(wish.kind, present.spec, wish.spec)
    clashing = [] if options.replace else _clashes(wish, live)
    blocked = _obstacle(wish, changes, clashing, live, options)
    owned = (meta.spec_set or "") == live.spec_set
    takes = not owned and not meta.spec_set and not options.replace
    fields = [shown_field(change, wish.kind) for change in changes]
    if wish.moved_from is not None:
        fields.insert(0, FieldPlan(path="metadata.name", before=wish.moved_from, after=wish.name))
    reason, message = blocked or _reason(wish, bool(changes), clashing, takes=takes, options=options)
    if blocked is None and reason is PlanReason.OWNERSHIP_CHANGED and not message:
        return None
    return PlannedChange(
        action=Action.BLOCKED if blocked else Action.ADOPT if takes else Action.UPDATE,
        kind=wish.kind,
        name=wish.name,
        uid=meta.uid,
        generation=meta.generation,
        owner=meta.spec_set,
        reason=reason,
        message=message,
        fields=tuple(fields),
        unchanged_fields=same,
    )


def _creation(wish: Wish) -> PlannedChange:
    changes, _ = field_changes(wish.kind, None, wish.spec)
    fields = [shown_field(change, wish.kind) for change in changes]
    if wish.kind is Kind.KEY:
        fields.append(FieldPlan(path="keyId", known=False))
    made = PlannedChange(
        action=Action.CREATE, kind=wish.kind, name=wish.name, reason=PlanReason.DECLARED, fields=tuple(fields)
    )
    management = wish.spec.management
    if management not in _TAKING:
        return made
    return msgspec.structs.replace(
        made,
        action=Action.BLOCKED,
        reason=PlanReason.NOTHING_TO_ADOPT,
        message=f"management: {management} is for an object that is there already, and there is no {wish.kind} of this "
        "name; write the name that it has under metadata.movedFrom, or take the management out to make a new one",
    )


def _reason(
    wish: Wish, differs: bool, clashing: Sequence[Clash], *, takes: bool, options: Options
) -> tuple[PlanReason, str]:
    """Why there is a change. ``OwnershipChanged`` without words is none."""
    words = _taken_words(clashing)
    if takes:
        return PlanReason.ADOPTED, words
    if wish.moved_from is not None:
        return PlanReason.MOVED, words
    if differs:
        return PlanReason.SPEC_CHANGED, words or _drift_words(wish)
    if options.replace or (wish.own is None and wish.owned):
        # Kept without claims: the set states all of it, and goes on to.
        return PlanReason.OWNERSHIP_CHANGED, words
    before = dict(wish.before)
    gained = sorted(path for path, value in wish.stated.items() if before.get(path, ...) != value)
    lost = sorted(before.keys() - wish.stated.keys())
    parts = [words] if words else []
    if gained and not words:
        parts.append(f"the set states {', '.join(gained[:5])} from now on, as it is")
    if lost:
        parts.append(f"the set no longer states {', '.join(lost[:5])}")
    return PlanReason.OWNERSHIP_CHANGED, "; ".join(parts)


def _taken_words(clashing: Sequence[Clash]) -> str:
    """What is taken from whom."""
    if not clashing:
        return ""
    owners = " and ".join(sorted({manager_words(clash.owner.manager) for clash in clashing}))
    paths = sorted({clash.path for clash in clashing})
    return f"{', '.join(paths)} {'is' if len(paths) == 1 else 'are'} taken from {owners}"


def _drift_words(wish: Wish) -> str:
    """Who changed what the set states."""
    found = {}
    for claim in wish.others:
        for path in claim.leaves:
            if claim.spec_set is None and path in wish.before:
                found[path] = f"{path} was changed through {manager_words(claim.manager)}" + (
                    f" by {claim.by}" if claim.by else ""
                )
    return "; ".join(found[path] for path in sorted(found))


def _clashes(wish: Wish, live: Live) -> list[Clash]:
    if wish.present is None or wish.declared.management is Management.OBSERVE:
        return []
    adopts = wish.present.metadata.spec_set is None
    others = [claim for claim in wish.others if claim.spec_set is not None or not adopts]
    return clashes(wish.kind, wish.present.spec, live.manager, wish.stated, wish.before, others)


def _obstacle(
    wish: Wish, changes: Sequence[FieldChange], clashing: Sequence[Clash], live: Live, options: Options
) -> tuple[PlanReason, str] | None:
    """Why an existing object cannot become what is declared."""
    present = cast(AnyObject, wish.present)
    meta = present.metadata
    if (foreign := _foreign(wish, present, live, options)) is not None:
        return foreign
    if meta.deletion is not None and not isinstance(present, Key):
        return PlanReason.PENDING_DELETION, "it is being removed; plan again when it is gone"
    if meta.deletion is not None:
        return (
            PlanReason.PENDING_DELETION,
            f"it is pending deletion, destroyed {due_words(meta.deletion)}; "
            f"run: keystead cancel-deletion {meta.name}, then plan again",
        )
    if clashing and not options.take_ownership:
        told = ", ".join(f"{clash.path} is stated by {_owner(clash)}" for clash in clashing[:5])
        return PlanReason.FIELD_OWNED, f"{told}; take it out here, or plan with --take-ownership to take it from there"
    fixed = [change for change in changes if change.immutable]
    if fixed:
        names = ", ".join(change.path for change in fixed)
        advice = (
            "declare a second key under another name and move the alias to it; data stays readable under the first"
            if wish.kind is Kind.KEY
            else "declare a second object under another name"
        )
        return PlanReason.IMMUTABLE_FIELD, f"{names} cannot change in place ({fixed[0].immutable}); {advice}"
    if isinstance(present, Key) and present.spec.deletion.protect and len(changes) > 1:
        lifted = any(change.path == "deletion.protect" for change in changes)
        if lifted:
            return (
                PlanReason.PROTECTION_LIFTED_APART,
                "lifting deletion.protect is an apply of its own; take the other changes out of this one",
            )
    return None


def _owner(clash: Clash) -> str:
    by = f" ({clash.owner.by})" if clash.owner.by and clash.owner.spec_set is None else ""
    return f"{manager_words(clash.owner.manager)}{by}"


def _foreign(wish: Wish, present: AnyObject, live: Live, options: Options) -> tuple[PlanReason, str] | None:
    """Why an object that is not the set's is not for it."""
    meta = present.metadata
    owner = meta.spec_set or ""
    if owner == live.spec_set:
        return None
    if options.replace:
        return PlanReason.OWNED_ELSEWHERE, f"{wish.kind} {meta.name} belongs to spec set {owner}; choose another name"
    if wish.moved_from is not None and owner:
        return PlanReason.OWNED_ELSEWHERE, f"{wish.kind} {meta.name} belongs to spec set {owner}, which may rename it"
    if owner:
        if "management" in wish.stated:
            return (
                PlanReason.OWNED_ELSEWHERE,
                f"{wish.kind} {meta.name} belongs to spec set {owner}, and how it is managed is for that set to say; "
                f"have it let go first (keystead forget), or leave out management to share it",
            )
        if wish.stated:
            return None
        return (
            PlanReason.OWNED_ELSEWHERE,
            f"{wish.kind} {meta.name} belongs to spec set {owner}; choose another name, or state fields of it to share",
        )
    if wish.declared.management in _TAKING or options.take_ownership:
        return None
    return (
        PlanReason.OWNED_ELSEWHERE,
        f"{wish.kind} {meta.name} belongs to no spec set: it was made through an API; choose another name, or write "
        "management: adopt to take it over",
    )


def _with_alias_conflicts(
    tx: Tx,
    wishes: Sequence[Wish],
    changes: Sequence[PlannedChange],
    spec_set: str,
) -> Iterator[PlannedChange]:
    """Block a change that takes an alias which a key outside this plan holds and keeps."""
    by_name = {(wish.kind, wish.name): wish for wish in wishes}
    for change in changes:
        wish = by_name.get((change.kind, change.name))
        if change.action is Action.BLOCKED or wish is None or not isinstance(wish.spec, DesiredKey):
            yield change
            continue
        held = set(wish.present.spec.aliases) if isinstance(wish.present, Key) else set()
        conflict = None
        for alias in set(wish.spec.aliases) - held:
            row = objects.find_alias(tx, wish.spec.region or "", alias)
            holder = cast("Key | None", objects.get(tx, row.uid)) if row else None
            if holder is None or holder.metadata.uid == change.uid:
                continue
            keeper = by_name.get((Kind.KEY, holder.metadata.name))
            lets_go = keeper is not None and isinstance(keeper.spec, DesiredKey) and alias not in keeper.spec.aliases
            if holder.metadata.spec_set == spec_set and lets_go:
                continue
            conflict = f"alias/{alias} names {holder.status.arn}; take it from there first"
            break
        if conflict is None:
            yield change
        else:
            yield msgspec.structs.replace(
                change, action=Action.BLOCKED, reason=PlanReason.ALIAS_TAKEN, message=conflict
            )


def _waiting(documents: Sequence[Located], live: Live) -> Iterator[Waiting]:
    """Keys of the set that wait for their owner to import material."""
    for located in documents:
        spec = located.document.spec
        if not isinstance(spec, DesiredKey) or (spec.origin is not Origin.EXTERNAL and spec.replica_of is None):
            continue
        present = live.find(Kind.KEY, located.document.name)
        if isinstance(present, Key) and present.metadata.deletion is None and imports.waits(present):
            yield Waiting(
                kind=Kind.KEY,
                name=present.metadata.name,
                state=KeyState.PENDING_IMPORT,
                message=f"{imports.waiting_words(present)}; "
                f"begin with: keystead import-material {present.metadata.name} parameters --out DIR",
            )


def _counts(changes: Sequence[PlannedChange], unchanged: int) -> Counts:
    by_action = dict.fromkeys(Action, 0)
    for change in changes:
        by_action[change.action] += 1
    return Counts(
        create=by_action[Action.CREATE],
        update=by_action[Action.UPDATE],
        schedule_deletion=by_action[Action.SCHEDULE_DELETION],
        delete=by_action[Action.DELETE],
        adopt=by_action[Action.ADOPT],
        forget=by_action[Action.FORGET],
        blocked=by_action[Action.BLOCKED],
        unchanged=unchanged,
    )
