"""The load: a process of its own (``python -m tests.benchmarks.load``) that sends prepared requests over raw sockets.

Who calls it: :func:`run` in the benchmarks' process, which passes a :class:`Job` and gets a :class:`Result`. Each
connection has one request in flight and keeps alive; a server that closes is connected to again. Every answer's status
is checked, one in a hundred is decoded and compared. uvloop, no HTTP library: the generator must cost much less than
the server, and is the same for every server. This module imports no AWS library, so that a round starts at once.
"""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tests.benchmarks import machine

if TYPE_CHECKING:
    from tests.benchmarks.servers import Server

ROOT = Path(__file__).resolve().parents[2]

SAMPLE = 100


class Expected(msgspec.Struct):
    """What an answer is. ``equal`` are members with their values, ``blobs`` members that hold base64 of at least so
    many octets; ``members`` is false for a body that is not looked into."""

    status: int = 200
    equal: dict[str, str] = {}
    blobs: dict[str, int] = {}
    members: bool = True


class Job(msgspec.Struct):
    """``seconds`` after ``warm`` seconds, or if ``seconds`` is 0 every request once."""

    port: int
    pid: int
    connections: int
    requests: list[bytes]
    expected: Expected
    seconds: float = 2.0
    warm: float = 0.3


class Result(msgspec.Struct):
    """``rate`` per second; latencies in microseconds; ``cpu`` microseconds of the server's processor per request."""

    rate: float
    answers: int
    sampled: int
    p50: float
    p99: float
    cpu: float
    body: bytes
    """The last answer that was compared."""


def run(
    server: Server,
    requests: Sequence[bytes],
    expected: Expected,
    *,
    connections: int,
    seconds: float,
    warm: float = 0.3,
    core: int | None = None,
    cores: Collection[int] | None = None,
) -> Result:
    """One round in a process of its own. Raises ``RuntimeError`` if an answer was not as expected."""
    job = Job(server.port, server.pid, connections, list(requests), expected, seconds, warm)

    def pin() -> None:
        os.sched_setaffinity(0, cores or {machine.load_core() if core is None else core})

    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.load"],
        input=msgspec.msgpack.encode(job),
        capture_output=True,
        preexec_fn=pin,
        cwd=ROOT,
        timeout=max(300, seconds * 10),
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"load on {server.name} failed: {done.stderr.decode()[-600:].strip()}")
    return msgspec.msgpack.decode(done.stdout, type=Result)


# ---- in the load's own process ---------------------------------------------------------------------------------------


class _Run:
    """What the connections of one round share."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.status = b"%d" % job.expected.status
        self.left = len(job.requests) if job.seconds == 0 else None
        self.sent = self.answers = self.sampled = 0
        self.measuring = job.seconds == 0
        self.stopped = False
        self.latencies: list[float] = []
        self.body = b""
        self.open = 0
        self.finished = asyncio.get_running_loop().create_future()

    def next(self) -> bytes | None:
        if self.stopped or (self.left is not None and self.sent >= self.left):
            return None
        request = self.job.requests[self.sent % len(self.job.requests)]
        self.sent += 1
        return request

    def answered(self, head: bytes, body: bytes, began: float) -> None:
        if head[9:12] != self.status:
            raise AnswerWrong(f"{head[:100]!r} {body[:300]!r}")
        if not self.measuring:
            return
        self.answers += 1
        self.latencies.append(time.perf_counter() - began)
        if self.answers % SAMPLE == 1:
            self.sampled += 1
            self.body = body
            self.compare(body)

    def compare(self, body: bytes) -> None:
        expected = self.job.expected
        if not expected.members:
            return
        members = msgspec.json.decode(body)
        for name, value in expected.equal.items():
            if members.get(name) != value:
                raise AnswerWrong(f"{name} is {members.get(name)!r}, not {value!r}")
        for name, size in expected.blobs.items():
            if len(base64.b64decode(members.get(name, ""), validate=True)) < size:
                raise AnswerWrong(f"{name} is {members.get(name)!r}")

    def end(self, error: Exception | None = None) -> None:
        if self.finished.done():
            return
        if error is not None:
            self.finished.set_exception(error)
        elif self.open == 0:
            self.finished.set_result(None)


class AnswerWrong(Exception):
    """An answer that is not what was expected ends the round."""


class _Connection(asyncio.Protocol):
    def __init__(self, run_: _Run) -> None:
        self.run = run_
        self.buffer = b""
        self.began = 0.0
        self.waiting = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport = transport  # type: ignore[assignment]
        self.run.open += 1
        self.send()

    def send(self) -> None:
        assert self.transport is not None
        request = self.run.next()
        if request is None:
            self.waiting = False
            self.transport.close()
            return
        self.waiting = True
        self.began = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.buffer[: end + 2]
        at = head.lower().find(b"\r\ncontent-length:")
        if at < 0:
            self.run.end(AnswerWrong(f"no content-length: {head!r}"))
            return
        size = int(head[at + 17 : head.index(b"\r\n", at + 2)])
        if len(self.buffer) < end + 4 + size:
            return
        body = self.buffer[end + 4 :]
        self.buffer = b""
        try:
            self.run.answered(head, body, self.began)
        except Exception as error:
            self.run.end(error)
            return
        self.waiting = False
        if b"\r\nconnection: close" in head.lower():
            assert self.transport is not None
            self.transport.close()
        else:
            self.send()

    def connection_lost(self, problem: Exception | None) -> None:
        self.run.open -= 1
        if self.waiting and not self.run.stopped:
            self.run.end(AnswerWrong(f"the server closed before it answered: {problem}"))
        elif self.run.stopped or (self.run.left is not None and self.run.sent >= self.run.left):
            self.run.end()
        else:
            asyncio.get_running_loop().create_task(_connect(self.run))


_tasks: set[asyncio.Task[None]] = set()


async def _connect(run_: _Run) -> None:
    try:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: _Connection(run_), "127.0.0.1", run_.job.port)
    except OSError as error:
        run_.end(error)


async def _load(job: Job) -> Result:
    run_ = _Run(job)
    for _ in range(job.connections):
        await _connect(run_)
    if job.seconds:
        await asyncio.wait([run_.finished], timeout=job.warm)
    run_.measuring = True
    cpu, began = machine.cpu_seconds(job.pid), time.perf_counter()
    await asyncio.wait([run_.finished], timeout=job.seconds or None)
    took, cpu = time.perf_counter() - began, machine.cpu_seconds(job.pid) - cpu
    run_.measuring = False
    run_.stopped = True
    if run_.finished.done():
        run_.finished.result()
    if not run_.answers:
        raise AnswerWrong("no answer at all")
    latencies = sorted(run_.latencies)
    return Result(
        rate=run_.answers / took,
        answers=run_.answers,
        sampled=run_.sampled,
        p50=latencies[len(latencies) // 2] * 1e6,
        p99=latencies[len(latencies) * 99 // 100] * 1e6,
        cpu=cpu / run_.answers * 1e6,
        body=run_.body,
    )


def main() -> None:
    import uvloop

    job = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Job)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            result = runner.run(_load(job))
        except (AnswerWrong, OSError) as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            sys.exit(1)
    sys.stdout.buffer.write(msgspec.msgpack.encode(result))


if __name__ == "__main__":
    main()
