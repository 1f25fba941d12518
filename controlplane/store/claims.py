"""What each manager states of each object: rows of ``domain.ownership``'s claims.

Who calls it: the apply and the imperative doors (through ``keys``), the planner, the reconciler.
Guarantee: a spec set's claim carries the generation at which its object was last seen to be as stated; while that is
the object's generation, nothing has drifted and nobody has to look.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from controlplane.domain.ownership import SET_PREFIX, Claim, Leaves, changed_leaves
from controlplane.schema.meta import Desired

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Kept(msgspec.Struct, frozen=True):
    """A claim as it is stored."""

    claim: Claim
    generation: int


def put(
    tx: sqlite3.Connection, uid: str, manager: str, leaves: Leaves, *, generation: int, by: str, now: datetime
) -> None:
    """Make this what the manager states of the object."""
    tx.execute(
        "REPLACE INTO claims VALUES (?, ?, ?, ?, ?, ?)",
        (uid, manager, _encode(leaves), generation, by, now.timestamp()),
    )


def of(tx: sqlite3.Connection, uid: str) -> list[Kept]:
    """All claims on an object, by manager."""
    rows = tx.execute("SELECT manager, leaves, generation, by FROM claims WHERE uid = ? ORDER BY manager", (uid,))
    return [_kept(row) for row in rows]


def unsure(tx: sqlite3.Connection, uid: str) -> bool:
    """Whether the object changed since it was last seen to be as a spec set states it."""
    row = tx.execute(
        """SELECT 1 FROM claims c JOIN objects o ON o.uid = c.uid
           WHERE c.uid = ? AND c.generation <> o.generation AND c.manager LIKE ? LIMIT 1""",
        (uid, f"{SET_PREFIX}%"),
    ).fetchone()
    return row is not None


def may_drift(tx: sqlite3.Connection, uid: str) -> bool:
    """Whether it is worth a look how the object has drifted: cheap, and never False where it has."""
    row = tx.execute(
        """SELECT 1 FROM objects o WHERE uid = ?1 AND (
             instr(CAST(status AS TEXT), '"Drifted","status":"True"') OR instr(CAST(status AS TEXT), '"Material')
             OR (spec_set IS NOT NULL AND instr(CAST(metadata AS TEXT), '"deletion"'))
             OR EXISTS (SELECT 1 FROM claims c WHERE c.uid = ?1 AND c.generation <> o.generation AND c.manager LIKE ?2))
           LIMIT 1""",
        (uid, f"{SET_PREFIX}%"),
    ).fetchone()
    return row is not None


def drifting(tx: sqlite3.Connection, spec_set: str | None, limit: int) -> list[str]:
    """Uids of at most ``limit`` objects that may have drifted, of one spec set or of all."""
    where, values = "1", [f"{SET_PREFIX}%"]
    if spec_set is not None:
        where = "(o.spec_set = ?2 OR EXISTS (SELECT 1 FROM claims c WHERE c.uid = o.uid AND c.manager = ?3))"
        values += [spec_set, f"{SET_PREFIX}{spec_set}"]
    rows = tx.execute(
        f"""SELECT uid FROM objects o WHERE ({where}) AND (
              instr(CAST(status AS TEXT), '"Material')
              OR (spec_set IS NOT NULL AND instr(CAST(metadata AS TEXT), '"deletion"'))
              OR EXISTS (SELECT 1 FROM claims c WHERE c.uid = o.uid AND c.generation <> o.generation
                         AND c.manager LIKE ?1))
            ORDER BY kind, name LIMIT {int(limit)}""",
        values,
    )
    return [row[0] for row in rows]


def seen(tx: sqlite3.Connection, uid: str, generation: int) -> None:
    """The object was seen to be as every spec set states it."""
    tx.execute("UPDATE claims SET generation = ? WHERE uid = ? AND manager LIKE ?", (generation, uid, f"{SET_PREFIX}%"))


def of_manager(tx: sqlite3.Connection, manager: str) -> Iterator[tuple[str, str, str, int, bytes]]:
    """Every object of which the manager states something: uid, kind, name, its generation if nothing drifted (or 0),
    and the leaves as they are stored."""
    return iter(
        tx.execute(
            """SELECT o.uid, o.kind, o.name,
                      CASE WHEN c.generation = o.generation THEN o.generation ELSE 0 END, c.leaves
               FROM claims c JOIN objects o ON o.uid = c.uid WHERE c.manager = ?""",
            (manager,),
        )
    )


def spec_sets(tx: sqlite3.Connection) -> set[str]:
    """Names of the spec sets that state something."""
    rows = tx.execute("SELECT DISTINCT manager FROM claims WHERE manager LIKE ?", (f"{SET_PREFIX}%",))
    return {row[0].removeprefix(SET_PREFIX) for row in rows}


def managed_uids(tx: sqlite3.Connection, manager: str) -> list[str]:
    """Objects of which the manager states something."""
    return [row[0] for row in tx.execute("SELECT uid FROM claims WHERE manager = ? ORDER BY uid", (manager,))]


def drop(tx: sqlite3.Connection, uid: str, manager: str | None = None) -> None:
    """Forget what a manager states of the object, or what all do."""
    if manager is None:
        tx.execute("DELETE FROM claims WHERE uid = ?", (uid,))
    else:
        tx.execute("DELETE FROM claims WHERE uid = ? AND manager = ?", (uid, manager))


def take(tx: sqlite3.Connection, uid: str, manager: str, paths: set[str], *, from_sets: bool) -> None:
    """Take leaves from the APIs, which held what was changed through them, and ``from_sets`` from spec sets, too."""
    for kept in of(tx, uid):
        if kept.claim.manager == manager or not paths & kept.claim.leaves.keys():
            continue
        if kept.claim.spec_set is not None and not from_sets:
            continue
        left = {path: value for path, value in kept.claim.leaves.items() if path not in paths}
        if left or kept.claim.spec_set is not None:
            tx.execute(
                "UPDATE claims SET leaves = ? WHERE uid = ? AND manager = ?", (_encode(left), uid, kept.claim.manager)
            )
        else:
            drop(tx, uid, kept.claim.manager)


def note(
    tx: sqlite3.Connection, uid: str, before: Desired, after: Desired, *, manager: str, by: str, now: datetime
) -> None:
    """An API changed the object: it holds the leaves that it changed, and by whom."""
    changed = changed_leaves(before, after)
    if not changed:
        return
    held = next((kept.claim.leaves for kept in of(tx, uid) if kept.claim.manager == manager), {})
    put(tx, uid, manager, {**held, **changed}, generation=0, by=by, now=now)


def _kept(row: tuple[str, bytes, int, str]) -> Kept:
    return Kept(Claim(manager=row[0], leaves=_decode(row[1]), by=row[3]), row[2])
