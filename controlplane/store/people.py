"""The uses of a key that were refused because it is pending deletion: who tried, how often, when last."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from controlplane.schema.keys import RefusedUse
from controlplane.store.objects import moment


def count_refused_use(tx: sqlite3.Connection, *, uid: str, principal: str, operation: str, now: datetime) -> None:
    """One more refused use of a key that is pending deletion."""
    tx.execute(
        """INSERT INTO refused_uses VALUES (?, ?, ?, 1, ?)
           ON CONFLICT (uid, principal, operation) DO UPDATE SET count = count + 1, last_at = excluded.last_at""",
        (uid, principal, operation, now.timestamp()),
    )


def refused_uses(tx: sqlite3.Connection, uid: str) -> list[RefusedUse]:
    """Refused uses of a key, newest first."""
    rows = tx.execute(
        "SELECT principal, operation, count, last_at FROM refused_uses WHERE uid = ? ORDER BY last_at DESC", (uid,)
    )
    return [RefusedUse(principal=row[0], operation=row[1], count=row[2], last_at=moment(row[3])) for row in rows]


def forget_refused_uses(tx: sqlite3.Connection, uid: str) -> None:
    """Start counting anew: the deletion was cancelled."""
    tx.execute("DELETE FROM refused_uses WHERE uid = ?", (uid,))
