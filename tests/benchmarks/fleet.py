"""A fleet of keys on a running server, over the reconciliation API: plan, apply, plan again, memory on the way.

While a plan is made and while keys are made, another connection asks ``GET /healthz``: its longest wait is how long
every other caller of the server is held up.
"""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections.abc import Iterator

import msgspec

from controlplane.schema.plans import Applied, Plan, Progress
from tests.benchmarks import documents, figures, load, machine, servers, wire
from tests.benchmarks.figures import Figure
from tests.benchmarks.servers import Server

PLAN_SECONDS = 3.0
IDLE_MEGABYTES = 150.0
SETTLE_SECONDS = 300.0
POLL_SECONDS = 0.5
"""Between what the command line waits at first (0.25) and at last (2.0): asking costs the server, too."""


def run(*, keys: int, rounds: int = 3) -> list[Figure]:
    body = msgspec.json.encode({"specSet": documents.SPEC_SET, "documents": documents.fleet(keys)})
    said: list[Figure] = []
    memory: list[Figure] = []
    with servers.directory() as work:
        with servers.keystead(work / "data") as server:
            machine.wait_until_idle(server.pid)
            memory.append(
                figures.under(_memory(server, "idle after start"), IDLE_MEGABYTES, f"under {IDLE_MEGABYTES:g} MB")
            )
            figures_, plan = _plans(server, body, f"plan {keys:,} keys, none exists", rounds)
            if plan.counts.create != keys or len(plan.changes) != keys:
                raise RuntimeError(f"the plan counts {plan.counts}")
            said += figures_
            memory.append(_memory(server, f"after {rounds} plans of {keys:,} keys"))
            said += _apply(server, plan, keys)
            memory.append(_memory(server, f"with {keys:,} keys after apply"))
            figures_, again = _plans(server, body, f"plan {keys:,} keys, all exist unchanged", rounds)
            if again.counts.unchanged != keys or again.changes:
                raise RuntimeError(f"the second plan counts {again.counts}")
            said += figures_
            memory.append(_memory(server, "after planning again"))
            memory.append(_memory(server, "  at most until here", "VmHWM"))
        with servers.keystead(work / "data") as server:
            cpu = machine.cpu_seconds(server.pid)
            waited = machine.wait_until_idle(server.pid)
            used = machine.cpu_seconds(server.pid) - cpu
            said.append(Figure(f"restart with {keys:,} keys: ready after", server.start_seconds, "s"))
            said.append(Figure("  then its resync is over after", waited, "s"))
            said.append(Figure("  CPU of the resync", used, "s"))
            memory.append(_memory(server, f"restarted, {keys:,} keys after the resync"))
            _use_all(server, plan)
            memory.append(_memory(server, "  and after an Encrypt with each of them"))
    return [*said, *memory]


def _plans(server: Server, body: bytes, what: str, rounds: int) -> tuple[list[Figure], Plan]:
    """The same plan several times: it changes nothing but the table of plans."""
    walls, cpus, plan = [], [], None
    with _stalls(server) as stalls:
        for _ in range(rounds):
            cpu, started = machine.cpu_seconds(server.pid), time.perf_counter()
            content = server.ask("POST", "/v1/plans", body)
            walls.append(time.perf_counter() - started)
            cpus.append(machine.cpu_seconds(server.pid) - cpu)
            plan = msgspec.json.decode(content, type=Plan)
    assert plan is not None
    figure = figures.under(figures.median(what, walls, "s"), PLAN_SECONDS, f"under {PLAN_SECONDS:g} s")
    stall = Figure("  every other caller waits at most", max(stalls), "s")
    return [figure, figures.median("  CPU of it", cpus, "s"), stall], plan


def _memory(server: Server, when: str, name: str = "VmRSS") -> Figure:
    time.sleep(0.5)
    return Figure(
        f"memory {when}" if not when.startswith(" ") else when, machine.memory_megabytes(server.pid, name), "MB"
    )


def _apply(server: Server, plan: Plan, keys: int) -> list[Figure]:
    cpu, started = machine.cpu_seconds(server.pid), time.perf_counter()
    with _stalls(server) as stalls:
        applied = msgspec.json.decode(server.ask("POST", f"/v1/plans/{plan.id}/apply", b"{}"), type=Applied)
        written = time.perf_counter() - started
        while True:
            progress = msgspec.json.decode(
                server.ask("GET", f"/v1/spec-sets/{documents.SPEC_SET}/progress"), type=Progress
            )
            took = time.perf_counter() - started
            if progress.pending == 0:
                break
            if progress.problems or took > SETTLE_SECONDS:
                raise RuntimeError(f"{progress.pending} keys are pending after {took:.0f} s: {progress.problems[:1]}")
            time.sleep(POLL_SECONDS)
    if progress.total != keys or len(applied.objects) != keys:
        raise RuntimeError(f"{progress.total} objects were made, {len(applied.objects)} answered")
    used = machine.cpu_seconds(server.pid) - cpu
    return [
        Figure(f"apply {keys:,} keys: desired state is durable after", written, "s"),
        Figure("  every key is made after", took, "s"),
        Figure("  keys per second", keys / took, "per s"),
        Figure("  CPU per key", used / keys * 1e6, "us"),
        Figure("  every other caller waits at most", max(stalls), "s"),
    ]


@contextlib.contextmanager
def _stalls(server: Server) -> Iterator[list[float]]:
    """How long each ``GET /healthz`` takes meanwhile, one after the other."""
    took: list[float] = [0.0]
    over = threading.Event()

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
        while not over.wait(0.02):
            started = time.perf_counter()
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            took.append(time.perf_counter() - started)
        connection.close()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield took
    finally:
        over.set()
        thread.join()


def _use_all(server: Server, plan: Plan) -> None:
    requests = [
        wire.signed(server, "Encrypt", {"KeyId": f"alias/fleet/{number:05}", "Plaintext": "a2V5c3RlYWQ="})
        for number in range(len(plan.changes))
    ]
    expected = load.Expected(blobs={"CiphertextBlob": 60})
    load.run(server, requests, expected, connections=16, seconds=0)
