"""Text of a plan, rendered from the :class:`Plan` and nothing else, and of the progress of its apply."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from controlplane.report.lines import Line, Style, moment, number
from controlplane.report.values import MAX_PAD, one_value, shown_path, shown_value, two_values
from controlplane.schema.meta import Kind
from controlplane.schema.plans import (
    Action,
    Counts,
    FieldPlan,
    ObjectProblem,
    Plan,
    PlannedChange,
    PlanReason,
    Progress,
)

LARGE_PLAN: Final = 200
"""Changes; a plan with more shows only the first ``SHOWN_PER_ACTION`` objects of each action."""
SHOWN_PER_ACTION: Final = 100


class _Verb(NamedTuple):
    symbol: str
    legend: str
    to_do: str


_VERBS: Final = {
    Action.CREATE: _Verb("+", "create", "to create"),
    Action.ADOPT: _Verb("~", "adopt", "to adopt"),
    Action.UPDATE: _Verb("~", "update in place", "to update"),
    Action.SCHEDULE_DELETION: _Verb("-", "schedule for deletion", "to schedule for deletion"),
    Action.DELETE: _Verb("-", "delete", "to delete"),
    Action.FORGET: _Verb("-", "forget, and leave it as it is", "to forget"),
    Action.BLOCKED: _Verb("!", "blocked", "blocked"),
}
"""In the order in which a plan shows them."""
_STYLES: Final = {"+": Style.CREATE, "~": Style.UPDATE, "-": Style.DELETE, "!": Style.BLOCKED}
NOUNS: Final = {
    Kind.KEY: "key",
    Kind.KEY_STORE: "key store",
    Kind.PRINCIPAL: "principal",
    Kind.XKS_PROXY: "XKS proxy",
}
_KIND_ORDER: Final = {Kind.KEY_STORE: 0, Kind.PRINCIPAL: 1, Kind.KEY: 2, Kind.XKS_PROXY: 3}


_CANNOT: Final = {
    PlanReason.PROTECTED: "it cannot be scheduled for deletion",
    PlanReason.KEY_STATE: "it cannot be scheduled for deletion",
    PlanReason.KEYS_IN_STORE: "it cannot be deleted",
    PlanReason.STORE_NOT_FOUND: "it cannot be created",
    PlanReason.LAST_ADMINISTRATOR: "it has to stay an administrator",
    PlanReason.SHARED: "it cannot be deleted",
    PlanReason.NOTHING_TO_ADOPT: "it cannot be adopted",
}
_REMEDIES: Final = {
    PlanReason.IMMUTABLE_FIELD: "declare a second one under another name; for a key, then move its alias there",
    PlanReason.PROTECTED: "put it back, and lift deletion.protect in an apply of its own first",
    PlanReason.PROTECTION_LIFTED_APART: "take the other changes out of this apply",
    PlanReason.OWNED_ELSEWHERE: "choose another name",
    PlanReason.FIELD_OWNED: "take it out here, or plan with --take-ownership",
    PlanReason.SHARED: "take it out of the other set first",
    PlanReason.NOTHING_TO_ADOPT: "write the name that it has under metadata.movedFrom",
    PlanReason.PENDING_DELETION: "cancel its deletion (keystead cancel-deletion NAME), then plan again",
    PlanReason.KEY_STATE: "plan again when its state allows it",
    PlanReason.KEYS_IN_STORE: "delete its keys first; it can go when the last one is destroyed",
    PlanReason.ALIAS_TAKEN: "take the alias from there first",
    PlanReason.STORE_NOT_FOUND: "declare its key store, or use the key store standard",
    PlanReason.LAST_ADMINISTRATOR: "declare another administrator and give it an access key or a token first",
}
"""Where the plan brings none: its messages have the form ``cause; remedy``."""


def plan_lines(plan: Plan) -> Iterator[Line]:
    """A whole plan: legend, objects, counts."""
    if plan.empty:
        yield Line(
            f"No changes. {_spec_set(plan)} is as declared ({number(plan.counts.unchanged, 'object')}).", Style.GOOD
        )
        yield from _waiting_lines(plan)
        return
    if plan.targets:
        yield Line(f"Only of {', '.join(plan.targets)} and what they need; all else was left out.", Style.WARNING)
    by_action = {action: [change for change in plan.changes if change.action is action] for action in _VERBS}
    used = [action for action in _VERBS if by_action[action]]
    yield Line(f"Plan for spec set {plan.spec_set or '(none)'}:", Style.HEADING)
    yield Line("  " + "   ".join(f"{_VERBS[action].symbol} {_VERBS[action].legend}" for action in used), Style.MUTED)
    large = len(plan.changes) > LARGE_PLAN
    for action in used:
        changes = sorted(by_action[action], key=lambda change: (_KIND_ORDER[change.kind], change.name))
        for change in changes[:SHOWN_PER_ACTION] if large else changes:
            yield Line("")
            yield from _change_lines(change, plan)
        if large and len(changes) > SHOWN_PER_ACTION:
            yield Line("")
            left = len(changes) - SHOWN_PER_ACTION
            yield Line(
                f"… and {left:,} more {_VERBS[action].to_do} (use --json for all)", _STYLES[_VERBS[action].symbol]
            )
    yield Line("")
    yield counts_line(plan.counts)
    yield from _waiting_lines(plan)
    if plan.counts.blocked:
        what = "change is" if plan.counts.blocked == 1 else "changes are"
        yield Line(f"Nothing of this plan can be applied until the blocked {what} resolved.", Style.BLOCKED)


def counts_line(counts: Counts) -> Line:
    """``Plan: 3 to create, 1 to update, 1 to schedule for deletion. 1 blocked.``"""
    parts = [
        f"{counts.create:,} to create",
        f"{counts.update:,} to update",
        f"{counts.schedule_deletion:,} to schedule for deletion",
    ]
    more = {"delete": counts.delete, "adopt": counts.adopt, "forget": counts.forget}
    parts += [f"{count:,} to {what}" for what, count in more.items() if count]
    blocked = f" {counts.blocked:,} blocked." if counts.blocked else ""
    return Line(f"Plan: {', '.join(parts)}.{blocked}", Style.BLOCKED if counts.blocked else Style.HEADING)


def applied_line(counts: Counts) -> Line:
    """What an apply of a plan with these counts has written; zero classes are left out."""
    done = {
        "created": counts.create,
        "updated": counts.update,
        "scheduled for deletion": counts.schedule_deletion,
        "deleted": counts.delete,
        "adopted": counts.adopt,
        "forgotten": counts.forget,
    }
    parts = [f"{number:,} {word}" for word, number in done.items() if number]
    return Line(f"Applied: {', '.join(parts) or 'nothing to write'}.", Style.GOOD)


def plan_footer(plan: Plan) -> Line:
    """How to apply exactly this plan, and until when."""
    return Line(f"To apply exactly this, until {moment(plan.expires_at)}: keystead apply --plan {plan.id}")


def _change_lines(change: PlannedChange, plan: Plan) -> Iterator[Line]:
    symbol = _VERBS[change.action].symbol
    style = _STYLES[symbol]
    name = f"{NOUNS[change.kind]} {change.name}"
    yield Line(f"# {name} {_sentence(change)}", Style.HEADING)
    if change.action is Action.BLOCKED:
        cause, _, remedy = change.message.partition("; ")
        remedy = remedy or _REMEDIES.get(change.reason, "change the spec file and plan again")
        yield Line(f"# (because {cause or f'of {change.reason}'})", style)
        yield Line(f"# to resolve: {remedy}", style)
    elif because := _because(change, plan):
        yield Line(f"# (because {because})", style if change.action is not Action.CREATE else Style.MUTED)
    for each in change.warnings:
        yield Line(f"# warning: {each.message}", Style.WARNING)
    yield Line(f"{symbol} {name}", style)
    width = min(MAX_PAD, max((len(shown_path(field.path)) for field in change.fields), default=0))
    for field in change.fields:
        yield from _field_lines(field, width, change.action)
    if change.unchanged_fields and change.action is not Action.FORGET:
        yield Line(f"    # ({number(change.unchanged_fields, 'unchanged field')} hidden)", Style.MUTED)


def _waiting_lines(plan: Plan) -> Iterator[Line]:
    """What waits for somebody: a state, shown with every plan and counted in none."""
    for each in plan.waiting[:SHOWN_PER_ACTION]:
        yield Line(f"{NOUNS[each.kind]} {each.name} is {each.state}: {each.message}", Style.WARNING)
    if len(plan.waiting) > SHOWN_PER_ACTION:
        yield Line(f"… and {len(plan.waiting) - SHOWN_PER_ACTION:,} more that wait (use --json for all)", Style.WARNING)


def _sentence(change: PlannedChange) -> str:
    match change.action:
        case Action.CREATE:
            return "will be created"
        case Action.UPDATE:
            if change.reason is PlanReason.OWNERSHIP_CHANGED:
                return "stays as it is; who states its fields changes"
            if change.reason is PlanReason.MOVED:
                return f"will be renamed: it was {change.fields[0].before}" if change.fields else "will be renamed"
            return "will be updated in place"
        case Action.ADOPT:
            return "exists already and will be taken into the set"
        case Action.FORGET:
            return "will be forgotten: it stays as it is, and no set owns it"
        case Action.SCHEDULE_DELETION:
            when = (
                f"{change.window_days} days after the apply" if change.window_days is not None else "after its window"
            )
            return f"will be scheduled for deletion: destroyed {when} unless cancelled"
        case Action.DELETE:
            store = change.kind is Kind.KEY_STORE
            return "will be deleted: disconnected, then forgotten" if store else "will be deleted"
        case Action.BLOCKED:
            return f"is blocked: {_CANNOT.get(change.reason, 'it cannot become what is declared')}"


def _because(change: PlannedChange, plan: Plan) -> str:
    """Nothing for what the sentence says already."""
    if change.reason is PlanReason.REMOVED_FROM_SET:
        text = f"it is no longer in {_spec_set(plan, start=False)}"
        return f"{text}; {change.message}" if change.message else text
    return change.message


def _spec_set(plan: Plan, *, start: bool = True) -> str:
    return f"{'S' if start else 's'}pec set {plan.spec_set or '(none)'}"


def _field_lines(field: FieldPlan, width: int, action: Action) -> Iterator[Line]:
    added = field.before is None and action is not Action.SCHEDULE_DELETION and action is not Action.DELETE
    removed = field.known and field.after is None and not added
    symbol = "!" if field.immutable else "+" if added else "-" if removed else "~"
    style = _STYLES[symbol]
    start = f"    {symbol} {shown_path(field.path):<{width}} ="
    note = f"  # cannot change in place: {field.immutable}" if field.immutable else ""
    if field.sensitive:
        changed = ", changed" if symbol in "~!" else ""
        yield Line(f"{start} (sensitive value{changed}){note}", style)
    elif not field.known:
        before = "" if added else f"{shown_value(field.before)} -> "
        yield Line(f"{start} {before}(known after apply){note}", style)
    elif (added or removed) and not field.immutable:
        yield from one_value(start, field.after if added else field.before, style, note)
    else:
        yield from two_values(start, field.before, field.after, style, note)


# ---- progress --------------------------------------------------------------------------------------------------------


RATE_AFTER: Final = 2.0
"""Seconds until a rate says something."""


def progress_line(progress: Progress, seconds: float, *, pending_before: int | None = None) -> Line:
    """``Reconciling: 7,000 of 10,000 ... [10s elapsed, 700 per second, 4s left]``.

    ``pending_before`` is how many were pending when the ``seconds`` began; without it, or at first, no rate is told.
    """
    done = progress.total - progress.pending
    told = f"{seconds:.0f}s elapsed"
    if pending_before is not None and seconds >= RATE_AFTER and pending_before > progress.pending:
        rate = (pending_before - progress.pending) / seconds
        told += f", {rate:,.0f} per second" if rate >= 10 else f", {rate:.1f} per second"
        if progress.pending:
            told += f", {progress.pending / rate:.0f}s left"
    return Line(f"Reconciling: {done:,} of {progress.total:,} ... [{told}]", Style.MUTED)


def problem_line(problem: ObjectProblem) -> Line:
    """Why one object is not as declared yet."""
    message = f": {problem.message}" if problem.message else ""
    return Line(f"{NOUNS[problem.kind]} {problem.name}: {problem.reason}{message}", Style.WARNING)


def synced_line(progress: Progress) -> Line:
    """The end of a wait that went well."""
    if not progress.total:
        return Line(f"Spec set {progress.spec_set} has no objects.", Style.GOOD)
    if progress.total == 1:
        return Line(f"The object of spec set {progress.spec_set} is as declared.", Style.GOOD)
    return Line(f"All {progress.total:,} objects of spec set {progress.spec_set} are as declared.", Style.GOOD)
