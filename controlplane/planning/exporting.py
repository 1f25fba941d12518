"""Live objects as documents: what a spec set states of them, with the values that they have now.

Who calls it: the reconciliation API. Reads only. Guarantee: a set that declares the documents again states what it did,
so a plan of them is empty; an object that no set owns is written whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from controlplane.domain.ownership import Leaves, leaf_value, leaves_of, live_leaves, set_manager, unflattened
from controlplane.schema.documents import declare
from controlplane.schema.keys import Management
from controlplane.schema.keystores import STANDARD
from controlplane.schema.meta import AnyObject, Kind
from controlplane.store import claims, objects
from controlplane.store.database import Tx


def page(
    tx: Tx, kind: Kind, spec_set: str | None, *, after: str, limit: int
) -> tuple[list[dict[str, Any]], str | None]:
    """Documents of a set by name, or of the objects that no set owns, and the name after which the next page begins."""
    found = objects.page(tx, kind, after=after, limit=limit + 1)
    documents = [made for each in found[:limit] if (made := _document(tx, each, spec_set)) is not None]
    return documents, found[limit - 1].metadata.name if len(found) > limit else None


def sets(tx: Tx) -> Sequence[str]:
    """Names of all spec sets that own or state something."""
    return sorted(objects.spec_sets(tx) | claims.spec_sets(tx))


def _document(tx: Tx, present: AnyObject, spec_set: str | None) -> dict[str, Any] | None:
    raw: dict[str, Any] = msgspec.to_builtins(declare(present.metadata.name, present.spec))
    owner = present.metadata.spec_set
    if spec_set is None:
        ours = present.kind is Kind.KEY_STORE and present.metadata.name == STANDARD
        return None if owner is not None or ours else raw
    manager = set_manager(spec_set)
    own = next((kept.claim for kept in claims.of(tx, present.metadata.uid) if kept.claim.manager == manager), None)
    if own is None:
        return raw if owner == spec_set else None
    # What is only observed keeps what it is compared with: the values of now would end the drift that is watched.
    observed = present.spec.management is Management.OBSERVE
    raw["spec"] = _stated(present, own.leaves, raw["spec"], as_stated=observed)
    return raw


def _stated(present: AnyObject, leaves: Leaves, whole: Mapping[str, Any], *, as_stated: bool) -> dict[str, Any]:
    """The spec with these leaves, ``as_stated`` or as they are now; those that are absent are left out."""
    live = leaves if as_stated else live_leaves(present.spec)
    values = {path: leaf_value(Kind(present.kind), live, path) for path in sorted(leaves)}
    stated = unflattened({path: value for path, value in values.items() if value is not None})
    required = {field.encode_name for field in msgspec.structs.fields(present.spec) if field.required}
    missing = {name: whole[name] for name in required - leaves_of(stated).keys() if name in whole}
    return {**missing, **stated}
