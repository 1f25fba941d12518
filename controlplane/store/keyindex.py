"""What lists of keys are searched, sorted and counted by: a narrow row beside each key.

Who calls it: ``store.objects`` keeps it with every write of a key, in the same transaction; the reconciliation API
asks. Guarantees: a row says what the key said when it was written. A key state that depends on the connection of its
key store is kept twice (``domain.lifecycle`` decides both), and a question names the stores that are connected, so a
store that goes away changes no row and is right at once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from controlplane.domain.lifecycle import key_state
from controlplane.schema.browse import KeySort
from controlplane.schema.conditions import Reason, synced_word
from controlplane.schema.filters import KeyFilter, Term, TermKind
from controlplane.schema.keys import KeyState
from controlplane.schema.keystores import ConnectionState
from controlplane.schema.meta import Key

SYNCED: Final = "Synced"
RECONCILING: Final = "Reconciling"

_ORDER: Final[Mapping[KeySort, str]] = {
    KeySort.NAME: "name",
    KeySort.STATE: "state",
    KeySort.SPEC: "key_spec",
    KeySort.STORE: "key_store",
    KeySort.CREATED: "created_at",
    KeySort.DUE: "due_at",
    KeySort.EXPIRES: "expires_at",
    KeySort.CONDITION: "condition",
}
_NULLS_LAST: Final = frozenset({KeySort.DUE, KeySort.EXPIRES})


class Found(msgspec.Struct, frozen=True):
    """Uids of a window in order, the number of keys that match, and of all."""

    uids: list[str]
    matching: int
    total: int


class StateCount(msgspec.Struct, frozen=True):
    key_store: str
    state: KeyState
    count: int


def put(tx: sqlite3.Connection, key: Key) -> None:
    """The row of a key that was written."""
    meta, spec = key.metadata, key.spec
    deletion, expires = meta.deletion, expires_at(key)
    texts = (meta.name, *spec.aliases, key.status.key_id, spec.description)
    tags = "".join(f"\n{name}={value}" for name, value in spec.tags.items())
    tx.execute(
        "REPLACE INTO key_index VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            meta.name,
            meta.uid,
            spec.key_store,
            key_state(key, ConnectionState.CONNECTED).value,
            key_state(key, ConnectionState.DISCONNECTED).value,
            synced_word(key.status.conditions, meta.generation),
            spec.key_spec.value,
            meta.created_at.timestamp(),
            None if deletion is None or deletion.due_at is None else deletion.due_at.timestamp(),
            "\n".join(" ".join(text.split()) for text in texts).lower(),
            f"{tags}\n".lower(),
            spec.origin.value if spec.origin is not None else "",
            None if expires is None else expires.timestamp(),
        ),
    )


def expires_at(key: Key) -> datetime | None:
    """When the first of its imported materials that are here expires."""
    imported = (each.imported for each in key.status.materials if each.imported is not None and each.present)
    return min((each.valid_to for each in imported if each.valid_to is not None), default=None)


def forget(tx: sqlite3.Connection, uid: str) -> None:
    tx.execute("DELETE FROM key_index WHERE uid = ?", (uid,))


def find(
    tx: sqlite3.Connection,
    terms: KeyFilter,
    *,
    connected: Collection[str],
    sort: KeySort = KeySort.NAME,
    descending: bool = False,
    offset: int = 0,
    limit: int = 200,
) -> Found:
    """Keys that match all terms; ``connected`` names the key stores that are."""
    state, values = _state(connected)
    where: list[str] = []
    for term in terms:
        clause, more = _clause(term, connected)
        where.append(f"NOT ({clause})" if term.inverse else clause)
        values.extend(more)
    source = f"SELECT *, {state} AS state FROM key_index"
    condition = f" WHERE {' AND '.join(where)}" if where else ""
    column = _ORDER[sort]
    direction = " DESC" if descending else ""
    first = f"{column} IS NULL, " if sort in _NULLS_LAST else ""
    order = f"name{direction}" if sort is KeySort.NAME else f"{first}{column}{direction}, name"
    rows = tx.execute(
        f"SELECT uid, name FROM ({source}){condition} ORDER BY {order} LIMIT ? OFFSET ?", (*values, limit, offset)
    ).fetchall()
    uids = [row[0] for row in rows]
    total = int(tx.execute("SELECT count(*) FROM key_index").fetchone()[0])
    if not where:
        return Found(uids, total, total)
    if not offset and len(uids) < limit:
        return Found(uids, len(uids), total)  # that was all of them: another look at every key costs as much again
    if sort is KeySort.NAME and rows:
        # What came before the last row was looked at; only what comes after it has to be.
        beyond = f"{condition} AND name {'<' if descending else '>'} ?"
        rest = tx.execute(f"SELECT count(*) FROM ({source}){beyond}", (*values, rows[-1][1])).fetchone()[0]
        return Found(uids, offset + len(uids) + int(rest), total)
    matching = int(tx.execute(f"SELECT count(*) FROM ({source}){condition}", values).fetchone()[0])
    return Found(uids, matching, total)


def counts(tx: sqlite3.Connection, *, connected: Collection[str]) -> list[StateCount]:
    """Keys by key store and state."""
    state, values = _state(connected)
    rows = tx.execute(f"SELECT key_store, {state}, count(*) FROM key_index GROUP BY 1, 2 ORDER BY 1, 2", values)
    return [StateCount(row[0], KeyState(row[1]), row[2]) for row in rows]


def of_unknown_outcome(tx: sqlite3.Connection, limit: int) -> tuple[list[str], int]:
    """Keys with a call to a key store of which nobody knows what became of it, by name, and how many there are."""
    return _by_condition(tx, f"condition = '{Reason.CREATE_OUTCOME_UNKNOWN}'", limit)


def troubled(tx: sqlite3.Connection, limit: int) -> tuple[list[str], int]:
    """Keys that are not as declared for another reason, by name, and how many there are."""
    settled = ("Synced", "Reconciling", Reason.PAUSED.value, Reason.CREATE_OUTCOME_UNKNOWN.value)
    return _by_condition(tx, f"condition NOT IN {settled!r}", limit)


def _by_condition(tx: sqlite3.Connection, where: str, limit: int) -> tuple[list[str], int]:
    rows = tx.execute(f"SELECT uid FROM key_index WHERE {where} ORDER BY name LIMIT ?", (limit,))
    total = tx.execute(f"SELECT count(*) FROM key_index WHERE {where}").fetchone()[0]
    return [row[0] for row in rows], int(total)


def used_while_pending(tx: sqlite3.Connection, limit: int) -> tuple[list[tuple[str, int, float]], int]:
    """Keys with uses that were refused since their deletion was scheduled: uid, how many, the last; newest first."""
    rows = tx.execute(
        "SELECT uid, sum(count), max(last_at) FROM refused_uses GROUP BY uid ORDER BY 3 DESC LIMIT ?", (limit,)
    )
    total = tx.execute("SELECT count(DISTINCT uid) FROM refused_uses").fetchone()[0]
    return [(row[0], row[1], row[2]) for row in rows], int(total)


def expiring(tx: sqlite3.Connection, before: datetime, limit: int) -> tuple[list[str], int]:
    """Keys with imported material that expires before a moment, the first one first, and how many there are."""
    where, value = "expires_at IS NOT NULL AND expires_at < ?", before.timestamp()
    rows = tx.execute(f"SELECT uid FROM key_index WHERE {where} ORDER BY expires_at LIMIT ?", (value, limit))
    total = tx.execute(f"SELECT count(*) FROM key_index WHERE {where}", (value,)).fetchone()[0]
    return [row[0] for row in rows], int(total)


def refused(tx: sqlite3.Connection, uids: Sequence[str]) -> dict[str, tuple[int, float]]:
    """Refused uses of these keys since their deletion was scheduled: how many, and the last."""
    marks = ", ".join("?" * len(uids))
    rows = tx.execute(
        f"SELECT uid, sum(count), max(last_at) FROM refused_uses WHERE uid IN ({marks}) GROUP BY uid", tuple(uids)
    )
    return {row[0]: (row[1], row[2]) for row in rows}


def _state(connected: Collection[str]) -> tuple[str, list[object]]:
    marks = ", ".join("?" * len(connected))
    return f"CASE WHEN key_store IN ({marks}) THEN state_up ELSE state_down END", list(connected)


def _clause(term: Term, connected: Collection[str]) -> tuple[str, list[object]]:
    match term.kind:
        case TermKind.TEXT:
            return "instr(text, ?)", [term.value]
        case TermKind.FUZZY:
            return "name LIKE ? ESCAPE '!'", [f"%{'%'.join(map(_literal, term.value))}%"]
        case TermKind.TAG:
            name, equals, value = term.value.partition("=")
            return "instr(tags, ?)", [f"\n{name}={value}\n" if equals else f"\n{name}="]
        case TermKind.STORE:
            return "key_store = ?", [term.value]
        case TermKind.STATE:
            states = term.value.split(",")
            return f"state IN ({', '.join('?' * len(states))})", list(states)
        case TermKind.ORIGIN:
            origins = term.value.split(",")
            return f"origin IN ({', '.join('?' * len(origins))})", list(origins)
        case TermKind.CONDITION:
            reasons = term.value.split(",")
            return f"condition IN ({', '.join('?' * len(reasons))})", list(reasons)
        case TermKind.UNHEALTHY:
            marks = ", ".join("?" * len(connected))
            return f"condition NOT IN ('Synced', 'Reconciling') OR key_store NOT IN ({marks})", list(connected)


def _literal(character: str) -> str:
    """One character of a pattern that stands for itself."""
    return f"!{character}" if character in "%_!" else character
