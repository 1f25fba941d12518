"""When each key was last used, as far as it was written: one row a key, written in batches by ``usage.last_uses``."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

import msgspec


class LastUse(msgspec.Struct, frozen=True, gc=False):
    """The last successful cryptographic operation with a key. ``at`` is in seconds since the epoch; ``chain`` and
    ``seq`` are the place of its record in the audit journal, which uses of older versions do not have."""

    uid: str
    operation: str
    at: float
    request_id: str
    chain: str | None = None
    seq: int | None = None


def put(tx: sqlite3.Connection, uses: Iterable[LastUse]) -> None:
    """Write the later of what is there and what is given. Uses of keys that are gone leave no row."""
    tx.executemany(
        """INSERT INTO last_uses (uid, operation, at, request_id, chain, seq)
           SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE EXISTS (SELECT 1 FROM objects WHERE uid = ?1)
           ON CONFLICT (uid) DO UPDATE SET operation = excluded.operation, at = excluded.at,
           request_id = excluded.request_id, chain = excluded.chain, seq = excluded.seq WHERE excluded.at >= at""",
        [(use.uid, use.operation, use.at, use.request_id, use.chain, use.seq) for use in uses],
    )


def get(tx: sqlite3.Connection, uid: str) -> LastUse | None:
    row = tx.execute(
        "SELECT uid, operation, at, request_id, chain, seq FROM last_uses WHERE uid = ?", (uid,)
    ).fetchone()
    return LastUse(*row) if row else None
