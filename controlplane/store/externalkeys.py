"""Which external key stands for which KMS key. Guarantee: one for one in a key store, while the KMS key exists.

Who calls it: ``keys``, when one comes to be; the planner, to look. When a key goes, ``objects`` removes its row.
"""

from __future__ import annotations

import sqlite3

from controlplane.errors import ExternalKeyInUse
from plugins.sdk import CallInfo


def take(tx: sqlite3.Connection, *, key_store: str, external_id: str, uid: str, asked: CallInfo | None = None) -> None:
    """Let a key stand for an external key. Raises :class:`ExternalKeyInUse` if another one does.

    ``asked``: whose request it was. The external key's manager may want to hear when material is made later.
    """
    if holder(tx, key_store, external_id) is not None:
        raise ExternalKeyInUse(f"external key {external_id} stands for another key of key store {key_store} already")
    principal, request_id = (asked.principal, asked.request_id) if asked else (None, None)
    tx.execute(
        "INSERT INTO external_keys (key_store, external_id, uid, principal, request_id) VALUES (?, ?, ?, ?, ?)",
        (key_store, external_id, uid, principal, request_id),
    )


def holder(tx: sqlite3.Connection, key_store: str, external_id: str) -> str | None:
    """The uid of the key that an external key stands for."""
    row = tx.execute(
        "SELECT uid FROM external_keys WHERE key_store = ? AND external_id = ?", (key_store, external_id)
    ).fetchone()
    return row[0] if row else None


def asker(tx: sqlite3.Connection, uid: str) -> CallInfo | None:
    """Whose request made a key that stands for an external key, as far as it is known."""
    row = tx.execute("SELECT principal, request_id FROM external_keys WHERE uid = ?", (uid,)).fetchone()
    return CallInfo("CreateKey", row[0], row[1]) if row and row[0] else None
