"""Due times: when something falls due is data, decided here with the time passed in.

Guarantee: a deletion is due never before its window has passed by the server's clock, and a clock that jumps back
makes nothing due.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from controlplane.errors import InvalidInput
from controlplane.schema.keys import RotationSpec, RotationStatus, RotationType
from controlplane.schema.meta import DeletionRequest

MIN_WINDOW_DAYS = 7
MAX_WINDOW_DAYS = 30
_SOON = timedelta(minutes=20)


def deletion_request(
    now: datetime, window_days: int, requested_by: str, *, waits_for_replicas: bool = False
) -> DeletionRequest:
    """A deletion asked for now. Raises :class:`InvalidInput` unless the window is 7 to 30 days."""
    if not MIN_WINDOW_DAYS <= window_days <= MAX_WINDOW_DAYS:
        raise InvalidInput(
            f"PendingWindowInDays is {window_days}; the waiting period is {MIN_WINDOW_DAYS} to {MAX_WINDOW_DAYS} days"
        )
    return DeletionRequest(
        requested_at=now,
        due_at=None if waits_for_replicas else now + timedelta(days=window_days),
        window_days=window_days,
        requested_by=requested_by,
    )


def deletion_due(deletion: DeletionRequest | None, now: datetime) -> bool:
    """Whether the window has passed. A ``now`` before the request (a clock that jumped back) is never due."""
    if deletion is None or deletion.due_at is None:
        return False
    return now >= deletion.due_at and now >= deletion.requested_at


def due_words(deletion: DeletionRequest) -> str:
    """When a key is destroyed, for sentences: a time, or what has to happen first."""
    if deletion.due_at is None:
        return f"{deletion.window_days} days after its last replica key is gone"
    return f"at {deletion.due_at.isoformat()}"


def rotation_schedule(
    before: RotationSpec, after: RotationSpec, status: RotationStatus, now: datetime
) -> RotationStatus:
    """The schedule after a change of what is wanted: the period counts from enabling it, or from changing it.

    Source: API reference, EnableKeyRotation.
    """
    if not after.enabled:
        return msgspec.structs.replace(status, next_at=None)
    if before.enabled and before.period_days == after.period_days and status.next_at is not None:
        return status
    return msgspec.structs.replace(status, next_at=now + timedelta(days=after.period_days))


def rotates_soon(status: RotationStatus, now: datetime) -> bool:
    """Whether an automatic rotation is due, or will be in the next 20 minutes: none on demand begins then.

    Source: ConflictException of RotateKeyOnDemand, in the KMS service model.
    """
    return status.next_at is not None and status.next_at - now <= _SOON


def rotation_due(status: RotationStatus, now: datetime) -> RotationType | None:
    """Which rotation falls due now, if one does; what a person asked for comes first."""
    if status.requested_at is not None:
        return RotationType.ON_DEMAND
    return RotationType.AUTOMATIC if status.next_at is not None and now >= status.next_at else None


def after_rotation(status: RotationStatus, kind: RotationType, wanted: RotationSpec, now: datetime) -> RotationStatus:
    """The schedule once a rotation is complete. One on demand leaves the automatic dates as they are.

    Dates that passed while the key was disabled or the server was down are not made up for: one rotation, then the
    next date in the future.
    """
    if kind is RotationType.ON_DEMAND:
        return msgspec.structs.replace(status, requested_at=None, on_demand=status.on_demand + 1)
    if status.next_at is None:
        return status
    period = timedelta(days=wanted.period_days)
    missed = max((now - status.next_at) // period, 0)
    return msgspec.structs.replace(status, next_at=status.next_at + period * (missed + 1))
