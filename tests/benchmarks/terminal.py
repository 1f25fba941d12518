"""The terminal UI with 100,000 keys, headless: first screen, filter, a thousand changes per second, memory.

The first part asks a real server. A thousand changes per second are more than a person's server makes, so in the second
part a scripted one speaks the same API: its list changes with every change that it tells of.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
from aiohttp import web

from controlplane.schema.browse import KeyRows
from controlplane.schema.meta import Kind
from tests.benchmarks import figures, machine, seed, servers
from tests.benchmarks.figures import Figure
from tests.tui import canned
from tests.tui.canned import Canned

RATE = 1_000
MEMORY = 200


def run(*, quick: bool) -> list[Figure]:
    keys = 5_000 if quick else 100_000
    return [*_first(keys), *_changes(keys, seconds=3 if quick else 10)]


def _first(keys: int) -> list[Figure]:
    with servers.directory() as work:
        seed.key_ids(work / "data", keys)
        with servers.keystead(work / "data", core=machine.server_core()) as server:
            machine.wait_until_idle(server.pid)
            with _watcher(server.url, server.token, "first") as watcher:
                said = watcher.line()
                memory = machine.memory_megabytes(watcher.process.pid)
    assert said["keys"] >= keys
    echo, rows = _milliseconds(said["echo"]), _milliseconds(said["rows"])
    return [
        figures.under(Figure(f"first screen, {keys:,} keys", said["first"], "s"), 1, "1 s"),
        figures.under(Figure("list of keys", said["listed"], "s"), 1, "1 s"),
        figures.under(figures.median("filter: a letter is on the screen", echo, "ms"), 100, "100 ms"),
        figures.under(figures.median("filter: the rows are", rows, "ms"), 100, "100 ms"),
        figures.under(Figure("memory", memory, "MB"), MEMORY, f"{MEMORY} MB"),
    ]


def _changes(keys: int, *, seconds: float) -> list[Figure]:
    with canned.serving() as server:
        script = _Script(server, keys, seconds)
        with _watcher(server.url, "test", "changes") as watcher:
            assert watcher.line() == "ready"
            script.go.set()
            assert script.done.wait(seconds * 3), "the script did not come to its end"
            watcher.say(str(script.counter))
            said = watcher.line()
            memory = machine.memory_megabytes(watcher.process.pid)
    rate = script.counter / script.took
    return [
        figures.at_least(Figure("changes told", rate, "per s"), rate, 0.95 * RATE, f"{RATE:,} per s"),
        figures.under(Figure("  the last one is on the screen after", said["lag"], "s"), 1, "1 s"),
        figures.under(figures.median("  a key pressed meanwhile", _milliseconds(said["echo"]), "ms"), 100, "100 ms"),
        Figure("  slowest", max(_milliseconds(said["echo"])), "ms"),
        Figure("  CPU", 100 * said["cpu"], "% of a core"),
        figures.under(Figure("  memory", memory, "MB"), MEMORY, f"{MEMORY} MB"),
    ]


def _milliseconds(seconds: list[float]) -> list[float]:
    return [1_000 * each for each in seconds]


class _Script:
    """Changes of 200 keys in turn once ``go`` is set. ``counter`` of them were told; the rows say how many."""

    def __init__(self, server: Canned, keys: int, seconds: float) -> None:
        self.go, self.done = threading.Event(), threading.Event()
        self.counter = 0
        self.took = 1.0
        self._keys, self._seconds = keys, seconds
        like = canned.row(server.keys[2])
        self._rows = [msgspec.structs.replace(like, name=f"key-{at:06d}", uid=f"uid-{at}") for at in range(200)]
        server.api.answers["GET", "/v1/search/keys"] = self._search
        server.api.answers["GET", "/v1/changes"] = self._changes
        for row in self._rows:
            item = server.keys[2]
            named = msgspec.structs.replace(item, metadata=msgspec.structs.replace(item.metadata, name=row.name))
            server.object(Kind.KEY, named)

    async def _search(self, request: web.Request) -> web.StreamResponse:
        rows = tuple(msgspec.structs.replace(row, key_store=f"v{self.counter}") for row in self._rows)
        page = KeyRows(items=rows, offset=0, matching=self._keys, total=self._keys, version=40 + self.counter)
        return web.json_response(body=msgspec.json.encode(page))

    async def _changes(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await asyncio.to_thread(self.go.wait)
        loop = asyncio.get_running_loop()
        began = loop.time()
        while (passed := loop.time() - began) < self._seconds:
            due = int(passed * RATE) - self.counter
            if due:
                await response.write(b"".join(self._event() for _ in range(due)))
            await asyncio.sleep(0.005)
        self.took = loop.time() - began
        self.done.set()
        await canned.until_it_leaves(request)
        return response

    def _event(self) -> bytes:
        self.counter += 1
        row = self._rows[self.counter % len(self._rows)]
        told = {"version": 40 + self.counter, "kind": "Key", "uid": row.uid, "name": row.name, "generation": 1}
        return b"event: change\ndata: " + msgspec.json.encode(told) + b"\n\n"


class _Watcher:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def line(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def say(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()


@contextlib.contextmanager
def _watcher(url: str, token: str, phase: str) -> Iterator[_Watcher]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.watcher", url, phase],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=servers.ROOT,
        env={**os.environ, "KEYSTEAD_TOKEN": token},
    )
    try:
        yield _Watcher(process)
    finally:
        process.kill()
        process.wait(30)
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            stream.close()
