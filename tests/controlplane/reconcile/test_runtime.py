"""The running reconciler: who leads, what it follows, what falls due, and how it stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from controlplane.clock import ManualClock
from controlplane.errors import StoreDamaged
from controlplane.reconcile import runtime as module
from controlplane.reconcile.keys import KeyReconciler
from controlplane.reconcile.runtime import Runtime
from controlplane.schema.conditions import ConditionType, Reason, find_condition
from controlplane.schema.keystores import ConnectionState
from controlplane.store.changes import ChangeSignal
from tests.controlplane.reconcile.world import HSM, World

DAY = timedelta(days=1)


class Running:
    """A world with a runtime in place of the tests' single passes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.signal = ChangeSignal(world.database)
        self.signal.start()
        self.runtime = self._runtime()

    def _runtime(self) -> Runtime:
        world = self.world
        return Runtime(
            world.database, world.calls, world.clock, world.audit, self.signal, world.options_of, world.listeners
        )

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for the store to change until something holds; the test's timeout is the only limit."""
        while True:
            seen = self.world.version()
            if holds():
                return
            await self.signal.wait(seen, 600)

    def made(self, name: str = "k") -> bool:
        key = self.world.find(name)
        return key is not None and key.status.current is not None

    def is_ready(self, reason: Reason) -> bool:
        found = find_condition(self.world.key().status.conditions, ConditionType.READY)
        return found is not None and found.reason is reason

    async def close(self) -> None:
        await self.runtime.stop()
        await self.signal.stop()


@pytest.fixture
async def running(tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    monkeypatch.setattr(module, "TICK_SECONDS", 0.002)
    monkeypatch.setattr(module, "LEASE_RETRY_SECONDS", 0.002)
    world = World(tmp_path, clock)
    await world.start(lease=False)
    running = Running(world)
    yield running
    await running.close()
    await world.stop()


async def test_what_was_declared_before_the_start_is_looked_at(running: Running) -> None:
    await running.world.add_store()
    await running.world.add_key()
    await running.runtime.start()
    await running.until(running.made)
    assert running.world.store().status.connection is ConnectionState.CONNECTED


async def test_what_is_declared_while_it_runs_is_picked_up(running: Running) -> None:
    await running.runtime.start()
    await running.world.add_store()
    await running.world.add_key()
    await running.until(running.made)
    await running.world.change("k", enabled=False)
    await running.until(lambda: running.world.key().status.observed_generation == 2)


async def test_keys_are_looked_at_as_soon_as_their_store_comes_or_goes(running: Running) -> None:
    world = running.world
    await world.add_store()
    await world.add_key()
    await running.runtime.start()
    await running.until(running.made)
    await world.change_store(HSM, connected=False)
    await running.until(lambda: running.is_ready(Reason.UNAVAILABLE))
    await world.change_store(HSM, connected=True)
    await running.until(lambda: running.is_ready(Reason.ENABLED))


async def test_a_deletion_is_carried_out_when_the_clock_reaches_it_while_it_runs(running: Running) -> None:
    world = running.world
    await world.add_store()
    await world.add_key()
    await world.add_key("other")
    await running.runtime.start()
    await running.until(lambda: running.made() and running.made("other"))
    due = await world.schedule()
    await running.until(lambda: world.key().status.observed_generation == 2)
    world.clock.advance(due - world.clock.now() - timedelta(seconds=1))
    # Another key's passes show that the runtime went on and that the deletion was not carried out early.
    for number in range(5):
        await world.change("other", description=str(number))
        await running.until(
            lambda: world.key("other").status.observed_generation == world.key("other").metadata.generation
        )
    assert world.find() is not None
    world.clock.advance(1)
    await running.until(lambda: world.find() is None)
    assert world.in_device() == world.in_status()


async def test_a_deletion_that_fell_due_while_nothing_ran_is_carried_out_after_the_start(running: Running) -> None:
    world = running.world
    await world.add_store()
    await world.add_key()
    await world.schedule()
    world.clock.advance(8 * DAY)
    await running.runtime.start()
    await running.until(lambda: world.find() is None)


async def test_one_runtime_leads_and_the_other_takes_over_when_it_stops(running: Running) -> None:
    world = running.world
    await world.add_store()
    second = running._runtime()
    await running.runtime.start()
    await running.until(lambda: world.store().status.connection is ConnectionState.CONNECTED)
    await second.start()
    await world.add_key()
    await running.until(running.made)
    assert (running.runtime.lease.epoch, second.lease.epoch) == (1, 0)
    await running.runtime.stop()
    await world.add_key("later")
    await running.until(lambda: running.made("later"))
    assert second.lease.epoch == 2
    await second.stop()


async def test_stopping_lets_a_running_pass_finish_and_hands_out_nothing_more(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()
    real = KeyReconciler.reconcile

    async def reconcile(self: KeyReconciler, uid: str) -> object:
        entered.set()
        await leave.wait()
        return await real(self, uid)

    monkeypatch.setattr(KeyReconciler, "reconcile", reconcile)
    await running.world.add_store()
    await running.world.connect()
    await running.world.add_key()
    await running.runtime.start()
    await entered.wait()
    stopping = asyncio.ensure_future(running.runtime.stop())
    await asyncio.sleep(0)
    running.runtime.look_at(running.world.key().kind, running.world.key().metadata.uid)
    leave.set()
    await stopping
    assert running.made()
    assert running.world.open_attempts() == 0


async def test_a_pass_that_fails_unexpectedly_is_tried_again_and_stops_no_worker(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controlplane.reconcile.queue.BACKOFF_FIRST", 0.001)
    failures = iter([ValueError("bug"), StoreDamaged("for a moment"), TimeoutError()])
    real = KeyReconciler.reconcile

    async def reconcile(self: KeyReconciler, uid: str) -> object:
        for failure in failures:
            raise failure
        return await real(self, uid)

    monkeypatch.setattr(KeyReconciler, "reconcile", reconcile)
    await running.world.add_store()
    await running.world.connect()
    await running.world.add_key()
    await running.runtime.start()
    with capture_logs() as logs:
        await running.until(running.made)
    assert [entry["error"] for entry in logs if "error" in entry] == ["ValueError", "for a moment", "TimeoutError"]


async def test_a_database_that_cannot_be_read_for_a_moment_does_not_end_the_reconciler(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([StoreDamaged("for a moment")] * 3)
    real = module.objects.changes_since

    def changes_since(*arguments: object) -> object:
        for failure in failures:
            raise failure
        return real(*arguments)  # type: ignore[arg-type]

    await running.world.add_store()
    await running.runtime.start()
    await running.until(lambda: running.world.store().status.connection is ConnectionState.CONNECTED)
    monkeypatch.setattr(module.objects, "changes_since", changes_since)
    await running.world.add_key()
    await running.until(running.made)
