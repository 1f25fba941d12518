"""Facts about this server that outlive it: its id, its account. Written once, or forgotten."""

from __future__ import annotations

import sqlite3


def get(tx: sqlite3.Connection, name: str) -> str | None:
    row = tx.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    return row[0] if row else None


def put_once(tx: sqlite3.Connection, name: str, value: str) -> str:
    """Write the fact if it is new; the value that holds."""
    tx.execute("INSERT INTO facts VALUES (?, ?) ON CONFLICT DO NOTHING", (name, value))
    held = get(tx, name)
    assert held is not None
    return held


def forget(tx: sqlite3.Connection, name: str) -> None:
    """It is no fact any more."""
    tx.execute("DELETE FROM facts WHERE name = ?", (name,))
