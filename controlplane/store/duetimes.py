"""The table of due times: when which key has to be looked at.

Who calls it: ``store.objects`` with every write of a key, in the same transaction; ``reconcile.duetimes`` asks.
Guarantee: what was due when a process ended is due when the next one starts.
"""

from __future__ import annotations

import sqlite3

from controlplane.domain.due import next_due
from controlplane.schema.meta import Key

Entry = tuple[float, str]
"""A moment (seconds since the epoch) and the uid of a key. Entries are ordered by both."""


def put(tx: sqlite3.Connection, key: Key, before: Key | None = None) -> None:
    """What is due next for a key that was written; ``before`` is what the table knows of it, if it is no new key."""
    moment = next_due(key)
    if before is not None and next_due(before) == moment:
        return
    uid, version = key.metadata.uid, key.metadata.resource_version
    if moment is None:
        forget(tx, uid)
    else:
        tx.execute("REPLACE INTO due_times VALUES (?, ?, ?)", (uid, moment.timestamp(), version))


def forget(tx: sqlite3.Connection, uid: str) -> None:
    tx.execute("DELETE FROM due_times WHERE uid = ?", (uid,))


def between(tx: sqlite3.Connection, after: Entry, until: float, limit: int) -> list[Entry]:
    """The first entries after one, up to and with a moment."""
    rows = tx.execute(
        "SELECT at, uid FROM due_times WHERE (at, uid) > (?, ?) AND at <= ? ORDER BY at, uid LIMIT ?",
        (*after, until, limit),
    )
    return [(row[0], row[1]) for row in rows]


def written_overdue(tx: sqlite3.Connection, since_version: int, until: float) -> list[str]:
    """Uids of entries that were written after a version of the store, for a moment that is past at ``until``."""
    rows = tx.execute("SELECT uid FROM due_times WHERE version > ? AND at <= ?", (since_version, until))
    return [row[0] for row in rows]
