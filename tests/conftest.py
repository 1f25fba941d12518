"""Shared by all tests: the event loop, a clock that stands still, a database on disk, and how hard to search."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from controlplane.clock import ManualClock
from controlplane.store.database import Database

_HEALTH = (HealthCheck.too_slow, HealthCheck.function_scoped_fixture)
settings.register_profile("ci", deadline=None, suppress_health_check=_HEALTH, database=None, derandomize=True)
settings.register_profile("long", parent=settings.get_profile("ci"), max_examples=2_000, derandomize=False)
"""A change is judged by the same examples everywhere; the long run looks for new ones."""
settings.load_profile("long" if os.environ.get("KEYSTEAD_LONG") == "1" else "ci")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock() -> ManualClock:
    """A wall clock that moves only when told to."""
    return ManualClock()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A new database, open."""
    database = Database(tmp_path / "keystead.db")
    database.open()
    yield database
    database.close()
