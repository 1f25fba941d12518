"""Credentials: access keys and bearer tokens, each of one principal.

Who calls it: ``access``. Guarantees: a credential belongs to a principal's uid, so it goes with the principal and is
never another's of the same name; secret access keys are sealed by the key store before they come here; of bearer tokens
only the SHA-256 digest is kept (they are 32 random bytes, so a plain digest cannot be searched).
"""

from __future__ import annotations

import hashlib
import sqlite3
from datetime import datetime
from typing import cast

import msgspec

from controlplane.errors import AlreadyExists, Blocked, LimitExceeded
from controlplane.schema.credentials import AccessKeyInfo, TokenInfo
from controlplane.schema.meta import Kind, Principal
from controlplane.store import objects
from controlplane.store.objects import moment

MAX_ACCESS_KEYS = 2
"""Of one principal (IAM User Guide, "IAM and AWS STS quotas"): the one in use and the one that replaces it."""
MAX_TOKENS = 50


class AccessKey(msgspec.Struct, frozen=True):
    """An access key as stored; ``uid`` is the principal's."""

    access_key_id: str
    uid: str
    sealed_secret: bytes
    active: bool


class Bearer(msgspec.Struct, frozen=True):
    """Whom a bearer token stands for (a principal's uid), and until when (seconds since the epoch)."""

    uid: str
    expires_at: float | None


# ---- access keys -----------------------------------------------------------------------------------------------------


def add_access_key(
    tx: sqlite3.Connection, *, access_key_id: str, uid: str, sealed_secret: bytes, now: datetime
) -> None:
    """Raises :class:`AlreadyExists`, or :class:`LimitExceeded` if the principal has as many as it may."""
    if find_access_key(tx, access_key_id) is not None:
        raise AlreadyExists(f"access key {access_key_id} already exists")
    if len(access_keys(tx, uid)) >= MAX_ACCESS_KEYS:
        raise LimitExceeded(f"a principal has at most {MAX_ACCESS_KEYS} access keys: delete one first")
    tx.execute("INSERT INTO access_keys VALUES (?, ?, ?, 1, ?)", (access_key_id, uid, sealed_secret, now.timestamp()))


def find_access_key(tx: sqlite3.Connection, access_key_id: str) -> AccessKey | None:
    row = tx.execute(
        "SELECT access_key_id, uid, sealed_secret, active FROM access_keys WHERE access_key_id = ?", (access_key_id,)
    ).fetchone()
    return AccessKey(row[0], row[1], bytes(row[2]), bool(row[3])) if row else None


def access_keys(tx: sqlite3.Connection, uid: str) -> list[AccessKeyInfo]:
    """The access keys of a principal, oldest first."""
    rows = tx.execute(
        "SELECT access_key_id, active, created_at FROM access_keys WHERE uid = ? ORDER BY created_at, access_key_id",
        (uid,),
    )
    return [AccessKeyInfo(access_key_id=row[0], active=bool(row[1]), created_at=moment(row[2])) for row in rows]


def switch_access_key(tx: sqlite3.Connection, uid: str, access_key_id: str, *, active: bool) -> bool:
    """Let an access key sign, or not; whether the principal has it. Raises :class:`Blocked`."""
    return _change(
        tx, "UPDATE access_keys SET active = ? WHERE access_key_id = ? AND uid = ?", (active, access_key_id, uid)
    )


def delete_access_key(tx: sqlite3.Connection, uid: str, access_key_id: str) -> bool:
    """Whether the principal had it. Raises :class:`Blocked`."""
    return _change(tx, "DELETE FROM access_keys WHERE access_key_id = ? AND uid = ?", (access_key_id, uid))


# ---- bearer tokens ---------------------------------------------------------------------------------------------------


def add_token(
    tx: sqlite3.Connection,
    *,
    token: str,
    token_id: str,
    uid: str,
    now: datetime,
    description: str = "",
    expires_at: datetime | None = None,
) -> None:
    """Raises :class:`LimitExceeded` if the principal has as many as it may."""
    if len(tokens(tx, uid)) >= MAX_TOKENS:
        raise LimitExceeded(f"a principal has at most {MAX_TOKENS} tokens: revoke one first")
    until = expires_at.timestamp() if expires_at is not None else None
    tx.execute(
        "INSERT INTO bearer_tokens VALUES (?, ?, ?, ?, ?, ?)",
        (_digest(token), token_id, uid, description, now.timestamp(), until),
    )


def find_token(tx: sqlite3.Connection, token: str) -> Bearer | None:
    """Whom a bearer token stands for. The caller looks at the time."""
    row = tx.execute("SELECT uid, expires_at FROM bearer_tokens WHERE digest = ?", (_digest(token),)).fetchone()
    return Bearer(row[0], row[1]) if row else None


def tokens(tx: sqlite3.Connection, uid: str) -> list[TokenInfo]:
    """The bearer tokens of a principal, oldest first, expired ones too."""
    rows = tx.execute(
        """SELECT token_id, description, created_at, expires_at FROM bearer_tokens WHERE uid = ?
           ORDER BY created_at, token_id""",
        (uid,),
    )
    return [
        TokenInfo(
            token_id=row[0],
            description=row[1],
            created_at=moment(row[2]),
            expires_at=moment(row[3]) if row[3] is not None else None,
        )
        for row in rows
    ]


def delete_token(tx: sqlite3.Connection, uid: str, token_id: str) -> bool:
    """Whether the principal had it. Raises :class:`Blocked`."""
    return _change(tx, "DELETE FROM bearer_tokens WHERE token_id = ? AND uid = ?", (token_id, uid))


# ---- the last administrator ------------------------------------------------------------------------------------------


def can_come_in(tx: sqlite3.Connection, uid: str) -> bool:
    """Whether a principal has a credential that lasts."""
    row = tx.execute(
        """SELECT 1 FROM access_keys WHERE uid = ?1 AND active
           UNION ALL SELECT 1 FROM bearer_tokens WHERE uid = ?1 AND expires_at IS NULL LIMIT 1""",
        (uid,),
    ).fetchone()
    return row is not None


def administrators(tx: sqlite3.Connection) -> dict[str, str]:
    """Names, by uid, of the administrators who can come in: with a lasting credential, and nobody is removing them."""
    rows = tx.execute(
        f"""SELECT {objects.COLUMNS} FROM objects o WHERE kind = ? AND instr(CAST(spec AS TEXT), '"administrator":true')
              AND (EXISTS (SELECT 1 FROM access_keys k WHERE k.uid = o.uid AND k.active)
                OR EXISTS (SELECT 1 FROM bearer_tokens t WHERE t.uid = o.uid AND t.expires_at IS NULL))""",
        (Kind.PRINCIPAL.value,),
    )
    found = [cast(Principal, objects.decode(row)) for row in rows]
    return {
        each.metadata.uid: each.metadata.name
        for each in found
        if each.spec.administrator and each.metadata.deletion is None
    }


def keep_an_administrator(before: dict[str, str], after: dict[str, str]) -> None:
    """Raise :class:`Blocked` if the last one has gone: then nobody could change anything any more."""
    if before and not after:
        names = ", ".join(sorted(before.values()))
        raise Blocked(
            f"this would leave no administrator with a credential that lasts ({names} is the last); "
            "declare another one and give it an access key or a token first"
        )


def _change(tx: sqlite3.Connection, statement: str, values: tuple[object, ...]) -> bool:
    """Whether it changed a row; it leaves an administrator who can come in."""
    before = administrators(tx)
    changed = tx.execute(statement, values).rowcount == 1
    keep_an_administrator(before, administrators(tx))
    return changed


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
