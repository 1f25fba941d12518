"""Events: what happened to an object, when and why, for people who look and for machines that match the reason.

They are news, not the record: the audit journal keeps every request for ever, events are bounded and repeats are
counted. Reasons are a closed, public enumeration; a new one is a line here and, if it calls for somebody to act, in
``WARNINGS``.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final

from controlplane.schema.base import Frozen
from controlplane.schema.meta import Kind


class EventReason(StrEnum):
    """Why there is an event. Machines may match these; people read the message."""

    DELETION_SCHEDULED = "DeletionScheduled"
    DELETION_CANCELLED = "DeletionCancelled"
    KEY_DESTROYED = "KeyDestroyed"
    MATERIAL_ROTATED = "MaterialRotated"
    IMPORT_PARAMETERS_ISSUED = "ImportParametersIssued"
    IMPORT_REFUSED = "ImportRefused"
    MATERIAL_IMPORTED = "MaterialImported"
    MATERIAL_EXPIRES_SOON = "MaterialExpiresSoon"
    MATERIAL_EXPIRED = "MaterialExpired"
    MATERIAL_DELETED = "MaterialDeleted"
    PRIMARY_MOVED = "PrimaryMoved"
    ADOPTED = "Adopted"
    FORGOTTEN = "Forgotten"
    RESOLVED = "Resolved"
    """A person said what became of a call whose outcome was not known."""
    DRIFT_CORRECTED = "DriftCorrected"
    """A field was put back as its spec set states it."""
    DRIFT_FOUND = "DriftFound"
    """What is not put back by itself: somebody has to look."""
    USE_REFUSED = "UseRefused"
    """A use of a key that is pending deletion: whoever it was will miss the key."""
    COPY_DAMAGED = "CopyDamaged"
    COPY_REPAIRED = "CopyRepaired"
    COPY_LOST = "CopyLost"
    """No good copy of a key token or plugin record is left."""
    STORE_CONNECTED = "StoreConnected"
    STORE_FAILED = "StoreFailed"
    STORE_MAINTAINED = "StoreMaintained"
    STORE_DEGRADED = "StoreDegraded"
    """It serves, and something is wrong."""
    STORE_RECOVERED = "StoreRecovered"
    STORE_SLOW = "StoreSlow"
    """Its answers come close to the time after which they are given up."""
    CERTIFICATE_EXPIRES_SOON = "CertificateExpiresSoon"
    PROXY_LISTENING = "ProxyListening"
    PROXY_FAILED = "ProxyFailed"


class Severity(StrEnum):
    NORMAL = "Normal"
    WARNING = "Warning"


WARNINGS: Final = frozenset(
    {
        EventReason.USE_REFUSED,
        EventReason.DRIFT_FOUND,
        EventReason.STORE_FAILED,
        EventReason.STORE_DEGRADED,
        EventReason.STORE_SLOW,
        EventReason.CERTIFICATE_EXPIRES_SOON,
        EventReason.IMPORT_REFUSED,
        EventReason.MATERIAL_EXPIRES_SOON,
        EventReason.MATERIAL_EXPIRED,
        EventReason.PROXY_FAILED,
        EventReason.COPY_DAMAGED,
        EventReason.COPY_LOST,
    }
)
"""Reasons that call for somebody to look."""


class Event(Frozen, omit_defaults=False):
    """One event. ``uid`` and ``name`` stay readable when the object is gone.

    A repeat raises ``count`` and ``last_at`` and gives the event a new ``version``, so a reader that goes on after the
    version it saw hears of repeats, too.
    """

    version: int
    kind: Kind
    uid: str
    name: str
    reason: EventReason
    message: str
    first_at: datetime
    last_at: datetime
    count: int = 1

    @property
    def severity(self) -> Severity:
        return Severity.WARNING if self.reason in WARNINGS else Severity.NORMAL


class EventPage(Frozen, omit_defaults=False):
    """Events by version, oldest first. ``version`` is what to go on after: ``since`` of the next request."""

    items: tuple[Event, ...]
    version: int
