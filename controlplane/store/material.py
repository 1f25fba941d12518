"""Key tokens, and the small durable blobs that plugins keep.

Who calls it: whoever makes, uses or destroys material. Guarantees: a value is returned exactly as it was stored or not
at all; a row whose checksum differs, or that is missing, is answered from another copy if there is one, and the row is
made good soon; without one it is :class:`StoreDamaged`, named by its material. Every change is marked for
``safekeeping``, which keeps the other places in step.
"""

from __future__ import annotations

import hashlib
import hmac
import sqlite3
from collections.abc import Sequence

from controlplane.domain.names import MATERIAL_NAME_PREFIX
from controlplane.errors import Conflict, StoreDamaged
from controlplane.store.copies import What
from controlplane.store.database import Connection, Database
from plugins.sdk.errors import MaterialDamaged

SYSTEM: str = "system"
"""Owner of tokens that belong to no key."""

_TABLES = {What.TOKEN: ("tokens", "uid", "token"), What.STATE: ("plugin_state", "store", "value")}

_AS_BLOBS = "CAST({} AS BLOB), CAST(checksum AS BLOB)"
"""A damaged value may have become text, which would fail to decode before its checksum is looked at."""


# ---- key tokens ------------------------------------------------------------------------------------------------------


def put_token(tx: sqlite3.Connection, *, name: str, uid: str, token: bytes) -> None:
    """Store the token of a material; storing the same again changes nothing. A name belongs to one key for ever."""
    stored = tx.execute(
        "INSERT INTO tokens VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET token = excluded.token, "
        "checksum = excluded.checksum WHERE uid = excluded.uid",
        (name, uid, token, _checksum(token)),
    )
    if stored.rowcount == 0:
        raise Conflict(f"the key token {name} belongs to another key")
    _mark(tx, What.TOKEN, uid, name, "put")


def get_token(tx: sqlite3.Connection, name: str) -> bytes | None:
    """The token of a material, or None if there is none."""
    row = tx.execute(f"SELECT uid, {_AS_BLOBS.format('token')} FROM tokens WHERE name = ?", (name,)).fetchone()
    if row is not None and _good(row[1], row[2]):
        return bytes(row[1])
    rescued = _rescue(tx, What.TOKEN, owner_of(name) if row is None else row[0], name)
    if rescued is None and row is not None:
        raise StoreDamaged(f"the key token of {name} does not have its checksum; restore it from a copy or a backup")
    return rescued


def delete_token(tx: sqlite3.Connection, name: str) -> None:
    """Forget the token of a material, here and in every copy."""
    row = tx.execute("DELETE FROM tokens WHERE name = ? RETURNING uid", (name,)).fetchone()
    _mark(tx, What.TOKEN, owner_of(name) if row is None else row[0], name, "gone")


def note_deletion(tx: sqlite3.Connection, uid: str) -> None:
    """Have the files of a key, and the log, cleared of what was deleted in another table than that of tokens."""
    _mark(tx, What.TOKEN, uid, "", "gone")


def owner_of(name: str) -> str:
    """Whose token it is that has this name: the uid of a key, or the server's own."""
    if name.startswith(MATERIAL_NAME_PREFIX):
        return name.removeprefix(MATERIAL_NAME_PREFIX).partition(":")[0]
    return SYSTEM


# ---- for safekeeping -------------------------------------------------------------------------------------------------


def value(tx: sqlite3.Connection, what: What, owner: str, name: str) -> bytes | None:
    """What the database itself has, if it has its checksum."""
    table, owned, column = _TABLES[what]
    statement = f"SELECT {_AS_BLOBS.format(column)} FROM {table} WHERE {owned} = ? AND name = ?"
    row = tx.execute(statement, (owner, name)).fetchone()
    return bytes(row[0]) if row is not None and _good(row[0], row[1]) else None


def exists(tx: sqlite3.Connection, what: What, owner: str, name: str) -> bool:
    """Whether the database has a row, damaged or not."""
    table, owned, _ = _TABLES[what]
    return tx.execute(f"SELECT 1 FROM {table} WHERE {owned} = ? AND name = ?", (owner, name)).fetchone() is not None


def restore(tx: sqlite3.Connection, what: What, owner: str, name: str, held: bytes) -> None:
    """Put a value back where a row is missing or damaged."""
    if what is What.TOKEN:
        put_token(tx, name=name, uid=owner, token=held)
        return
    tx.execute("REPLACE INTO plugin_state VALUES (?, ?, ?, ?)", (owner, name, held, _checksum(held)))
    _mark(tx, what, owner, name, "put")


def leaving(tx: sqlite3.Connection, owner: str, name: str) -> bool:
    """Whether it was deleted here and some copy of it may still be there."""
    statement = "SELECT 1 FROM copies_due WHERE owner = ? AND name = ? AND state IN ('gone', 'stuck')"
    return tx.execute(statement, (owner, name)).fetchone() is not None


def names_of(tx: sqlite3.Connection, owner: str) -> list[str]:
    """Names of all tokens of one key."""
    return [row[0] for row in tx.execute("SELECT name FROM tokens WHERE uid = ?", (owner,))]


def page(tx: sqlite3.Connection, what: What, after: Sequence[str], limit: int) -> list[tuple[str, str, bytes | None]]:
    """Owner, name and value (None if it is damaged) of the rows after an owner and name, in that order."""
    table, owned, column = _TABLES[what]
    rows = tx.execute(
        f"""SELECT {owned}, name, {_AS_BLOBS.format(column)} FROM {table} WHERE ({owned}, name) > (?, ?)
            ORDER BY {owned}, name LIMIT ?""",
        (*after, limit),
    )
    return [(row[0], row[1], bytes(row[2]) if _good(row[2], row[3]) else None) for row in rows]


def _good(held: bytes, checksum: bytes | None) -> bool:
    return checksum is not None and hmac.compare_digest(_checksum(bytes(held)), bytes(checksum))


def _checksum(held: bytes) -> bytes:
    return hashlib.sha256(held).digest()


def _mark(tx: sqlite3.Connection, what: What, owner: str, name: str, state: str) -> None:
    tx.execute("INSERT OR REPLACE INTO copies_due VALUES (?, ?, ?, ?)", (what.value, owner, name, state))


def _rescue(tx: sqlite3.Connection, what: What, owner: str, name: str) -> bytes | None:
    """The value from another copy; its row is made good soon. None if there is none, or it is on its way out."""
    database = tx.database if isinstance(tx, Connection) else None
    guard = database.guard if database is not None else None
    if database is None or guard is None:
        return None
    if leaving(tx, owner, name):
        return None
    held = guard.find(what, owner, name)
    if held is not None:
        database.later(lambda later: guard.repair_row(later, what, owner, name))
    return held


# ---- what plugins keep -----------------------------------------------------------------------------------------------


class StoredPluginState:
    """The :class:`plugins.sdk.PluginState` of one key store, in the database and its copies."""

    def __init__(self, database: Database, store: str) -> None:
        self._database = database
        self._store = store

    async def get(self, name: str) -> bytes | None:
        return self._database.read(lambda tx: self._get(tx, name))

    def _get(self, tx: sqlite3.Connection, name: str) -> bytes | None:
        row = tx.execute(
            f"SELECT {_AS_BLOBS.format('value')} FROM plugin_state WHERE store = ? AND name = ?", (self._store, name)
        ).fetchone()
        if row is not None and _good(row[0], row[1]):
            return bytes(row[0])
        rescued = _rescue(tx, What.STATE, self._store, name)
        if rescued is None and row is not None:
            raise MaterialDamaged(  # the plugin asked, and its errors are these
                f"the record {name} of key store {self._store} does not have its checksum; "
                "restore it from a copy or a backup"
            )
        return rescued

    async def names(self) -> list[str]:
        rows = self._database.read(
            lambda tx: tx.execute("SELECT name FROM plugin_state WHERE store = ?", (self._store,)).fetchall()
        )
        guard = self._database.guard
        elsewhere = guard.state_names(self._store) if guard is not None else set()
        return sorted({row[0] for row in rows} | elsewhere)

    async def put(self, name: str, value: bytes, *, expect: bytes | None) -> bool:
        def write(tx: sqlite3.Connection) -> bool:
            if expect is None:
                statement = "INSERT INTO plugin_state VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
                written = tx.execute(statement, (self._store, name, value, _checksum(value)))
            else:
                statement = "UPDATE plugin_state SET value = ?, checksum = ? WHERE store = ? AND name = ? AND value = ?"
                written = tx.execute(statement, (value, _checksum(value), self._store, name, expect))
            if written.rowcount == 1:
                _mark(tx, What.STATE, self._store, name, "put")
            return written.rowcount == 1

        return await self._database.write(write)
