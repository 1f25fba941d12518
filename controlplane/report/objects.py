"""Text of objects: tables of a kind, and everything about one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
import yaml

from controlplane.report.lines import Line, Style, age, moment, number, some, table, time_left
from controlplane.report.values import MAX_PAD, one_value, shown_path
from controlplane.schema.conditions import (
    Condition,
    ConditionStatus,
    ConditionType,
    Reason,
    find_condition,
    synced_word,
)
from controlplane.schema.events import Event
from controlplane.schema.keys import RefusedUse
from controlplane.schema.meta import AnyObject, Key, KeyStore, Kind, Principal, XksProxy
from controlplane.schema.secrets import holds_secret, names_secret
from controlplane.schema.xksproxies import XksHealth

_MASK: Final = "(sensitive value)"
"""Of options of key stores in a description, where the planner masks them in a plan."""


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
    return synced_word(item.status.conditions, item.metadata.generation)


def table_lines(kind: Kind, items: Sequence[AnyObject], now: datetime) -> Iterator[Line]:
    """The table of ``keystead get``. Empty for no items."""
    header = {
        Kind.KEY: ("NAME", "STATE", "SPEC", "STORE", "ALIASES", "AGE", "CONDITION"),
        Kind.KEY_STORE: ("NAME", "CONNECTION", "TYPE", "KEY SPECS", "AGE", "CONDITION"),
        Kind.PRINCIPAL: ("NAME", "TYPE", "ADMINISTRATOR", "POLICIES", "AGE", "CONDITION"),
        Kind.XKS_PROXY: ("NAME", "STATE", "ADDRESS", "PATH", "KEYS", "AGE", "CONDITION"),
    }[kind]
    if items:
        yield from table(header, [(_row(item, now), _row_style(item)) for item in items])


def _row(item: AnyObject, now: datetime) -> tuple[str, ...]:
    meta = item.metadata
    end = age(meta.created_at, now), shown_condition(item)
    match item:
        case Key(spec=spec):
            return (meta.name, shown_state(item), spec.key_spec, spec.key_store, some(spec.aliases), *end)
        case KeyStore(spec=store, status=status):
            return (meta.name, shown_state(item), store.type, str(len(status.key_specs) or "-"), *end)
        case Principal(spec=principal):
            administrator = "yes" if principal.administrator else "no"
            return (meta.name, principal.type, administrator, some(tuple(principal.policies)), *end)
        case XksProxy(spec=proxy, status=seen):
            keys = str(len(proxy.keys) or "-")
            return (meta.name, shown_state(item), seen.address or "-", proxy.uri_path, keys, *end)


def _row_style(item: AnyObject) -> Style:
    condition = shown_condition(item)
    if condition == "Reconciling":
        return Style.MUTED
    if condition != "Synced":
        return Style.WARNING
    return Style.DELETE if item.metadata.deletion is not None else Style.PLAIN


def _stale(condition: Condition, item: AnyObject) -> bool:
    return condition.observed_generation < item.metadata.generation


def describe_lines(
    item: AnyObject, now: datetime, refused: Sequence[RefusedUse] = (), events: Sequence[Event] = ()
) -> Iterator[Line]:
    """Everything about one object; ``refused`` are the refused uses of a key that is pending deletion, ``events`` what
    happened to it lately, oldest first."""
    meta, status = item.metadata, item.status
    facts: list[tuple[str, str]] = [("Name", meta.name), ("Kind", item.kind), ("Uid", meta.uid)]
    facts += _own_facts(item)
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
        window = f"window {number(meta.deletion.window_days, 'day')}"
        when = "when its last replica key is gone" if due is None else f"{moment(due)} ({time_left(due, now)})"
        yield Line(f"  due {when}, {window}", Style.DELETE)
        yield Line(f"  asked for by {meta.deletion.requested_by} at {moment(meta.deletion.requested_at)}")
    yield Line("Spec:", Style.HEADING)
    fields = list(_fields(item.spec, ""))
    width = min(MAX_PAD, max((len(shown_path(path)) for path, _ in fields), default=0))
    for path, value in fields:
        start = f"  {shown_path(path):<{width}} ="
        if isinstance(item, KeyStore) and holds_secret(path, value):
            yield Line(f"{start} {_MASK}")
        else:
            yield from one_value(start, value, Style.PLAIN)
    yield from _condition_lines(item, now)
    if isinstance(item, Key):
        yield from _material_lines(item, now)
        yield from _refused_lines(refused, now)
    if isinstance(item, XksProxy) and item.status.key_managers:
        yield Line("External key managers:", Style.HEADING)
        managers = [
            ((each.id, each.model, each.health, each.detail), _health_style(each.health))
            for each in item.status.key_managers
        ]
        yield from table(("ID", "MODEL", "HEALTH", "DETAIL"), managers, "  ")
    if isinstance(item, KeyStore) and item.status.key_specs:
        yield Line("Offers:", Style.HEADING)
        rows = [((spec, ", ".join(usages)), Style.PLAIN) for spec, usages in sorted(item.status.key_specs.items())]
        yield from table(("KEY SPEC", "USAGES"), rows, "  ")
    if events:
        yield Line("Events:", Style.HEADING)
        told = [((age(e.last_at, now), e.reason, str(e.count), e.message), Style.PLAIN) for e in events]
        yield from table(("AGE", "REASON", "COUNT", "MESSAGE"), told, "  ")


def _own_facts(item: AnyObject) -> Iterator[tuple[str, str]]:
    """What only objects of its kind have."""
    match item:
        case Key(status=key):
            yield "Key id", key.key_id
            yield "ARN", key.arn
        case Principal(status=principal):
            yield "ARN", principal.arn
        case XksProxy(spec=proxy, status=seen):
            yield "Address", seen.address or "(not listening)"
            yield "URI path", proxy.uri_path
            if seen.certificate_expires_at is not None:
                yield "Certificate", f"ends {moment(seen.certificate_expires_at)}"
        case _:
            pass


def _health_style(health: XksHealth) -> Style:
    return Style.PLAIN if health is XksHealth.ACTIVE else Style.WARNING


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
        yield from table(("TYPE", "STATUS", "REASON", "AGE", "MESSAGE"), rows, "  ")
    else:
        yield Line("  none yet: the reconciler has not looked at it", Style.MUTED)


def _material_lines(item: Key, now: datetime) -> Iterator[Line]:
    if not item.status.materials:
        yield Line("Materials: none", Style.HEADING)
        return
    yield Line("Materials:", Style.HEADING)
    rows = [((m.material_id, m.state, age(m.created_at, now), m.name), Style.PLAIN) for m in item.status.materials]
    yield from table(("ID", "STATE", "AGE", "NAME IN THE KEY STORE"), rows, "  ")


def _refused_lines(refused: Iterable[RefusedUse], now: datetime) -> Iterator[Line]:
    rows = [
        ((use.principal, use.operation, f"{use.count:,}", f"{age(use.last_at, now)} ago"), Style.BLOCKED)
        for use in sorted(refused, key=lambda use: use.last_at, reverse=True)
    ]
    if rows:
        yield Line("Refused uses since deletion was scheduled:", Style.HEADING)
        yield from table(("PRINCIPAL", "OPERATION", "COUNT", "LAST"), rows, "  ")


def yaml_lines(item: AnyObject) -> Iterator[Line]:
    """An object as YAML: metadata, spec and status, with what is secret in the options of a key store masked."""
    value = {"kind": item.kind, **msgspec.to_builtins(item)}
    if isinstance(item, KeyStore):
        value["spec"] = _masked(value["spec"], "")
    text = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)
    for line in text.splitlines():
        yield Line(line, Style.PLAIN if line.startswith((" ", "-")) else Style.HEADING)


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as such, so that a policy can be read."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def _masked(value: Any, path: str) -> Any:
    if isinstance(value, dict):
        inner = {name: f"{path}.{name}" if path else name for name in value}
        return {
            name: _MASK if each is not None and names_secret(inner[name]) else _masked(each, inner[name])
            for name, each in value.items()
        }
    return [_masked(each, path) for each in value] if isinstance(value, list) else value
