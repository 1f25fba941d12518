"""What Prometheus is told, in one place, so that names and labels stay one vocabulary.

Who calls it: whoever does what is counted. Labels are bounded: key ids only where few keys can appear.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge

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
COPIES_BAD: Final = Gauge("keystead_copies_bad", "Copies that are missing or damaged, as the last look found.")
COPIES_LOST: Final = Gauge("keystead_copies_lost", "Records of which no good copy is left, as the last look found.")
COPIES_LOOKED_AT: Final = Gauge("keystead_copies_last_look_timestamp_seconds", "When all copies were last looked at.")
