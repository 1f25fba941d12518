"""What Prometheus is told, in one place, so that names and labels stay one vocabulary.

Who calls it: whoever does what is counted, and ``api.app`` for the exposition. Labels are bounded: key ids only where
few keys can appear. Where several processes share a port, each answers for all: they keep their numbers in files of one
directory (prometheus-client's multiprocess mode), which ``processes`` makes and names in the environment.
"""

from __future__ import annotations

import os
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SHARED: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable that names the directory; it has to be set before a process imports this."""

PENDING_DELETION_USES: Final = Counter(
    "keystead_pending_deletion_uses",
    "Uses that were refused because the key is pending deletion. Somebody will miss the key.",
    ("key_id", "operation"),
)
MATERIAL_EXPIRED: Final = Counter("keystead_imported_material_expired", "Imported materials that expired.")
COPIES_DAMAGED: Final = Counter(
    "keystead_copies_damaged", "Copies of key tokens and plugin records found missing or damaged.", ("place",)
)
COPIES_REPAIRED: Final = Counter("keystead_copies_repaired", "Copies made good from another one.", ("place",))


def _newest(name: str, documentation: str) -> Gauge:
    """A gauge that only the newest value counts of, whichever process set it."""
    return Gauge(name, documentation, multiprocess_mode="mostrecent")


COPIES_BAD: Final = _newest("keystead_copies_bad", "Copies that are missing or damaged, as the last look found.")
COPIES_LOST: Final = _newest("keystead_copies_lost", "Records of which no good copy is left, as the last look found.")
COPIES_LOOKED_AT: Final = _newest("keystead_copies_last_look_timestamp_seconds", "When all copies were last looked at.")

KEY_STORE_HEALTH: Final = Gauge(
    "keystead_key_store_health",
    "Key stores as the last look found them: 2 ACTIVE, 1 DEGRADED, 0 UNAVAILABLE; NaN while declared as not connected.",
    ("key_store", "type"),
    multiprocess_mode="mostrecent",
)
KEY_STORE_CERTIFICATE_DAYS: Final = Gauge(
    "keystead_key_store_certificate_days",
    "Days until the certificate of a key store's server expires; of external key stores, their proxy's.",
    ("key_store",),
    multiprocess_mode="mostrecent",
)
KEY_STORE_SECONDS: Final = Gauge(
    "keystead_key_store_latency_seconds",
    "How long recent requests to an external key store took, as the last look found it.",
    ("key_store", "quantile"),
    multiprocess_mode="mostrecent",
)
KEY_STORE_FAULTS: Final = Counter(
    "keystead_xks_faults",
    "Requests to external key stores that failed, by what failed (a row of the XKS specification's table of failures).",
    ("key_store", "fault"),
)


def exposition() -> bytes:
    """Every metric of this server, of all its processes."""
    if SHARED not in os.environ:
        return generate_latest()
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
