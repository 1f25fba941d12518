"""The journal of calls that change a key store, so that no crash leaves material that nobody knows of.

Who calls it: ``reconcile.external``; the API writes down what a person found. Guarantees: an attempt is durable before
its call is made; an object has at most one open attempt; only the present holder of the lease opens one (a process that
was replaced must not act).
"""

from __future__ import annotations

import sqlite3
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from controlplane.errors import Conflict
from plugins.sdk.errors import Outcome


class Verb(StrEnum):
    CREATE = "create"
    DESTROY = "destroy"


class Finding(StrEnum):
    """What a person found in a key store that cannot be searched: the material was made, or it was not."""

    ADOPT = "adopt"
    ABANDON = "abandon"


class Attempt(msgspec.Struct, frozen=True):
    """One call. ``material`` is the external name it acts on, chosen before; no outcome means open."""

    id: int
    uid: str
    verb: Verb
    material: str
    epoch: int
    started_at: float
    outcome: Outcome | None = None
    detail: str | None = None
    finding: Finding | None = None


_COLUMNS = "id, uid, verb, material, epoch, started_at, outcome, detail, finding"


def _attempt(row: tuple[Any, ...]) -> Attempt:
    number, uid, verb, material, epoch, started_at, outcome, detail, finding = row
    return Attempt(
        number,
        uid,
        Verb(verb),
        material,
        epoch,
        started_at,
        Outcome(outcome) if outcome else None,
        detail,
        Finding(finding) if finding else None,
    )


def begin(tx: sqlite3.Connection, *, uid: str, verb: Verb, material: str, epoch: int, now: datetime) -> Attempt:
    """Open an attempt. Raises :class:`Conflict` if another is open or the lease has moved on to another process."""
    held = tx.execute("SELECT epoch FROM lease").fetchone()[0]
    if held != epoch:
        raise Conflict(f"the reconciler lease is at epoch {held}, not {epoch}: another process took over")
    if find_open(tx, uid) is not None:
        raise Conflict(f"an attempt for {uid} is already open")
    row = tx.execute(
        f"INSERT INTO attempts (uid, verb, material, epoch, started_at) VALUES (?, ?, ?, ?, ?) RETURNING {_COLUMNS}",
        (uid, verb.value, material, epoch, now.timestamp()),
    ).fetchone()
    return _attempt(row)


def end(tx: sqlite3.Connection, attempt_id: int, outcome: Outcome, now: datetime, detail: str = "") -> None:
    """Close an attempt with what is known now. Closing twice changes nothing."""
    tx.execute(
        "UPDATE attempts SET ended_at = ?, outcome = ?, detail = ? WHERE id = ? AND ended_at IS NULL",
        (now.timestamp(), outcome.value, detail or None, attempt_id),
    )


def found(tx: sqlite3.Connection, attempt_id: int, finding: Finding) -> None:
    """Write down what a person found about an open attempt; the reconciler acts on it."""
    tx.execute("UPDATE attempts SET finding = ? WHERE id = ? AND ended_at IS NULL", (finding.value, attempt_id))


def find_open(tx: sqlite3.Connection, uid: str) -> Attempt | None:
    """The open attempt of an object: a call whose outcome is not known."""
    row = tx.execute(f"SELECT {_COLUMNS} FROM attempts WHERE uid = ? AND ended_at IS NULL", (uid,)).fetchone()
    return _attempt(row) if row else None


def destruction_began(tx: sqlite3.Connection, uid: str) -> bool:
    """Whether material of an object was destroyed, or may have been."""
    row = tx.execute(
        "SELECT 1 FROM attempts WHERE uid = ? AND verb = ? AND outcome IS NOT ? LIMIT 1",
        (uid, Verb.DESTROY.value, Outcome.REFUSED.value),
    ).fetchone()
    return row is not None


def all_open(tx: sqlite3.Connection) -> list[Attempt]:
    """Every open attempt."""
    return [_attempt(row) for row in tx.execute(f"SELECT {_COLUMNS} FROM attempts WHERE ended_at IS NULL ORDER BY id")]


def prune(tx: sqlite3.Connection, before: datetime) -> int:
    """Forget closed attempts that ended before; returns how many."""
    return tx.execute("DELETE FROM attempts WHERE ended_at < ?", (before.timestamp(),)).rowcount
