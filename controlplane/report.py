"""Text of plans, objects and progress, as marked lines: what the command line prints and the terminal UI shows.

Who calls it: ``cli`` and ``tui``. Pure: structs and, where an age is shown, the present time come in, lines go out;
``cli.output`` and the UI's theme turn a :class:`Style` into colour.

Guarantees: the text of a plan comes from the :class:`Plan` and nothing else. A :class:`Line` holds no control character
and no invisible one, whatever a server or another user put into a description, so text cannot move the cursor, hide or
reorder what a person is asked to approve. Sensitive values are not shown. Text that is too long is shortened where the
line says so; it never hides a difference. What is blocked stands last in a plan, because a terminal shows the end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from difflib import SequenceMatcher, unified_diff
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec

from controlplane.schema.conditions import Condition, ConditionStatus, ConditionType, Reason, find_condition
from controlplane.schema.keys import RefusedUse
from controlplane.schema.meta import AnyObject, Key, KeyStore, Kind, Principal
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
SECRET_FIELDS: Final = frozenset({"pin", "password", "passphrase", "secret", "secretAccessKey", "token"})
"""Options of key stores that are masked in a description, as the planner masks them in a plan."""

_WIDE = 100  # characters of a value on one line
_TALL = 40  # lines of a text or of a difference
_CUT = 60  # characters that stay of each end of a long value
_MAX_PAD = 44  # a single long path must not push every value off the screen


class Style(StrEnum):
    """What a line is; how it looks is decided where it is shown."""

    PLAIN = "plain"
    HEADING = "heading"
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    BLOCKED = "blocked"
    MUTED = "muted"
    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


class Line(msgspec.Struct, frozen=True):
    """One line of text for people. Made safe for a terminal on construction."""

    text: str
    style: Style = Style.PLAIN

    def __post_init__(self) -> None:
        if not self.text.isprintable():
            msgspec.structs.force_setattr(self, "text", printable(self.text))


def printable(text: str) -> str:
    """The text with control, format (right-to-left marks) and line-separating characters written as escapes."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


# ---- plans -----------------------------------------------------------------------------------------------------------


class _Verb(NamedTuple):
    symbol: str
    legend: str
    to_do: str


_VERBS: Final = {
    Action.CREATE: _Verb("+", "create", "to create"),
    Action.UPDATE: _Verb("~", "update in place", "to update"),
    Action.SCHEDULE_DELETION: _Verb("-", "schedule for deletion", "to schedule for deletion"),
    Action.DELETE: _Verb("-", "delete", "to delete"),
    Action.BLOCKED: _Verb("!", "blocked", "blocked"),
}
"""In the order in which a plan shows them."""
_STYLES: Final = {"+": Style.CREATE, "~": Style.UPDATE, "-": Style.DELETE, "!": Style.BLOCKED}
_NOUNS: Final = {Kind.KEY: "key", Kind.KEY_STORE: "key store", Kind.PRINCIPAL: "principal"}
_KIND_ORDER: Final = {Kind.KEY_STORE: 0, Kind.PRINCIPAL: 1, Kind.KEY: 2}


_CANNOT: Final = {
    PlanReason.PROTECTED: "it cannot be scheduled for deletion",
    PlanReason.KEYS_IN_STORE: "it cannot be deleted",
    PlanReason.STORE_NOT_FOUND: "it cannot be created",
}
_REMEDIES: Final = {
    PlanReason.IMMUTABLE_FIELD: "declare a second one under another name; for a key, then move its alias there",
    PlanReason.PROTECTED: "put it back, and lift deletion.protect in an apply of its own first",
    PlanReason.PROTECTION_LIFTED_APART: "take the other changes out of this apply",
    PlanReason.OWNED_ELSEWHERE: "choose another name",
    PlanReason.PENDING_DELETION: "cancel its deletion (keystead cancel-deletion NAME), then plan again",
    PlanReason.KEYS_IN_STORE: "delete its keys first; it can go when the last one is destroyed",
    PlanReason.ALIAS_TAKEN: "take the alias from there first",
    PlanReason.STORE_NOT_FOUND: "declare its key store, or use the key store standard",
}
"""Where the plan brings none: its messages have the form ``cause; remedy``."""


def plan_lines(plan: Plan) -> Iterator[Line]:
    """A whole plan: legend, objects, counts."""
    if plan.empty:
        yield Line(
            f"No changes. {_spec_set(plan)} is as declared ({_number(plan.counts.unchanged, 'object')}).", Style.GOOD
        )
        return
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
    if counts.delete:
        parts.append(f"{counts.delete:,} to delete")
    blocked = f" {counts.blocked:,} blocked." if counts.blocked else ""
    return Line(f"Plan: {', '.join(parts)}.{blocked}", Style.BLOCKED if counts.blocked else Style.HEADING)


def applied_line(counts: Counts) -> Line:
    """What an apply of a plan with these counts has written; zero classes are left out."""
    done = {
        "created": counts.create,
        "updated": counts.update,
        "scheduled for deletion": counts.schedule_deletion,
        "deleted": counts.delete,
    }
    parts = [f"{number:,} {word}" for word, number in done.items() if number]
    return Line(f"Applied: {', '.join(parts) or 'nothing to write'}.", Style.GOOD)


def plan_footer(plan: Plan) -> Line:
    """How to apply exactly this plan, and until when."""
    return Line(f"To apply exactly this, until {moment(plan.expires_at)}: keystead apply --plan {plan.id}")


def _change_lines(change: PlannedChange, plan: Plan) -> Iterator[Line]:
    symbol = _VERBS[change.action].symbol
    style = _STYLES[symbol]
    name = f"{_NOUNS[change.kind]} {change.name}"
    yield Line(f"# {name} {_sentence(change)}", Style.HEADING)
    if change.action is Action.BLOCKED:
        cause, _, remedy = change.message.partition("; ")
        remedy = remedy or _REMEDIES.get(change.reason, "change the spec file and plan again")
        yield Line(f"# (because {cause or f'of {change.reason}'})", style)
        yield Line(f"# to resolve: {remedy}", style)
    elif because := _because(change, plan):
        yield Line(f"# (because {because})", style if change.action is not Action.CREATE else Style.MUTED)
    yield Line(f"{symbol} {name}", style)
    width = min(_MAX_PAD, max((len(_path(field.path)) for field in change.fields), default=0))
    for field in change.fields:
        yield from _field_lines(field, width, change.action)
    if change.unchanged_fields:
        yield Line(f"    # ({_number(change.unchanged_fields, 'unchanged field')} hidden)", Style.MUTED)


def _sentence(change: PlannedChange) -> str:
    match change.action:
        case Action.CREATE:
            return "will be created"
        case Action.UPDATE:
            return "will be updated in place"
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
    start = f"    {symbol} {_path(field.path):<{width}} ="
    note = f"  # cannot change in place: {field.immutable}" if field.immutable else ""
    if field.sensitive:
        changed = ", changed" if symbol in "~!" else ""
        yield Line(f"{start} (sensitive value{changed}){note}", style)
    elif not field.known:
        before = "" if added else f"{_value(field.before)} -> "
        yield Line(f"{start} {before}(known after apply){note}", style)
    elif (added or removed) and not field.immutable:
        yield from _one_value(start, field.after if added else field.before, style, note)
    else:
        yield from _two_values(start, field.before, field.after, style, note)


def _one_value(start: str, value: Any, style: Style, note: str = "") -> Iterator[Line]:
    lines = _text_lines(value)
    if lines is None:
        yield Line(f"{start} {_value(value)}{note}", style)
    elif len(lines) > _TALL:
        yield Line(f"{start} (text of {len(lines):,} lines, {len(value):,} characters){note}", style)
    else:
        yield Line(f"{start}{note}", style)
        for line in lines:
            yield Line(f"        | {_shortened(line)}", style)


def _two_values(start: str, before: Any, after: Any, style: Style, note: str) -> Iterator[Line]:
    old, new = _text_lines(before), _text_lines(after)
    if old is not None or new is not None:
        old = old if old is not None else [_value(before)]
        new = new if new is not None else [_value(after)]
        yield from _text_difference(start, old, new, style, note)
        return
    if isinstance(before, list) and isinstance(after, list) and len(_json(before)) + len(_json(after)) > _WIDE:
        yield from _list_difference(start, before, after, style, note)
        return
    shown = _value(before), _value(after)
    if shown[0] == shown[1] or _json(before) != shown[0] or _json(after) != shown[1]:
        shown = _around_difference(_json(before), _json(after))
    yield Line(f"{start} {shown[0]} -> {shown[1]}{note}", style)


def _text_difference(start: str, old: list[str], new: list[str], style: Style, note: str) -> Iterator[Line]:
    difference = list(unified_diff(old, new, lineterm="", n=3))[2:]
    if not difference:
        yield Line(f"{start} (the same JSON, formatted otherwise){note}", style)
        return
    added = sum(line.startswith("+") for line in difference)
    removed = sum(line.startswith("-") for line in difference)
    if len(difference) > _TALL or any(len(line) > 2 * _WIDE for line in difference):
        counts = f"{_number(added, 'line')} added, {removed:,} removed"
        yield Line(f"{start} (text: {counts}; use --json for all){note}", style)
        return
    yield Line(f"{start}{note}", style)
    for line in difference:
        mark = Style.CREATE if line[0] == "+" else Style.DELETE if line[0] == "-" else Style.MUTED
        yield Line(f"        | {line}", mark)


def _list_difference(start: str, before: list[Any], after: list[Any], style: Style, note: str) -> Iterator[Line]:
    old, new = [_json(item) for item in before], [_json(item) for item in after]
    yield Line(f"{start} [{note}", style)
    same = 0
    for tag, i, j, m, n in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            same += j - i
            continue
        for mark, items in (("-", old[i:j]), ("+", new[m:n])):
            for item in items:
                yield Line(f"          {mark} {_shortened(item)}", _STYLES[mark])
    if same:
        yield Line(f"            # ({_number(same, 'unchanged element')} hidden)", Style.MUTED)
    yield Line("      ]", style)


def _text_lines(value: Any) -> list[str] | None:
    """Lines of a text that is better read as such: several lines, or a policy on one long line. None for the rest."""
    if not isinstance(value, str):
        return None
    if "\n" in value:
        return value.expandtabs(4).removesuffix("\n").split("\n")
    if len(value) > _WIDE and value.startswith("{"):
        return _pretty(value)
    return None


def _pretty(text: str) -> list[str] | None:
    """A JSON object over several lines. None if a name stands twice in it: printed anew it would say less."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) != len(pairs):
            raise ValueError
        return dict(pairs)

    try:
        value = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError):
        return None
    return json.dumps(value, indent=2, ensure_ascii=False).split("\n")


def _path(path: str) -> str:
    """A tag may be named like a piece of a plan; then it is quoted."""
    return path if re.fullmatch(r"[\w.:/@+-]+", path) else _json(path)


def _json(value: Any) -> str:
    if value is None:
        return "(none)"
    return printable(json.dumps(value, ensure_ascii=False))


def _value(value: Any) -> str:
    return _shortened(_json(value))


def _shortened(text: str) -> str:
    if len(text) <= 2 * _WIDE:
        return text
    return f"{text[:_CUT]}…{text[-_CUT:]} ({len(text):,} characters)"


def _around_difference(before: str, after: str) -> tuple[str, str]:
    """Both texts from shortly before to shortly after where they differ."""
    first = next(
        (i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after))
    )
    start = max(0, first - 20)

    def cut(text: str) -> str:
        window = text[start : start + 2 * _CUT]
        tail = f"… ({len(text):,} characters)" if len(text) > start + len(window) else ""
        return f"{'…' if start else ''}{window}{tail}"

    return cut(before), cut(after)


# ---- progress --------------------------------------------------------------------------------------------------------


def progress_line(progress: Progress, seconds: float) -> Line:
    """``Reconciling: 7 of 10 ... [10s elapsed]``"""
    done = progress.total - progress.pending
    return Line(f"Reconciling: {done:,} of {progress.total:,} ... [{seconds:.0f}s elapsed]", Style.MUTED)


def problem_line(problem: ObjectProblem) -> Line:
    """Why one object is not as declared yet."""
    message = f": {problem.message}" if problem.message else ""
    return Line(f"{_NOUNS[problem.kind]} {problem.name}: {problem.reason}{message}", Style.WARNING)


def synced_line(progress: Progress) -> Line:
    """The end of a wait that went well."""
    if not progress.total:
        return Line(f"Spec set {progress.spec_set} has no objects.", Style.GOOD)
    if progress.total == 1:
        return Line(f"The object of spec set {progress.spec_set} is as declared.", Style.GOOD)
    return Line(f"All {progress.total:,} objects of spec set {progress.spec_set} are as declared.", Style.GOOD)


# ---- objects ---------------------------------------------------------------------------------------------------------


def age(then: datetime, now: datetime) -> str:
    """``45s``, ``5m``, ``7h``, ``3d``; a moment in the future counts as now."""
    return _span(now - then)


def moment(when: datetime) -> str:
    """A time in UTC, to the second."""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def time_left(due: datetime, now: datetime) -> str:
    """``6d 3h``, ``5h 55m``, ``25m``, or ``due now``. Counted down, so always rounded down."""
    minutes = int((due - now).total_seconds() // 60)
    if due <= now:
        return "due now"
    if minutes < 1:
        return "less than 1m"
    days, hours = divmod(minutes // 60, 24)
    if days:
        return f"{days}d {hours}h"
    return f"{hours}h {minutes % 60}m" if hours else f"{minutes}m"


def _span(span: timedelta) -> str:
    seconds = max(0, int(span.total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def shown_state(item: AnyObject) -> str:
    """State as a person asks for it: the key state, whether a key store is connected, ``Ready`` of the others."""
    if isinstance(item, KeyStore):
        return item.status.connection
    if item.metadata.deletion is not None:
        return Reason.PENDING_DELETION  # desired state says so, whether the reconciler has looked yet or not
    ready = find_condition(item.status.conditions, ConditionType.READY)
    if ready is None:
        return Reason.CREATING if isinstance(item, Key) else "-"
    if isinstance(item, Key) and ready.reason in (Reason.ENABLED, Reason.DISABLED):
        return Reason.ENABLED if item.spec.enabled else Reason.DISABLED  # holds from the moment it is declared
    return ready.reason


def shown_condition(item: AnyObject) -> str:
    """``Synced``, ``Reconciling`` (not seen at its present generation), or the reason why it is not synced."""
    synced = find_condition(item.status.conditions, ConditionType.SYNCED)
    if synced is None or _stale(synced, item):
        return "Reconciling"
    return "Synced" if synced.status is ConditionStatus.TRUE else synced.reason


def table_lines(kind: Kind, items: Sequence[AnyObject], now: datetime) -> Iterator[Line]:
    """The table of ``keystead get``. Empty for no items."""
    header = {
        Kind.KEY: ("NAME", "STATE", "SPEC", "STORE", "ALIASES", "AGE", "CONDITION"),
        Kind.KEY_STORE: ("NAME", "CONNECTION", "TYPE", "KEY SPECS", "AGE", "CONDITION"),
        Kind.PRINCIPAL: ("NAME", "TYPE", "ADMINISTRATOR", "POLICIES", "AGE", "CONDITION"),
    }[kind]
    if items:
        yield from _table(header, [(_row(item, now), _row_style(item)) for item in items])


def _row(item: AnyObject, now: datetime) -> tuple[str, ...]:
    meta = item.metadata
    end = age(meta.created_at, now), shown_condition(item)
    match item:
        case Key(spec=spec):
            return (meta.name, shown_state(item), spec.key_spec, spec.key_store, _some(spec.aliases), *end)
        case KeyStore(spec=store, status=status):
            return (meta.name, shown_state(item), store.type, str(len(status.key_specs) or "-"), *end)
        case Principal(spec=principal):
            administrator = "yes" if principal.administrator else "no"
            return (meta.name, principal.type, administrator, _some(tuple(principal.policies)), *end)


def _row_style(item: AnyObject) -> Style:
    condition = shown_condition(item)
    if condition == "Reconciling":
        return Style.MUTED
    if condition != "Synced":
        return Style.WARNING
    return Style.DELETE if item.metadata.deletion is not None else Style.PLAIN


def _some(names: Sequence[str]) -> str:
    if not names:
        return "-"
    more = f" +{len(names) - 2}" if len(names) > 2 else ""
    return ",".join(names[:2]) + more


def _table(header: Sequence[str], rows: Sequence[tuple[Sequence[str], Style]], indent: str = "") -> Iterator[Line]:
    shown = [([printable(cell) for cell in cells], style) for cells, style in rows]
    widths = [max(len(cells[column]) for cells in (header, *(r for r, _ in shown))) for column in range(len(header))]
    for cells, style in ((header, Style.HEADING), *shown):
        text = "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))
        yield Line((indent + text).rstrip(), style)


def _stale(condition: Condition, item: AnyObject) -> bool:
    return condition.observed_generation < item.metadata.generation


def describe_lines(item: AnyObject, now: datetime, refused: Sequence[RefusedUse] = ()) -> Iterator[Line]:
    """Everything about one object; ``refused`` are the refused uses of a key that is pending deletion."""
    meta, status = item.metadata, item.status
    facts: list[tuple[str, str]] = [("Name", meta.name), ("Kind", item.kind), ("Uid", meta.uid)]
    if isinstance(item, Key):
        facts += [("Key id", item.status.key_id), ("ARN", item.status.arn)]
    if isinstance(item, Principal):
        facts += [("ARN", item.status.arn)]
    facts += [
        ("State", shown_state(item)),
        ("Spec set", meta.spec_set or "(none: made through an API)"),
        ("Created", f"{moment(meta.created_at)} ({age(meta.created_at, now)} ago)"),
        ("Generation", f"{meta.generation}, observed {status.observed_generation}"),
        ("Version", str(meta.resource_version)),
    ]
    if meta.finalizers:
        facts.append(("Finalizers", ", ".join(meta.finalizers)))
    width = max(len(label) for label, _ in facts) + 1
    for label, text in facts:
        yield Line(f"{label + ':':<{width}} {text}")
    if meta.deletion is not None:
        due = meta.deletion.due_at
        yield Line("Deletion:", Style.HEADING)
        window = f"window {_number(meta.deletion.window_days, 'day')}"
        yield Line(f"  due {moment(due)} ({time_left(due, now)}), {window}", Style.DELETE)
        yield Line(f"  asked for by {meta.deletion.requested_by} at {moment(meta.deletion.requested_at)}")
    yield Line("Spec:", Style.HEADING)
    fields = list(_fields(item.spec, ""))
    width = min(_MAX_PAD, max((len(_path(path)) for path, _ in fields), default=0))
    for path, value in fields:
        start = f"  {_path(path):<{width}} ="
        if not SECRET_FIELDS.isdisjoint(path.split(".")):
            yield Line(f"{start} (sensitive value)")
        else:
            yield from _one_value(start, value, Style.PLAIN)
    yield from _condition_lines(item, now)
    if isinstance(item, Key):
        yield from _material_lines(item, now)
        yield from _refused_lines(refused, now)
    if isinstance(item, KeyStore) and item.status.key_specs:
        yield Line("Offers:", Style.HEADING)
        rows = [((spec, ", ".join(usages)), Style.PLAIN) for spec, usages in sorted(item.status.key_specs.items())]
        yield from _table(("KEY SPEC", "USAGES"), rows, "  ")


def _fields(value: object, path: str) -> Iterator[tuple[str, Any]]:
    """A spec by paths, defaults included; absent fields are left out."""
    if isinstance(value, msgspec.Struct):
        for field in msgspec.structs.fields(value):
            inner = f"{path}.{field.encode_name}" if path else field.encode_name
            yield from _fields(getattr(value, field.name), inner)
    elif isinstance(value, dict) and value:
        for name, inner_value in value.items():
            yield from _fields(inner_value, f"{path}.{name}")
    elif value is not None:
        yield path, msgspec.to_builtins(value)


def _condition_lines(item: AnyObject, now: datetime) -> Iterator[Line]:
    yield Line("Conditions:", Style.HEADING)
    rows = []
    for condition in item.status.conditions:
        behind = f"stale: seen at generation {condition.observed_generation} of {item.metadata.generation}"
        message = "; ".join(part for part in (condition.message, behind if _stale(condition, item) else "") if part)
        style = Style.PLAIN if condition.status is ConditionStatus.TRUE else Style.WARNING
        cells = (condition.type, condition.status, condition.reason, age(condition.last_transition, now), message)
        rows.append((cells, Style.MUTED if _stale(condition, item) else style))
    if rows:
        yield from _table(("TYPE", "STATUS", "REASON", "AGE", "MESSAGE"), rows, "  ")
    else:
        yield Line("  none yet: the reconciler has not looked at it", Style.MUTED)


def _material_lines(item: Key, now: datetime) -> Iterator[Line]:
    if not item.status.materials:
        yield Line("Materials: none", Style.HEADING)
        return
    yield Line("Materials:", Style.HEADING)
    rows = [((m.material_id, m.state, age(m.created_at, now), m.name), Style.PLAIN) for m in item.status.materials]
    yield from _table(("ID", "STATE", "AGE", "NAME IN THE KEY STORE"), rows, "  ")


def _refused_lines(refused: Iterable[RefusedUse], now: datetime) -> Iterator[Line]:
    rows = [
        ((use.principal, use.operation, f"{use.count:,}", f"{age(use.last_at, now)} ago"), Style.BLOCKED)
        for use in sorted(refused, key=lambda use: use.last_at, reverse=True)
    ]
    if rows:
        yield Line("Refused uses since deletion was scheduled:", Style.HEADING)
        yield from _table(("PRINCIPAL", "OPERATION", "COUNT", "LAST"), rows, "  ")


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
