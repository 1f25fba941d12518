"""The open load: a process of its own (``python -m tests.benchmarks.openload``) that sends at a rate, come what may.

Who calls it: :func:`run`. Requests are due at fixed moments; a latency is from when a request was due until its answer
was there, so a server that falls behind cannot hide it. Connections are opened ahead and kept; a request for which none
is free waits, and its time counts. TLS or plain. This module imports no AWS library, so that a round starts at once.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
import time
from collections import Counter, deque
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[2]
DRAIN_SECONDS = 2.0


class Job(msgspec.Struct):
    """``rate`` per second for ``seconds``, after ``warm`` seconds that do not count. ``ca``: a PEM file for TLS."""

    port: int
    request: bytes
    rate: float
    seconds: float
    connections: int
    ca: str | None = None
    warm: float = 0.5


class Result(msgspec.Struct):
    """Latencies in milliseconds, of answers 200. ``answers`` by status; ``unanswered`` were due and got none."""

    answers: dict[int, int]
    unanswered: int
    p50: float
    p99: float
    refused_p99: float
    """Of answers 429."""
    body: bytes

    @property
    def good(self) -> float:
        """The part that was answered 200."""
        return self.answers.get(200, 0) / max(sum(self.answers.values()) + self.unanswered, 1)


def run(job: Job, cores: set[int]) -> Result:
    """One round. Raises ``RuntimeError`` if it could not be made."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.openload"],
        input=msgspec.msgpack.encode(job),
        capture_output=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
        cwd=ROOT,
        timeout=60 + job.seconds * 3,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the load failed: {done.stderr.decode()[-600:].strip()}")
    return msgspec.msgpack.decode(done.stdout, type=Result)


# ---- in the load's own process ---------------------------------------------------------------------------------------


class _Run:
    def __init__(self, job: Job) -> None:
        self.job = job
        self.free: list[_Connection] = []
        self.waiting: deque[float] = deque()
        self.answers: Counter[int] = Counter()
        self.latencies: list[float] = []
        self.refused: list[float] = []
        self.due = self.done = 0
        self.counts_from = 0.0
        self.body = b""

    def begin(self, due: float) -> None:
        self.due += due >= self.counts_from
        if self.free:
            self.free.pop().send(due)
        else:
            self.waiting.append(due)

    def answered(self, connection: _Connection, due: float, status: int, body: bytes) -> None:
        if due >= self.counts_from:
            self.done += 1
            self.answers[status] += 1
            took = (time.perf_counter() - due) * 1000
            if status == 200:
                self.latencies.append(took)
                self.body = body
            elif status == 429:
                self.refused.append(took)
        if self.waiting:
            connection.send(self.waiting.popleft())
        else:
            self.free.append(connection)


class _Connection(asyncio.Protocol):
    def __init__(self, run_: _Run) -> None:
        self.run = run_
        self.buffer = b""
        self.due = 0.0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def send(self, due: float) -> None:
        assert self.transport is not None
        self.due = due
        self.transport.write(self.run.job.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.buffer[: end + 2].lower()
        at = head.find(b"\r\ncontent-length:")
        size = int(head[at + 17 : head.index(b"\r\n", at + 2)])
        if len(self.buffer) < end + 4 + size:
            return
        body, self.buffer = self.buffer[end + 4 :], b""
        self.run.answered(self, self.due, int(head[9:12]), body)


async def _load(job: Job) -> Result:
    run_ = _Run(job)
    loop = asyncio.get_running_loop()
    context = ssl.create_default_context(cafile=job.ca) if job.ca else None
    host = "localhost" if context else None
    for _ in range(job.connections):
        made = await loop.create_connection(
            lambda: _Connection(run_), "127.0.0.1", job.port, ssl=context, server_hostname=host
        )
        run_.free.append(made[1])
    start = time.perf_counter() + 0.1
    run_.counts_from = start + job.warm
    total = int(job.rate * (job.seconds + job.warm))
    sent = 0
    while sent < total:
        now = time.perf_counter()
        while sent < total and (due := start + sent / job.rate) <= now:
            run_.begin(due)
            sent += 1
        await asyncio.sleep(0.0005)
    until = time.perf_counter() + DRAIN_SECONDS
    while run_.done < run_.due and time.perf_counter() < until:  # noqa: ASYNC110 - each answer would set an event
        await asyncio.sleep(0.005)
    return Result(
        answers=dict(run_.answers),
        unanswered=run_.due - run_.done,
        p50=_part(run_.latencies, 0.5),
        p99=_part(run_.latencies, 0.99),
        refused_p99=_part(run_.refused, 0.99),
        body=run_.body,
    )


def _part(latencies: list[float], part: float) -> float:
    ordered = sorted(latencies)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)] if ordered else float("inf")


def main() -> None:
    import uvloop

    job = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Job)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(_load(job))
    sys.stdout.buffer.write(msgspec.msgpack.encode(result))


if __name__ == "__main__":
    main()
