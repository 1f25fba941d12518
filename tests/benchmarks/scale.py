"""One spec set of 1,000, 10,000 and 100,000 keys: plan, apply, and a pass over all of them that has nothing to do.

Each size has a server of its own. Peaks are the server's resident memory at most during a step, all of it.
The aims are those of 100,000 keys: a plan under 20 seconds and 1 GB, an idle pass under 30 seconds of one core, and
costs for each key that do not grow with their number.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from controlplane.schema.plans import Applied, Plan, Progress
from tests.benchmarks import documents, figures, machine, servers
from tests.benchmarks.figures import Figure
from tests.benchmarks.servers import Server

SIZES = (1_000, 10_000, 100_000)
PLAN_SECONDS = 20.0
PLAN_MEGABYTES = 1_000.0
RESYNC_SECONDS = 30.0
GROWS_AT_MOST = 1.5
"""How much more a key may cost at the largest size than at the next smaller one."""
POLL_SECONDS = 1.0
SETTLE_SECONDS = 1_200.0
IDLE_SECONDS = 600.0


class _Costs(msgspec.Struct):
    """Seconds of CPU for each key, of one size."""

    keys: int
    plan: float
    apply: float
    resync: float


def run(*, sizes: Sequence[int] = SIZES) -> list[Figure]:
    said: list[Figure] = []
    costs: list[_Costs] = []
    for keys in sizes:
        figures_, cost = _size(keys)
        said += figures_
        costs.append(cost)
    if len(costs) > 1:
        before, last = costs[-2:]
        for step in ("plan", "apply", "resync"):
            ratio = getattr(last, step) / getattr(before, step)
            grown = Figure(f"{step}: cost of a key at {last.keys:,} to that at {before.keys:,}", ratio, "times")
            said.append(figures.under(grown, GROWS_AT_MOST, f"under {GROWS_AT_MOST:g}"))
    return said


def _size(keys: int) -> tuple[list[Figure], _Costs]:
    body = msgspec.json.encode({"specSet": documents.SPEC_SET, "documents": documents.fleet(keys)})
    with servers.directory() as work:
        with servers.keystead(work / "data") as server:
            machine.wait_until_idle(server.pid)
            said, plan, planned = _plan(server, body, keys, "none exists")
            if plan.counts.create != keys:
                raise RuntimeError(f"the plan counts {plan.counts}")
            more, applied = _apply(server, plan, keys)
            again, unchanged, _ = _plan(server, body, keys, "all exist unchanged")
            if unchanged.counts.unchanged != keys or unchanged.changes:
                raise RuntimeError(f"the second plan counts {unchanged.counts}")
        resync, passed = _resync(work / "data", keys)
    return [*said, *more, *again, *resync], _Costs(keys, planned / keys, applied / keys, passed / keys)


def _plan(server: Server, body: bytes, keys: int, what: str) -> tuple[list[Figure], Plan, float]:
    machine.forget_peak(server.pid)
    cpu, started = machine.cpu_seconds(server.pid), time.perf_counter()
    content = server.ask("POST", "/v1/plans", body)
    took, used = time.perf_counter() - started, machine.cpu_seconds(server.pid) - cpu
    peak = Figure("  memory at most", machine.memory_megabytes(server.pid, "VmHWM"), "MB")
    said = [
        figures.under(Figure(f"plan {keys:,} keys, {what}", took, "s"), PLAN_SECONDS, f"under {PLAN_SECONDS:g} s"),
        Figure("  CPU of it", used, "s"),
        figures.under(peak, PLAN_MEGABYTES, f"under {PLAN_MEGABYTES:,g} MB"),
    ]
    return said, msgspec.json.decode(content, type=Plan), used


def _apply(server: Server, plan: Plan, keys: int) -> tuple[list[Figure], float]:
    machine.forget_peak(server.pid)
    cpu, started = machine.cpu_seconds(server.pid), time.perf_counter()
    content = server.ask("POST", f"/v1/plans/{plan.id}/apply", b"{}")
    written = time.perf_counter() - started
    if len(msgspec.json.decode(content, type=Applied).objects) != keys:
        raise RuntimeError("not every key was written")
    while True:
        content = server.ask("GET", f"/v1/spec-sets/{documents.SPEC_SET}/progress")
        progress = msgspec.json.decode(content, type=Progress)
        took = time.perf_counter() - started
        if progress.pending == 0:
            break
        if progress.problems or took > SETTLE_SECONDS:
            raise RuntimeError(f"{progress.pending} keys are pending after {took:.0f} s: {progress.problems[:1]}")
        time.sleep(POLL_SECONDS)
    used = machine.cpu_seconds(server.pid) - cpu
    return [
        Figure(f"apply {keys:,} keys: desired state is durable after", written, "s"),
        Figure("  every key is made after", took, "s"),
        Figure("  keys per second", keys / took, "per s"),
        Figure("  CPU per key", used / keys * 1e6, "us"),
        Figure("  memory at most", machine.memory_megabytes(server.pid, "VmHWM"), "MB"),
    ], used


def _resync(data: Path, keys: int) -> tuple[list[Figure], float]:
    """A restarted server looks at every object once."""
    with servers.keystead(data) as server:
        waited = machine.wait_until_idle(server.pid, most=IDLE_SECONDS)
        used = machine.cpu_seconds(server.pid)
        figure = figures.under(
            Figure(f"start and pass over {keys:,} keys as declared: CPU", used, "s"),
            RESYNC_SECONDS,
            f"under {RESYNC_SECONDS:g} s",
        )
        return [
            figure,
            Figure("  over after", waited, "s"),
            Figure("  memory at most", machine.memory_megabytes(server.pid, "VmHWM"), "MB"),
        ], used
