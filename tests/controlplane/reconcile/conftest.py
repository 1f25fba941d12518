"""Worlds: one with a device, one with the software store, each connected."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from controlplane.clock import ManualClock
from controlplane.schema.keystores import STANDARD
from plugins.memory import MemoryKeyStore
from tests.controlplane.reconcile.world import World


@pytest.fixture(autouse=True)
def fresh_devices() -> Iterator[None]:
    MemoryKeyStore.reset()
    yield
    MemoryKeyStore.reset()


@pytest.fixture
async def bare(tmp_path: Path, clock: ManualClock) -> AsyncIterator[World]:
    """Started, without key stores."""
    world = World(tmp_path, clock)
    await world.start()
    yield world
    await world.stop()


@pytest.fixture
async def world(bare: World) -> World:
    """With the key store ``hsm-a``, connected, and the key ``k`` declared in it."""
    await bare.add_store()
    await bare.connect()
    await bare.add_key()
    return bare


@pytest.fixture
async def software(bare: World) -> World:
    """With the key store ``standard``, connected, and the key ``k`` declared in it."""
    await bare.add_store(STANDARD, STANDARD)
    await bare.connect()
    await bare.add_key(store=STANDARD)
    return bare
