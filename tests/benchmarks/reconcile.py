"""A pass of the reconciler over keys that are as declared, in this process: it must write nothing and cost little.

The server is the real one without its listener. The keys are made by a plan and its apply, as over the API.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from typing import Any

import uvloop

from controlplane import server
from controlplane.api.services import Services
from controlplane.planning import apply, planner
from controlplane.planning.live import Surroundings
from controlplane.reconcile.runtime import Runtime
from controlplane.schema.documents import decode_documents, received
from controlplane.settings import dev_settings
from controlplane.store import objects
from tests.benchmarks import documents, figures, servers
from tests.benchmarks.figures import Figure

SETTLE_SECONDS = 300.0
POLL_SECONDS = 0.5


def run(*, keys: int, rounds: int = 3) -> list[Figure]:
    with servers.directory() as work, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        settings = dev_settings(0, work / "data")
        server.configure_logging("warning")

        async def all_of_it() -> list[Figure]:
            await server.provision(settings)
            async with server.running(settings) as services:
                return await _measure(services, keys, rounds)

        return runner.run(all_of_it())


async def _measure(services: Services, keys: int, rounds: int) -> list[Figure]:
    made, made_cpu = await _make(services, keys)
    runtime: Any = getattr(services.look_at, "__self__", None)
    if not isinstance(runtime, Runtime):
        raise RuntimeError("the reconciler is not where this benchmark looks for it: Services.look_at of a Runtime")
    before = services.database.read(objects.current_version)
    walls, cpus = [], []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        runtime.resync()
        if len(runtime.queue) < keys:
            raise RuntimeError(f"a resync queued {len(runtime.queue)} objects")
        while len(runtime.queue):  # noqa: ASYNC110 - the queue has no event for "empty", and needs none
            await asyncio.sleep(0.005)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    after = services.database.read(objects.current_version)
    said = [
        Figure(f"apply {keys:,} keys in process: all made after", made, "s"),
        Figure("  CPU of it", made_cpu, "s"),
        figures.median(f"reconcile {keys:,} keys that are as declared", walls, "s"),
        figures.median("  CPU of it", cpus, "s"),
        figures.median("  CPU per key", [each / keys * 1e6 for each in cpus], "us"),
    ]
    wrote = Figure("  versions written by it", float(after - before), "")
    wrote.aim, wrote.reached, wrote.loud = "none", after == before, after != before
    return [*said, wrote]


async def _make(services: Services, keys: int) -> tuple[float, float]:
    located = received(decode_documents(documents.fleet(keys)))
    settings, now = services.settings, services.clock.now()
    around = Surroundings(
        account="000000000000",
        server_id=services.server_id,
        default_region=settings.region,
        regions=settings.regions,
        now=now,
        plan_id="benchmark",
    )

    def write(tx: sqlite3.Connection) -> None:
        draft = planner.make_plan(tx, located, documents.SPEC_SET, around)
        apply.apply_draft(tx, draft, account=settings.account, by="benchmark", now=now)

    await services.database.write(write)
    wall, cpu = time.perf_counter(), time.process_time()
    while services.database.read(lambda tx: objects.unsynced(tx, documents.SPEC_SET, 0))[0]:
        if time.perf_counter() - wall > SETTLE_SECONDS:
            raise RuntimeError("the keys are not made")
        await asyncio.sleep(POLL_SECONDS)
    return time.perf_counter() - wall, time.process_time() - cpu
