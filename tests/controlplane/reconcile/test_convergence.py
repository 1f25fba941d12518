"""Whatever is declared, whatever fails and whenever the process dies: at most three passes later all is as declared.

A model of the world is driven by hypothesis: edits, faults of the device, crashes between a call and its record,
restarts, a clock that jumps. After every step nothing was destroyed before its window. At the end the faults cease, and
then three passes over each key suffice, the next one writes nothing, the device holds exactly the keys' material.

``KEYSTEAD_LONG=1`` searches longer.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Coroutine
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from controlplane.clock import ManualClock
from controlplane.domain.schedule import deletion_due
from controlplane.errors import InvalidState
from controlplane.schema.conditions import ConditionStatus, ConditionType, Reason, find_condition
from controlplane.schema.keys import Management
from controlplane.schema.meta import Key, Kind
from plugins.memory import MemoryKeyStore
from tests.controlplane.reconcile.world import HSM, World

T = TypeVar("T")

LONG = os.environ.get("KEYSTEAD_LONG") == "1"
NAMES = ("a", "b", "c")
names = st.sampled_from(NAMES)


class Convergence(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        MemoryKeyStore.reset()
        # Syncing a real disk tests nothing here and takes most of the time.
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.directory = Path(tempfile.mkdtemp(prefix="keystead-convergence-", dir=memory))
        self.runner = asyncio.Runner()
        self.clock = ManualClock()
        self.latest = self.clock.now()
        self.world = World(self.directory, self.clock)
        self.run(self.world.start())
        self.run(self.world.add_store())
        self.run(self.world.connect())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def live(self) -> list[Key]:
        return cast("list[Key]", self.world.all(Kind.KEY))

    # ---- people ----------------------------------------------------------------------------------------------------

    @rule(name=names)
    def declare(self, name: str) -> None:
        if self.world.find(name) is None:
            self.run(self.world.add_key(name))

    @rule(name=names, enabled=st.booleans(), description=st.sampled_from(["", "x"]), paused=st.booleans())
    def edit(self, name: str, enabled: bool, description: str, paused: bool) -> None:
        if self.world.find(name) is not None:
            management = Management.PAUSED if paused and description else Management.FULL
            self.run(self.world.change(name, enabled=enabled, description=description, management=management))

    @rule(name=names, days=st.integers(7, 9))
    def schedule(self, name: str, days: int) -> None:
        key = self.world.find(name)
        if key is not None and key.metadata.deletion is None:
            self.run(self.world.schedule(name, days))

    @rule(name=names)
    def cancel(self, name: str) -> None:
        key = self.world.find(name)
        if key is None or key.metadata.deletion is None:
            return
        try:
            self.run(self.world.cancel(name))
        except InvalidState:
            assert deletion_due(key.metadata.deletion, self.latest), "only what may be gone already cannot be kept"

    @rule(connected=st.booleans())
    def connect_or_disconnect(self, connected: bool) -> None:
        self.run(self.world.change_store(HSM, connected=connected))
        self.run(self.world.connect())

    # ---- the world -------------------------------------------------------------------------------------------------

    @rule(days=st.sampled_from([-20, -1, 0.1, 3, 6.9999, 7, 10]))
    def time_passes(self, days: float) -> None:
        self.clock.advance(timedelta(days=days))
        self.latest = max(self.latest, self.clock.now())

    @rule(
        call=st.sampled_from(["create", "create", "destroy", "destroy", "observe"]),
        effect=st.sampled_from(["lost-answer", "lost-request", "unavailable", "refuse", "error"]),
        at=st.integers(0, 1),
    )
    def device_will_fail(self, call: str, effect: str, at: int) -> None:
        if self.world.connections.names():
            self.world.fault(call, effect, at)

    @rule()
    def restart(self) -> None:
        self.run(self.world.restart())

    # ---- the reconciler --------------------------------------------------------------------------------------------

    @rule(name=names)
    def one_pass(self, name: str) -> None:
        if self.world.find(name) is not None:
            self.run(self.world.look(name))

    @precondition(lambda self: bool(self.world.connections.names()))
    @rule(name=names, call=st.sampled_from(["create", "destroy"]), happened=st.booleans(), recorded=st.booleans())
    def die_in_a_pass(self, name: str, call: str, happened: bool, recorded: bool) -> None:
        """``kill -9`` before or after the device acted, or after its answer and before that is written."""
        if self.world.find(name) is not None:
            self.run(self._die(name, call, happened, recorded))
            self.run(self.world.restart())

    async def _die(self, name: str, call: str, happened: bool, recorded: bool) -> None:
        plugin: Any = self.world.connections.get(HSM).plugin
        real, entered = getattr(plugin, call), asyncio.Event()

        async def never(*arguments: object) -> None:
            entered.set()
            await asyncio.Event().wait()

        async def act(ref: object) -> object:
            if happened:
                try:
                    answer = await real(ref)
                except Exception:
                    return await never()
                if recorded:
                    # The answer arrives, and the process dies in the write that would record it.
                    self.world.database.write = never  # type: ignore[method-assign]
                    return answer
            return await never()

        setattr(plugin, call, act)
        dying = asyncio.ensure_future(self.world.look(name))
        watching = asyncio.ensure_future(entered.wait())
        await asyncio.wait([dying, watching], return_when=asyncio.FIRST_COMPLETED)
        for task in (dying, watching):
            task.cancel()
        await asyncio.gather(dying, watching, return_exceptions=True)

    # ---- always ----------------------------------------------------------------------------------------------------

    @invariant()
    def nothing_was_destroyed_before_its_window(self) -> None:
        device = self.world.in_device()
        for key in self.live():
            may_be_gone = deletion_due(key.metadata.deletion, self.latest)
            for material in key.status.materials:
                assert material.name in device or may_be_gone, f"{key.metadata.name} lost its material"

    @invariant()
    def no_key_has_two_materials(self) -> None:
        assert all(len(key.status.materials) <= 1 for key in self.live())

    # ---- at the end ------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            self.converge()
        finally:
            self.run(self.world.stop())
            self.runner.close()
            shutil.rmtree(self.directory)

    def converge(self) -> None:
        # Time never goes back behind what it has been, or a deletion that has begun would have to wait for it.
        self.clock.advance(max(self.latest - self.clock.now(), timedelta()))
        for key in self.live():
            self.run(self.world.change(key.metadata.name, management=Management.FULL))
        self.run(self.world.change_store(HSM, connected=True))
        self.run(self.world.restart())  # scripted faults live in the plugin's instance
        for _ in range(3):
            self.pass_over_all()
        keys, version, now = self.live(), self.world.version(), self.clock.now()
        for key in keys:
            self.check_settled(key, now)
        assert self.world.in_device() == self.world.in_status(), "no orphan, and no key without its material"
        assert self.world.open_attempts() == 0
        self.pass_over_all()
        assert self.world.version() == version, "the pass after is a no-op"
        self.run(self.world.restart())
        self.pass_over_all()
        assert self.live() == keys, "and so is one by another process"

    def pass_over_all(self) -> None:
        for key in self.live():
            self.run(self.world.look(key.metadata.name))

    def check_settled(self, key: Key, now: datetime) -> None:
        assert not deletion_due(key.metadata.deletion, now), "what is due is gone"
        synced = find_condition(key.status.conditions, ConditionType.SYNCED)
        assert synced is not None
        assert (synced.status, synced.reason) == (ConditionStatus.TRUE, Reason.UP_TO_DATE)
        assert synced.observed_generation == key.metadata.generation
        if key.metadata.deletion is None:
            assert len(key.status.materials) == 1


TestConvergence = Convergence.TestCase
TestConvergence.settings = settings(
    max_examples=1_000 if LONG else 30, stateful_step_count=60 if LONG else 25, deadline=None, database=None
)
