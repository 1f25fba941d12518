"""Credentials of principals, and the uses that were refused because a key is pending deletion.

Secret access keys are sealed by the key store before they come here; of bearer tokens only the SHA-256 digest is kept
(they are 32 random bytes, so a plain digest cannot be searched).
"""

from __future__ import annotations

import hashlib
import sqlite3
from datetime import datetime

import msgspec

from controlplane.errors import AlreadyExists
from controlplane.schema.keys import RefusedUse
from controlplane.store.objects import moment


class AccessKey(msgspec.Struct, frozen=True):
    """An access key as stored; ``principal`` is the principal's name."""

    access_key_id: str
    principal: str
    sealed_secret: bytes
    active: bool


def add_access_key(
    tx: sqlite3.Connection, *, access_key_id: str, principal: str, sealed_secret: bytes, now: datetime
) -> None:
    if find_access_key(tx, access_key_id) is not None:
        raise AlreadyExists(f"access key {access_key_id} already exists")
    tx.execute(
        "INSERT INTO access_keys VALUES (?, ?, ?, 1, ?)", (access_key_id, principal, sealed_secret, now.timestamp())
    )


def find_access_key(tx: sqlite3.Connection, access_key_id: str) -> AccessKey | None:
    row = tx.execute(
        "SELECT access_key_id, principal, sealed_secret, active FROM access_keys WHERE access_key_id = ?",
        (access_key_id,),
    ).fetchone()
    return AccessKey(row[0], row[1], bytes(row[2]), bool(row[3])) if row else None


def add_bearer_token(tx: sqlite3.Connection, *, token: str, principal: str, now: datetime) -> None:
    tx.execute(
        "INSERT INTO tokens_bearer VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (_digest(token), principal, now.timestamp()),
    )


def find_bearer_token(tx: sqlite3.Connection, token: str) -> str | None:
    """Name of the principal that a bearer token stands for."""
    row = tx.execute("SELECT principal FROM tokens_bearer WHERE digest = ?", (_digest(token),)).fetchone()
    return row[0] if row else None


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


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
