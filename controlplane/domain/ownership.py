"""Who states which field of an object, and what follows: fields merge, conflict, drift and are let go.

Who uses it: the planner and the apply (through ``planning``), the reconciler (drift), the imperative doors (``store``).
Guarantees: what no manager states belongs to nobody and is left as it is; a field that a manager no longer states goes
back to its default unless another one states it; two managers may state a field only with the same value.

The rules are those of Kubernetes server-side apply (Kubernetes documentation, "Server-Side Apply"), with one
difference: a change through an API does not take a field from the spec set that states it. It is drift, and is put
right.

A *leaf* is what is owned: a field of the spec (``description``), a field of a group (``rotation.enabled``), one entry
of a mapping (``tags.team``), one alias (``aliases.payments/data``). A policy is one leaf. Its path is the name of the
field and, behind the first dot, the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final

import msgspec

from controlplane.schema.base import Frozen
from controlplane.schema.documents import Located
from controlplane.schema.meta import SPEC_TYPES, Desired, Kind

Leaves = Mapping[str, Any]
"""Path of a leaf to its JSON value."""

SET_PREFIX: Final = "set:"
KMS: Final = "kms"
"""The KMS API."""
API: Final = "api"
"""The reconciliation API outside of plans: the terminal UI, ``keystead disable``, Terraform."""

_SETS: Final = frozenset({"aliases"})
"""Fields whose elements are owned one by one."""
_WHOLE: Final = frozenset({"policy", "trustPolicy"})
"""Groups that are owned as one."""
DERIVED: Final = frozenset({"region", "keyUsage", "origin"})
"""Left out, they follow from the rest when the object is made; letting go of them changes nothing."""
_ABSENT: Final = object()
# Made here: msgspec learns a type when it is first used, and two threads that do so at once end the process.
_LEARNED: Final = [msgspec.json.Decoder(SPEC_TYPES[kind]) for kind in Kind]


class Claim(Frozen):
    """What one manager states of one object. ``by`` is the principal, of the last apply or change."""

    manager: str
    leaves: dict[str, Any]
    by: str = ""

    @property
    def spec_set(self) -> str | None:
        """The spec set that this manager is, if it is one."""
        return self.manager.removeprefix(SET_PREFIX) if self.manager.startswith(SET_PREFIX) else None


class LeafChange(msgspec.Struct, frozen=True):
    """A leaf that is not as stated. None stands for absent."""

    path: str
    stated: Any
    live: Any


class Clash(msgspec.Struct, frozen=True):
    """A leaf that another manager states otherwise."""

    path: str
    owner: Claim


def set_manager(spec_set: str) -> str:
    """The manager that a spec set is."""
    return f"{SET_PREFIX}{spec_set}"


def manager_words(manager: str) -> str:
    """A manager in a sentence."""
    if manager.startswith(SET_PREFIX):
        return f"spec set {manager.removeprefix(SET_PREFIX)}"
    return {KMS: "the KMS API", API: "the reconciliation API"}.get(manager, manager)


# ---- leaves ----------------------------------------------------------------------------------------------------------


def leaves_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves that stand in a spec of JSON's types."""
    leaves: dict[str, Any] = {}
    for name, value in spec.items():
        if name in _SETS and isinstance(value, list | tuple):
            leaves.update((f"{name}.{item}", True) for item in value)
        elif isinstance(value, dict) and name not in _WHOLE:
            leaves.update((f"{name}.{key}", item) for key, item in value.items())
        else:
            leaves[name] = value
    return leaves


def unflattened(leaves: Leaves) -> dict[str, Any]:
    """A spec of JSON's types that has these leaves and nothing else: the way back from :func:`leaves_of`."""
    spec: dict[str, Any] = {}
    for path, value in leaves.items():
        name, _, rest = path.partition(".")
        if not rest:
            spec[name] = value
        elif name in _SETS:
            spec.setdefault(name, []).append(rest)
        else:
            spec.setdefault(name, {})[rest] = value
    return spec


def live_leaves(spec: Desired) -> dict[str, Any]:
    """The leaves of a spec that have another value than their default."""
    return leaves_of(msgspec.to_builtins(spec))


def stated_leaves(kind: Kind, spec: Desired, written: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The leaves that a document states: those that stand in it as it is written, with their values in ``spec``.

    Without ``written`` a default that was spelled out cannot be told from one that was left out, and is not stated.
    """
    live = live_leaves(spec)
    return live if written is None else {path: leaf_value(kind, live, path) for path in leaves_of(written)}


def as_written(located: Located) -> dict[str, Any]:
    """A document of JSON's types that states what the one in the file does, defaults that are spelled out included."""
    raw: dict[str, Any] = msgspec.to_builtins(located.document)
    if located.written is None:
        return raw
    spec = raw["spec"]
    present = leaves_of(spec)
    for path in leaves_of(located.written).keys() - present.keys():
        name, _, rest = path.partition(".")
        value = _defaults(located.document.kind).get(path)
        if rest:
            spec[name] = {**spec.get(name, {}), rest: value}
        else:
            spec[name] = value
    return raw


def leaf_value(kind: Kind, live: Leaves, path: str) -> Any:
    """The value of a leaf, its default where it has no other; None if it is absent."""
    value = live.get(path, _ABSENT)
    return _defaults(kind).get(path) if value is _ABSENT else value


@cache
def _defaults(kind: Kind) -> dict[str, Any]:
    """Defaults of all leaves but entries of mappings and sets, which are absent by default."""

    def walk(struct: type[msgspec.Struct], prefix: str) -> Iterable[tuple[str, Any]]:
        for field in msgspec.structs.fields(struct):
            if field.required:
                continue
            made = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
            if isinstance(made, msgspec.Struct):
                yield from walk(type(made), f"{prefix}{field.encode_name}.")
            elif not isinstance(made, dict | tuple):
                yield f"{prefix}{field.encode_name}", msgspec.to_builtins(made)

    return dict(walk(SPEC_TYPES[kind], ""))


# ---- rules -----------------------------------------------------------------------------------------------------------


def differences(kind: Kind, spec: Desired, stated: Leaves) -> list[LeafChange]:
    """The leaves whose live value is not the stated one, by path."""
    live = live_leaves(spec)
    found = []
    for path, value in stated.items():
        held = leaf_value(kind, live, path)
        if held != value:
            found.append(LeafChange(path, value, held))
    return sorted(found, key=lambda each: each.path)


def clashes(
    kind: Kind, spec: Desired, manager: str, stated: Leaves, before: Leaves, others: Sequence[Claim]
) -> list[Clash]:
    """Leaves that ``manager`` states and another one holds otherwise; ``before`` is what ``manager`` stated last.

    A spec set holds what it states. An API holds what was changed through it, unless ``manager`` stated it before:
    that is drift, for the manager to correct.
    """
    found = []
    live = live_leaves(spec)
    for other in others:
        for path, theirs in other.leaves.items():
            if path not in stated or other.manager == manager:
                continue
            if other.spec_set is not None:
                if theirs != stated[path]:
                    found.append(Clash(path, other))
            elif path not in before and leaf_value(kind, live, path) != stated[path]:
                found.append(Clash(path, other))
    return sorted(found, key=lambda each: each.path)


def merged(kind: Kind, spec: Desired, stated: Leaves, before: Leaves, others: Sequence[Claim] = ()) -> Desired:
    """The spec with what is stated now, and without what was stated before and is not any more."""
    kept = {path for other in others for path in other.leaves}
    gone = [path for path in before if path not in stated and path not in kept and path not in DERIVED]
    return with_leaves(kind, spec, stated, gone)


def with_leaves(kind: Kind, spec: Desired, changed: Leaves, gone: Iterable[str] = ()) -> Desired:
    """The spec with these leaves, and others back at their defaults. The same object if nothing differs."""
    raw: dict[str, Any] = msgspec.to_builtins(spec)
    for path in gone:
        name, _, rest = path.partition(".")
        if not rest:
            raw.pop(name, None)
        elif name in _SETS:
            raw[name] = [item for item in raw.get(name, ()) if item != rest]
        else:
            raw[name] = {key: item for key, item in raw.get(name, {}).items() if key != rest}
    for path, value in changed.items():
        name, _, rest = path.partition(".")
        if not rest:
            raw[name] = value
        elif name in _SETS:
            present = raw.get(name, ())
            if rest not in present:
                raw[name] = [*present, rest]
        else:
            raw[name] = {**raw.get(name, {}), rest: value}
    made: Desired = msgspec.convert(raw, SPEC_TYPES[kind])
    return spec if made == spec else made


def changed_leaves(before: Desired, after: Desired) -> dict[str, Any]:
    """Leaves that differ between two specs, with their new values; None for those that are gone or at their default."""
    old, new = live_leaves(before), live_leaves(after)
    return {path: new.get(path) for path in sorted(old.keys() | new.keys()) if old.get(path) != new.get(path)}
