"""Key tokens, and the small durable blobs that plugins keep.

Guarantee: a token is returned exactly as it was stored or not at all; a row whose checksum differs is
:class:`StoreDamaged`, named by its material.
"""

from __future__ import annotations

import hashlib
import hmac
import sqlite3

from controlplane.errors import Conflict, StoreDamaged
from controlplane.store.database import Database


def put_token(tx: sqlite3.Connection, *, name: str, uid: str, token: bytes) -> None:
    """Store the token of a material; storing the same again changes nothing. A name belongs to one key for ever."""
    stored = tx.execute(
        "INSERT INTO tokens VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET token = excluded.token, "
        "checksum = excluded.checksum WHERE uid = excluded.uid",
        (name, uid, token, hashlib.sha256(token).digest()),
    )
    if stored.rowcount == 0:
        raise Conflict(f"the key token {name} belongs to another key")


def get_token(tx: sqlite3.Connection, name: str) -> bytes | None:
    """The token of a material, or None if there is none."""
    row = tx.execute("SELECT token, checksum FROM tokens WHERE name = ?", (name,)).fetchone()
    if row is None:
        return None
    token = bytes(row[0])
    if not hmac.compare_digest(hashlib.sha256(token).digest(), bytes(row[1])):
        raise StoreDamaged(f"the key token of {name} does not have its checksum; restore it from a copy or a backup")
    return token


def delete_token(tx: sqlite3.Connection, name: str) -> None:
    """Forget the token of a material."""
    tx.execute("DELETE FROM tokens WHERE name = ?", (name,))


class StoredPluginState:
    """The :class:`plugins.sdk.PluginState` of one key store, in the database."""

    def __init__(self, database: Database, store: str) -> None:
        self._database = database
        self._store = store

    async def get(self, name: str) -> bytes | None:
        row = self._database.read(
            lambda tx: tx.execute(
                "SELECT value FROM plugin_state WHERE store = ? AND name = ?", (self._store, name)
            ).fetchone()
        )
        return bytes(row[0]) if row else None

    async def names(self) -> list[str]:
        rows = self._database.read(
            lambda tx: tx.execute(
                "SELECT name FROM plugin_state WHERE store = ? ORDER BY name", (self._store,)
            ).fetchall()
        )
        return [row[0] for row in rows]

    async def put(self, name: str, value: bytes, *, expect: bytes | None) -> bool:
        def write(tx: sqlite3.Connection) -> bool:
            if expect is None:
                statement = "INSERT INTO plugin_state VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
                return tx.execute(statement, (self._store, name, value)).rowcount == 1
            statement = "UPDATE plugin_state SET value = ? WHERE store = ? AND name = ? AND value = ?"
            return tx.execute(statement, (value, self._store, name, expect)).rowcount == 1

        return await self._database.write(write)
