"""Desired against live, field by field. The planner shows it, the apply writes it, the reconciler acts on it.

Guarantee: two specs are equal for the planner exactly if :func:`field_changes` is empty; fields that cannot change in
place are named in ``IMMUTABLE`` with what to do instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

import msgspec

from controlplane.schema.meta import Desired, Kind

IMMUTABLE: Mapping[Kind, Mapping[str, str]] = {
    Kind.KEY: {
        "keySpec": "its material is of another kind",
        "keyUsage": "a key has one usage for life",
        "origin": "the source of material cannot change",
        "xksKeyId": "it stands for one external key for life",
        "keyStore": "material does not move between key stores",
        "region": "a key lives in one Region",
        "multiRegion": "it is decided when the key is made",
        "replicaOf": "which key is the primary changes with: keystead make-primary",
    },
    Kind.KEY_STORE: {"type": "its keys live where they were made"},
    Kind.PRINCIPAL: {"type": "a user does not become a role"},
    Kind.XKS_PROXY: {},
}
"""Fields that no plan changes in place, and why."""

_ABSENT: Final = object()


class FieldChange(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One field that differs. ``before`` and ``after`` are JSON values; None stands for absent."""

    path: str
    before: Any = None
    after: Any = None
    immutable: str | None = None
    """Why the field cannot change in place."""


def flatten(spec: Desired) -> dict[str, Any]:
    """A spec as ``path -> JSON value``; tags and the like by their keys, lists as a whole.

    A field that has its default is left out, whether it was written or not: to spell out a default is no change.
    """
    return dict(_walk(spec, ""))


def field_changes(kind: Kind, live: Desired | None, desired: Desired) -> tuple[list[FieldChange], int]:
    """What changes from ``live`` to ``desired`` in path order, and the number of fields that stay as they are."""
    if live == desired:
        return [], len(flatten(desired))
    before = flatten(live) if live is not None else {}
    after = flatten(desired)
    immutable = IMMUTABLE[kind] if live is not None else {}
    changes = [
        FieldChange(path, before.get(path), after.get(path), immutable.get(path))
        for path in sorted(before.keys() | after.keys())
        if before.get(path, _ABSENT) != after.get(path, _ABSENT)
    ]
    return changes, len(after.keys() & before.keys()) - sum(
        change.path in before for change in changes if change.path in after
    )


def _walk(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, msgspec.Struct):
        # Not by to_builtins: that omits a default by identity, so that a default read from text would differ from one
        # left out, and writing `keyStore: standard` would be refused as a move to another key store.
        told = [(key, item) for name, key, default in _fields(type(value)) if (item := getattr(value, name)) != default]
        for key, item in told:
            yield from _walk(item, f"{path}.{key}" if path else key)
        if not told and path:
            yield path, {}
    elif isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _walk(item, f"{path}.{key}")
    elif path:
        yield path, msgspec.to_builtins(value)


@cache
def _fields(struct: type[msgspec.Struct]) -> tuple[tuple[str, str, Any], ...]:
    """Name, name on the wire and default of every field."""
    return tuple(
        (
            field.name,
            field.encode_name,
            field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default,
        )
        for field in msgspec.structs.fields(struct)
    )
