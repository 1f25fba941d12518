"""Which external key stands for which KMS key. Guarantee: one for one in a key store, while the KMS key exists.

Who calls it: ``keys``, when one comes to be; the planner, to look. When a key goes, ``objects`` removes its row.
"""

from __future__ import annotations

import sqlite3

from controlplane.errors import ExternalKeyInUse


def take(tx: sqlite3.Connection, *, key_store: str, external_id: str, uid: str) -> None:
    """Let a key stand for an external key. Raises :class:`ExternalKeyInUse` if another one does."""
    if holder(tx, key_store, external_id) is not None:
        raise ExternalKeyInUse(f"external key {external_id} stands for another key of key store {key_store} already")
    tx.execute("INSERT INTO external_keys VALUES (?, ?, ?)", (key_store, external_id, uid))


def holder(tx: sqlite3.Connection, key_store: str, external_id: str) -> str | None:
    """The uid of the key that an external key stands for."""
    row = tx.execute(
        "SELECT uid FROM external_keys WHERE key_store = ? AND external_id = ?", (key_store, external_id)
    ).fetchone()
    return row[0] if row else None
