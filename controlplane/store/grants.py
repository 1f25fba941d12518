"""Grants on keys.

Who calls it: the KMS door makes, lists and removes them; ``catalog`` reads those of one grantee for the authoriser.
Guarantees: a named grant that is asked for twice exists once; a grant that is made or removed is in the change feed as
a change of its key, so that every process sees it with the next request; pages survive inserts and removals; the
grants of a key go with it.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from controlplane.domain.grants import MAX_GRANTS
from controlplane.errors import LimitExceeded, StoreDamaged
from controlplane.schema.grants import Grant
from controlplane.store import objects

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(Grant).decode


class Listed(msgspec.Struct, frozen=True):
    """A grant and its place in lists."""

    seq: int
    grant: Grant


def add(tx: sqlite3.Connection, *, uid: str, region: str, grant: Grant) -> Grant:
    """Store a grant on the key ``uid``; an earlier one of the same name with the same content is answered instead.

    Raises :class:`LimitExceeded` if the key has too many.
    """
    likeness = _likeness(grant)
    if likeness is not None:
        row = tx.execute("SELECT body FROM grants WHERE uid = ? AND likeness = ?", (uid, likeness)).fetchone()
        if row is not None:
            return _grant(row[0])
    if tx.execute("SELECT count(*) FROM grants WHERE uid = ?", (uid,)).fetchone()[0] >= MAX_GRANTS:
        raise LimitExceeded(f"A key has at most {MAX_GRANTS} grants.")
    tx.execute(
        """INSERT INTO grants (grant_id, uid, region, grantee, retiring, retiring_service, likeness, body)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            grant.grant_id,
            uid,
            region,
            grant.grantee_principal or grant.grantee_service_principal,
            grant.retiring_principal,
            grant.retiring_service_principal,
            likeness,
            _encode(grant),
        ),
    )
    objects.touch(tx, uid)
    return grant


def remove(tx: sqlite3.Connection, uid: str, grant_id: str) -> bool:
    """Take a grant of a key away; whether there was one."""
    gone = tx.execute("DELETE FROM grants WHERE grant_id = ? AND uid = ?", (grant_id, uid)).rowcount == 1
    if gone:
        objects.touch(tx, uid)
    return gone


def get(tx: sqlite3.Connection, uid: str, grant_id: str) -> Grant | None:
    """A grant of a key."""
    row = tx.execute("SELECT body FROM grants WHERE grant_id = ? AND uid = ?", (grant_id, uid)).fetchone()
    return _grant(row[0]) if row else None


def of_grantee(tx: sqlite3.Connection, uid: str, grantee: str) -> tuple[Grant, ...]:
    """All grants of a key to one principal."""
    rows = tx.execute("SELECT body FROM grants WHERE uid = ? AND grantee = ? ORDER BY seq", (uid, grantee))
    return tuple(_grant(row[0]) for row in rows)


def page_of_key(
    tx: sqlite3.Connection, uid: str, *, after: int, limit: int, grantee: str | None = None, grant_id: str | None = None
) -> list[Listed]:
    """Grants of a key in the order in which they were made."""
    where, values = "uid = ? AND seq > ?", [uid, after]
    if grantee is not None:
        where += " AND grantee = ?"
        values.append(grantee)
    if grant_id is not None:
        where += " AND grant_id = ?"
        values.append(grant_id)
    return _page(tx, where, values, limit)


def page_retirable(
    tx: sqlite3.Connection, region: str, *, after: int, limit: int, principal: str | None, service: str | None
) -> list[Listed]:
    """Grants of a Region that name a retiring principal, or a retiring service principal."""
    column, value = ("retiring", principal) if principal is not None else ("retiring_service", service)
    return _page(tx, f"region = ? AND {column} = ? AND seq > ?", [region, value, after], limit)


def _page(tx: sqlite3.Connection, where: str, values: Sequence[Any], limit: int) -> list[Listed]:
    rows = tx.execute(f"SELECT seq, body FROM grants WHERE {where} ORDER BY seq LIMIT ?", (*values, limit))
    return [Listed(row[0], _grant(row[1])) for row in rows]


def _likeness(grant: Grant) -> bytes | None:
    """What two requests for the same named grant have in common; None without a name."""
    if grant.name is None:
        return None
    operations = tuple(sorted(set(grant.operations)))
    alike = msgspec.structs.replace(grant, grant_id="", created_at=_NO_TIME, operations=operations)
    return hashlib.sha256(_encode(alike)).digest()


_NO_TIME = objects.moment(0)


def _grant(body: bytes) -> Grant:
    try:
        return _decode(body)
    except ValueError as error:
        raise StoreDamaged(
            f"a grant in the database does not decode ({error}); restore the database from a backup"
        ) from None
