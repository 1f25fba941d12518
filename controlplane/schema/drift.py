"""Drift: what is not as a spec set states it, or not as it was, and whether that is put right by itself."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from controlplane.schema.base import Frozen
from controlplane.schema.keys import Management
from controlplane.schema.meta import Kind


class DriftReason(StrEnum):
    """Why an object has drifted. Fields are put right where management is ``full``; all else waits for a person."""

    FIELDS_DIFFER = "FieldsDiffer"
    PENDING_DELETION = "PendingDeletion"
    """It is declared, and somebody scheduled its deletion."""
    MATERIAL_LOST = "MaterialLost"
    MATERIAL_DAMAGED = "MaterialDamaged"
    NOT_MANAGED = "NotManaged"
    """A key store holds material that no key here names."""


class FieldDrift(Frozen):
    """One field that is not as stated; None stands for absent. ``changed_by`` is the API and principal, if known."""

    path: str
    stated: Any = None
    live: Any = None
    changed_by: str = ""
    sensitive: bool = False


class ObjectDrift(Frozen):
    """One object that has drifted, or material of a key store that no key names (then ``name`` is the store's)."""

    kind: Kind
    name: str
    reason: DriftReason
    message: str
    uid: str | None = None
    spec_set: str | None = None
    management: Management = Management.FULL
    fields: tuple[FieldDrift, ...] = ()
    corrected: bool = False
    """Whether the reconciler puts it right by itself."""


class DriftReport(Frozen, omit_defaults=False):
    """An answer of ``GET /v1/drift``. ``unreachable`` are key stores that could not be looked into."""

    items: tuple[ObjectDrift, ...]
    truncated: bool = False
    unreachable: tuple[str, ...] = ()
