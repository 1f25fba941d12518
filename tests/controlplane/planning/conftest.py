"""A database with the key store ``standard`` to plan against."""

from __future__ import annotations

import pytest

from controlplane.clock import ManualClock
from controlplane.store.database import Database
from tests.controlplane.planning.samples import Planning


@pytest.fixture
async def planning(database: Database, clock: ManualClock) -> Planning:
    planning = Planning(database, clock)
    await planning.start()
    return planning
