"""Due times: when something falls due is data, decided here with the time passed in.

Guarantee: a deletion is due never before its window has passed by the server's clock, and a clock that jumps back
makes nothing due.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from controlplane.errors import InvalidInput
from controlplane.schema.meta import DeletionRequest

MIN_WINDOW_DAYS = 7
MAX_WINDOW_DAYS = 30


def deletion_request(now: datetime, window_days: int, requested_by: str) -> DeletionRequest:
    """A deletion asked for now. Raises :class:`InvalidInput` unless the window is 7 to 30 days."""
    if not MIN_WINDOW_DAYS <= window_days <= MAX_WINDOW_DAYS:
        raise InvalidInput(
            f"PendingWindowInDays is {window_days}; the waiting period is {MIN_WINDOW_DAYS} to {MAX_WINDOW_DAYS} days"
        )
    return DeletionRequest(
        requested_at=now,
        due_at=now + timedelta(days=window_days),
        window_days=window_days,
        requested_by=requested_by,
    )


def deletion_due(deletion: DeletionRequest | None, now: datetime) -> bool:
    """Whether the window has passed. A ``now`` before the request (a clock that jumped back) is never due."""
    return deletion is not None and now >= deletion.due_at and now >= deletion.requested_at
