"""Lists of the objects that are few (key stores, principals, XKS proxies): which match a filter, and in which order.

Pure. Who calls it: the reconciliation API. The terms of a filter mean what they mean for keys, which have an index of
their own (``store.keyindex``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from controlplane.schema.browse import ObjectSort
from controlplane.schema.conditions import synced_word
from controlplane.schema.filters import KeyFilter, Term, TermKind
from controlplane.schema.keystores import ConnectionState
from controlplane.schema.meta import AnyObject, KeyStore
from plugins.sdk import HealthLevel

_WELL: Final = ("Synced", "Reconciling")


def matches(item: AnyObject, terms: KeyFilter) -> bool:
    """Whether all terms hold."""
    return all(_holds(item, term) is not term.inverse for term in terms)


def ordered(
    items: Iterable[AnyObject], sort: ObjectSort, *, descending: bool = False, keys: Mapping[str, int]
) -> list[AnyObject]:
    """The items sorted; ``keys`` counts the keys of each store. Equal ones stand by name in both directions."""
    by_name = sorted(items, key=lambda item: item.metadata.name)
    return sorted(by_name, key=_order_of(sort, keys), reverse=descending)


def labels(item: AnyObject) -> dict[str, str]:
    """What ``-l`` finds it by: its tags, its type, the spec set that owns it. In lower case."""
    found = dict(getattr(item.spec, "tags", {}))
    if (kind := getattr(item.spec, "type", None)) is not None:
        found["type"] = str(kind)
    if item.metadata.spec_set is not None:
        found["set"] = item.metadata.spec_set
    return {name.lower(): value.lower() for name, value in found.items()}


def healthy(item: AnyObject) -> bool:
    """It is as declared, and a key store that is declared connected is connected and well."""
    if synced_word(item.status.conditions, item.metadata.generation) not in _WELL:
        return False
    if not isinstance(item, KeyStore) or not item.spec.connected:
        return True
    return item.status.connection is ConnectionState.CONNECTED and item.status.health in (None, HealthLevel.ACTIVE)


def _holds(item: AnyObject, term: Term) -> bool:
    match term.kind:
        case TermKind.TEXT:
            return term.value in _text(item)
        case TermKind.FUZZY:
            letters = iter(item.metadata.name.lower())
            return all(letter in letters for letter in term.value)
        case TermKind.TAG:
            name, equals, value = term.value.partition("=")
            held = labels(item)
            return name in held and (not equals or held[name] == value)
        case TermKind.UNHEALTHY:
            return not healthy(item)
    return False  # what only keys have: refused where it was typed


def _text(item: AnyObject) -> str:
    texts = (item.metadata.name, getattr(item.spec, "type", ""), getattr(item.spec, "description", ""))
    return " ".join(map(str, texts)).lower()


def _order_of(sort: ObjectSort, keys: Mapping[str, int]) -> Callable[[AnyObject], tuple[str | int | float, ...]]:
    match sort:
        case ObjectSort.TYPE:
            return lambda item: (str(getattr(item.spec, "type", "")),)
        case ObjectSort.CREATED:
            return lambda item: (item.metadata.created_at.timestamp(),)
        case ObjectSort.CONDITION:
            return lambda item: (synced_word(item.status.conditions, item.metadata.generation),)
        case ObjectSort.CONNECTION:
            return lambda item: (
                _place(ConnectionState, item.status.connection if isinstance(item, KeyStore) else None),
            )
        case ObjectSort.HEALTH:
            return lambda item: (_place(HealthLevel, item.status.health if isinstance(item, KeyStore) else None),)
        case ObjectSort.KEYS:
            return lambda item: (keys.get(item.metadata.name, 0),)
        case ObjectSort.NAME:
            return lambda item: (item.metadata.name,)


def _place(of: type[ConnectionState] | type[HealthLevel], member: ConnectionState | HealthLevel | None) -> int:
    """Where a member stands in its enumeration; after all of them for none."""
    members: list[object] = list(of)
    return members.index(member) if member in members else len(members)
