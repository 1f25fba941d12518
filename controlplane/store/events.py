"""Events of objects: recorded with what they tell of, counted when they repeat, bounded.

Who calls it: whoever changes something that people want to hear of, in the same transaction. Guarantees: an event is
there exactly if what it tells of is; a repeat within a day (same object, reason and message) is a higher count and no
new row; at most ``PER_OBJECT`` rows for an object and ``IN_ALL`` altogether, the oldest go first, so neither a key
under attack nor a store that fails for a year fills the disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from controlplane.schema.events import Event, EventPage, EventReason
from controlplane.schema.meta import AnyObject, Kind
from controlplane.store.objects import moment

PER_OBJECT: Final = 200
IN_ALL: Final = 20_000
REPEAT_SECONDS: Final = 86_400.0
MAX_MESSAGE: Final = 1000

_COLUMNS = "version, kind, uid, name, reason, message, first_at, last_at, count"


def record(tx: sqlite3.Connection, about: AnyObject, reason: EventReason, message: str, now: datetime) -> None:
    """One event of an object that is there, or was until this transaction."""
    meta = about.metadata
    record_of(tx, kind=about.kind, uid=meta.uid, name=meta.name, reason=reason, message=message, now=now)


def record_of(
    tx: sqlite3.Connection, *, kind: Kind, uid: str, name: str, reason: EventReason, message: str, now: datetime
) -> None:
    """The same, of an object that the caller knows by its parts."""
    message, stamp = message[:MAX_MESSAGE], now.timestamp()
    version = latest(tx) + 1
    repeated = tx.execute(
        """UPDATE events SET version = ?, name = ?, last_at = max(last_at, ?), count = count + 1
           WHERE version = (SELECT max(version) FROM events WHERE uid = ? AND reason = ? AND message = ?
                            AND last_at > ?)""",
        (version, name, stamp, uid, reason.value, message, stamp - REPEAT_SECONDS),
    )
    if repeated.rowcount:
        return
    tx.execute(
        f"INSERT INTO events ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1)",
        (version, kind.value, uid, name, reason.value, message, stamp, stamp),
    )
    tx.execute(
        """DELETE FROM events WHERE uid = ?1 AND version <=
           (SELECT version FROM events WHERE uid = ?1 ORDER BY version DESC LIMIT 1 OFFSET ?2)""",
        (uid, PER_OBJECT),
    )
    # Versions leave gaps where repeats moved on, so this keeps at most as many rows as it says, usually fewer.
    tx.execute("DELETE FROM events WHERE version <= ?", (version - IN_ALL,))


def page(tx: sqlite3.Connection, *, uid: str | None = None, since: int | None = None, limit: int = 200) -> EventPage:
    """Events after the version ``since``, oldest first; without it the newest ones. Of one object, or of all."""
    where, values = ["version > ?"], [0 if since is None else since]
    bound: list[Any] = [*values]
    if uid is not None:
        where.append("uid = ?")
        bound.append(uid)
    order = "DESC" if since is None else "ASC"
    rows = tx.execute(
        f"SELECT {_COLUMNS} FROM events WHERE {' AND '.join(where)} ORDER BY version {order} LIMIT ?", (*bound, limit)
    ).fetchall()
    items = tuple(sorted(map(_event, rows), key=lambda event: event.version))
    if since is not None and len(items) == limit:
        return EventPage(items=items, version=items[-1].version)
    return EventPage(items=items, version=max(latest(tx), since or 0))


def latest(tx: sqlite3.Connection) -> int:
    """The version of the newest event. It stays, so versions never repeat."""
    return int(tx.execute("SELECT coalesce(max(version), 0) FROM events").fetchone()[0])


def _event(row: Sequence[Any]) -> Event:
    return Event(
        version=row[0],
        kind=Kind(row[1]),
        uid=row[2],
        name=row[3],
        reason=EventReason(row[4]),
        message=row[5],
        first_at=moment(row[6]),
        last_at=moment(row[7]),
        count=row[8],
    )
