"""Conditions: what is true of an object now, since when, and why. Reasons are a closed, public enumeration.

Two questions are kept apart, as in Crossplane: *Synced* (could the reconciler do what the spec says?) and *Ready* (can
the object be used?). A condition whose ``observed_generation`` is behind the object's generation is stale.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from controlplane.schema.base import Frozen


class ConditionType(StrEnum):
    SYNCED = "Synced"
    READY = "Ready"
    CONNECTED = "Connected"
    MEMBERS = "Members"
    """Of a key store over several devices: all do their work, and what one makes the others have."""
    DRIFTED = "Drifted"
    """Whether it is otherwise than a spec set states it, or than it was. True is the bad news."""


class ConditionStatus(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Reason(StrEnum):
    """Why a condition has its status. Machines may match these; people read the message."""

    UP_TO_DATE = "UpToDate"
    CREATING = "Creating"
    ROTATING = "Rotating"
    PAUSED = "Paused"
    CREATE_REFUSED = "CreateRefused"
    CREATE_OUTCOME_UNKNOWN = "CreateOutcomeUnknown"
    DESTROY_FAILED = "DestroyFailed"
    STORE_UNREACHABLE = "StoreUnreachable"
    STORE_NOT_FOUND = "StoreNotFound"
    MATERIAL_LOST = "MaterialLost"
    MATERIAL_DAMAGED = "MaterialDamaged"
    FIELDS_DIFFER = "FieldsDiffer"
    RECONCILE_ERROR = "ReconcileError"
    ENABLED = "Enabled"
    DISABLED = "Disabled"
    PENDING_DELETION = "PendingDeletion"
    PENDING_IMPORT = "PendingImport"
    UNAVAILABLE = "Unavailable"
    CONNECTED = "Connected"
    CONNECTING = "Connecting"
    DISCONNECTED = "Disconnected"
    UNHEALTHY = "Unhealthy"
    CREDENTIALS_REFUSED = "CredentialsRefused"
    MISCONFIGURED = "Misconfigured"
    AVAILABLE = "Available"
    ALL_ACTIVE = "AllActive"
    MEMBERS_INACTIVE = "MembersInactive"
    NOT_SYNCHRONISED = "NotSynchronised"
    LISTENING = "Listening"
    ADDRESS_TAKEN = "AddressTaken"


class Condition(Frozen):
    type: ConditionType
    status: ConditionStatus
    reason: Reason
    last_transition: datetime
    message: str = ""
    observed_generation: int = 0
    cause: str = ""
    """What went wrong in a key store, where the doors have words of their own for it."""


def with_condition(conditions: Sequence[Condition], new: Condition) -> tuple[Condition, ...]:
    """The conditions with ``new`` in place of its type. The transition time moves only when the status changes."""
    result = []
    for present in conditions:
        if present.type is not new.type:
            result.append(present)
        elif present.status is new.status:
            new = msgspec.structs.replace(new, last_transition=present.last_transition)
    return (*result, new)


def find_condition(conditions: Sequence[Condition], wanted: ConditionType) -> Condition | None:
    """The condition of that type, if it was ever set."""
    return next((condition for condition in conditions if condition.type is wanted), None)


def synced_word(conditions: Sequence[Condition], generation: int) -> str:
    """``Synced``, ``Reconciling`` (not seen at its present generation), or the reason why it is not synced."""
    synced = find_condition(conditions, ConditionType.SYNCED)
    if synced is None or synced.observed_generation < generation:
        return "Reconciling"
    return "Synced" if synced.status is ConditionStatus.TRUE else synced.reason
