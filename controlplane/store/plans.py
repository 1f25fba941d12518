"""Plans between ``plan`` and ``apply``: what was shown, and the documents that it came from."""

from __future__ import annotations

import sqlite3
from datetime import datetime

import msgspec


class StoredPlan(msgspec.Struct, frozen=True):
    id: str
    spec_set: str
    created_at: float
    expires_at: float
    applied_at: float | None
    plan: bytes
    desired: bytes


def put(tx: sqlite3.Connection, stored: StoredPlan) -> None:
    """Keep a plan, and drop those that expired a day ago."""
    tx.execute("DELETE FROM plans WHERE expires_at < ?", (stored.created_at - 86_400,))
    tx.execute("INSERT INTO plans VALUES (?, ?, ?, ?, ?, ?, ?)", msgspec.structs.astuple(stored))


def get(tx: sqlite3.Connection, plan_id: str) -> StoredPlan | None:
    row = tx.execute("SELECT * FROM plans WHERE id = ?", (plan_id,)).fetchone()
    return StoredPlan(*row) if row else None


def mark_applied(tx: sqlite3.Connection, plan_id: str, now: datetime) -> None:
    tx.execute("UPDATE plans SET applied_at = ? WHERE id = ?", (now.timestamp(), plan_id))
