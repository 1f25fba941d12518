"""One object at a glance, as marked lines for the pane beside a list; ``controlplane.report`` has the whole story."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from controlplane.report import Line, Style, age, moment, shown_condition, shown_state, time_left
from controlplane.schema.browse import KeyAbout
from controlplane.schema.conditions import Condition
from controlplane.schema.events import Severity
from controlplane.schema.keys import KeyState, MaterialStatus
from controlplane.schema.meta import AnyObject, Key, KeyStore, Principal, XksProxy
from tui import words
from tui.feed.questions import Detail

EVENTS: Final = 5
MATERIALS: Final = 4
GRANTS: Final = 5


def card(detail: Detail, now: datetime) -> Iterator[Line]:
    """What matters first: state, why, what is about to happen."""
    item = detail.item
    yield Line(item.metadata.name, Style.HEADING)
    match item:
        case Key():
            yield from _key(item, detail, now)
        case KeyStore():
            yield from _store(item, now)
        case Principal():
            yield Line(f"{item.spec.type}{', administrator' if item.spec.administrator else ''}")
            yield Line(item.status.arn, Style.MUTED)
        case XksProxy():
            yield Line("an XKS proxy: keys of this server as external keys of another KMS", Style.MUTED)
    yield from _conditions(item, now)
    if isinstance(item, Key):
        yield from _key_more(item, now)
        if detail.about is not None:
            yield from _about(detail.about)
    yield from _events(detail, now)


def _key(key: Key, detail: Detail, now: datetime) -> Iterator[Line]:
    meta, spec = key.metadata, key.spec
    state = detail.about.state if detail.about is not None else KeyState(shown_state(key))
    word, style = words.STATES[state]
    yield Line(f"{word} · {shown_condition(key)}", style)
    if detail.about is not None:
        yield Line(_used(detail.about, now), Style.MUTED)
    if meta.deletion is not None:
        due = meta.deletion.due_at
        when = "after its last replica" if due is None else f"in {time_left(due, now)}, {moment(due)}"
        yield Line(f"destroyed {when}", Style.BAD)
        yield Line(f"asked for by {meta.deletion.requested_by}", Style.MUTED)
        for use in detail.refused:
            what = f"! {use.principal} {use.operation} refused {use.count:,}x, last {age(use.last_at, now)} ago"
            yield Line(what, Style.WARNING)
        if not detail.refused:
            yield Line("nobody has tried to use it since", Style.MUTED)
    yield Line(f"{spec.key_spec} · {spec.key_usage} · {spec.origin}")
    yield Line(f"in {spec.key_store}, {spec.region}{', protected' if spec.deletion.protect else ''}")
    owner = f"spec set {meta.spec_set}" if meta.spec_set else "made through an API"
    yield Line(f"{owner}, {age(meta.created_at, now)} ago", Style.MUTED)
    if spec.description:
        yield Line(spec.description, Style.MUTED)


def _store(store: KeyStore, now: datetime) -> Iterator[Line]:
    word, style = words.CONNECTIONS[store.status.connection]
    wanted = "" if store.spec.connected else ", declared as not connected"
    yield Line(f"{word}{wanted}", style)
    yield Line(f"type {store.spec.type}, {age(store.metadata.created_at, now)} old")
    yield from _session(store, now)
    offers = ", ".join(sorted(store.status.key_specs))
    yield Line(f"offers {offers or 'nothing yet'}", Style.MUTED)


def _session(store: KeyStore, now: datetime) -> Iterator[Line]:
    """How it is doing: health, members, latency, certificate, the last failure to connect."""
    status = store.status
    if status.health is not None:
        word, style = words.HEALTH[status.health]
        yield Line(f"health {word}", style)
    if status.latency is not None:
        said, style = words.latency(status.latency)
        yield Line(f"latency {said} (median / 99 of 100; gives up after {status.latency.limit:,} ms)", style)
    if status.certificate_expires_at is not None:
        said, style = words.certificate(status.certificate_days)
        yield Line(f"certificate {said}, until {moment(status.certificate_expires_at)}", style)
    for member in status.members:
        said = f": {member.message}" if member.message else ""
        style = Style.PLAIN if member.active else Style.WARNING
        yield Line(f"{'✓' if member.active else '!'} member {member.name}{said}", style)
    if status.missing_to_create:
        yield Line(f"! keys can be made when {status.missing_to_create} more members are active", Style.WARNING)
    if status.problem is not None:
        problem = status.problem
        yield Line(f"! {problem.reason} {age(problem.at, now)} ago: {problem.message}", Style.WARNING)


def more_lines(detail: Detail, now: datetime) -> Iterator[Line]:
    """What goes with an object beside its spec and status: for a key its last use, replicas and grants."""
    if isinstance(detail.item, KeyStore):
        yield Line("Session:", Style.HEADING)
        for line in _session(detail.item, now):
            yield Line(f"  {line.text}", line.style)
    if detail.about is not None:
        yield Line("Last use:", Style.HEADING)
        yield Line(f"  {_used(detail.about, now)}")
        yield from _about(detail.about)


def _used(about: KeyAbout, now: datetime) -> str:
    last = about.last_use
    return "never used" if last is None else f"last used {age(last.at, now)} ago: {last.operation}"


def _conditions(item: AnyObject, now: datetime) -> Iterator[Line]:
    yield Line("")
    yield Line("Conditions", Style.HEADING)
    for each in item.status.conditions:
        yield from _condition(each, item.metadata.generation, now)
    if not item.status.conditions:
        yield Line("  none yet: nobody has looked at it", Style.MUTED)


def _condition(each: Condition, generation: int, now: datetime) -> Iterator[Line]:
    symbol, style = words.CONDITIONS[each.status]
    stale = each.observed_generation < generation
    behind = "  stale" if stale else ""
    text = f"{symbol} {each.type:<9} {each.reason:<20} {age(each.last_transition, now):>4}{behind}"
    yield Line(text, Style.MUTED if stale else style)
    if each.message:
        yield Line(f"  {each.message}", Style.MUTED)


def _key_more(key: Key, now: datetime) -> Iterator[Line]:
    spec = key.spec
    yield Line("")
    yield Line("Aliases", Style.HEADING)
    yield Line(f"  {', '.join(spec.aliases) or 'none'}")
    yield Line("Tags", Style.HEADING)
    yield Line(f"  {', '.join(f'{name}={value}' for name, value in spec.tags.items()) or 'none'}")
    policy = spec.policy.document if spec.policy is not None else None
    yield Line("Policy", Style.HEADING)
    yield Line(f"  its own, {len(policy):,} characters" if policy else "  the default: the account decides")
    yield Line("Material", Style.HEADING)
    for material in key.status.materials[-MATERIALS:]:
        yield Line(f"  {material.state} {material.material_id[:12]}… {_when(material, now)}".rstrip())
    if not key.status.materials:
        yield Line("  none", Style.MUTED)
    yield Line("Rotation", Style.HEADING)
    due = key.status.rotation.next_at
    if key.status.rotation.requested_at is not None:
        yield Line("  asked for, under way", Style.UPDATE)
    elif spec.rotation.enabled and due is not None:
        yield Line(f"  every {spec.rotation.period_days} days, next in {time_left(due, now)}")
    else:
        yield Line("  not automatic", Style.MUTED)


def _when(material: MaterialStatus, now: datetime) -> str:
    """How old it is; of imported material, whether it is here and until when."""
    imported = material.imported
    if imported is None:
        return f"{age(material.created_at, now)} old"
    if not material.present:
        return f"! {str(imported.end or 'not here').lower()}"
    return "does not expire" if imported.valid_to is None else f"expires in {time_left(imported.valid_to, now)}"


def _about(about: KeyAbout) -> Iterator[Line]:
    if about.related:
        yield Line("Multi-Region", Style.HEADING)
        for each in about.related:
            what = "primary" if each.primary else "replica"
            yield Line(f"  {what} {each.name} in {each.region}: {words.STATES[each.state][0]}")
    if about.grants:
        yield Line("Grants", Style.HEADING)
        for grant in about.grants[:GRANTS]:
            who = (grant.grantee_principal or grant.grantee_service_principal or "?").rpartition(":")[2]
            yield Line(f"  {who}: {', '.join(grant.operations)}")
        more = len(about.grants) - GRANTS
        if more > 0 or about.grants_more:
            yield Line(f"  and {more:,}{' or more' if about.grants_more else ''} others", Style.MUTED)


def _events(detail: Detail, now: datetime) -> Iterator[Line]:
    if not detail.events:
        return
    yield Line("")
    yield Line("Events", Style.HEADING)
    for event in detail.events[:EVENTS]:
        times = f" {event.count:,}x" if event.count > 1 else ""
        style = Style.WARNING if event.severity is Severity.WARNING else Style.PLAIN
        yield Line(f"{age(event.last_at, now):>4} {event.reason}{times}", style)
        yield Line(f"     {event.message}", Style.MUTED)


def event_lines(detail: Detail, now: datetime) -> Iterator[Line]:
    """Everything that happened to it, newest first."""
    if not detail.events:
        yield Line("Nothing has happened to it lately.", Style.MUTED)
    for event in detail.events:
        times = f"  {event.count:,} times since {moment(event.first_at)}" if event.count > 1 else ""
        symbol, style = ("!", Style.WARNING) if event.severity is Severity.WARNING else (" ", Style.PLAIN)
        yield Line(f"{symbol} {moment(event.last_at)}  {age(event.last_at, now):>4}  {event.reason}{times}", style)
        yield Line(f"    {event.message}", Style.MUTED)
