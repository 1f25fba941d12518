"""A server that answers what a test tells it to, over a real socket on 127.0.0.1, and remembers what it was asked.

It runs in its own thread, so that commands which call ``asyncio.run`` can be tested in this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import msgspec
from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Answer(msgspec.Struct, frozen=True):
    body: bytes
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = {}


class Asked(msgspec.Struct, frozen=True):
    method: str
    path: str
    """As it was on the wire, query included."""
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


def answer(value: object, status: int = 200) -> Answer:
    return Answer(msgspec.json.encode(value), status)


def problem(status: int, code: str, detail: str, **more: object) -> Answer:
    body = {"type": "about:blank", "title": "Wrong", "status": status, "detail": detail, "code": code, **more}
    return Answer(msgspec.json.encode(body), status, "application/problem+json")


class FakeApi:
    """``answers`` by method and path without query; of a list, each answer once and the last one for ever."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[Asked] = []
        self.answers: dict[tuple[str, str], Answer | Handler | list[Answer | Handler]] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(Asked(request.method, request.raw_path, dict(request.headers), await request.read()))
        found = self.answers.get((request.method, request.raw_path.partition("?")[0]))
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        if found is None:
            found = problem(404, "NotFound", f"nothing at {request.method} {request.raw_path}")
        if isinstance(found, Answer):
            headers = {"Content-Type": found.content_type, **found.headers}
            return web.Response(body=found.body, status=found.status, headers=headers)
        return await found(request)

    @property
    def paths(self) -> list[str]:
        return [f"{each.method} {each.path}" for each in self.asked]


@contextlib.contextmanager
def serving() -> Iterator[FakeApi]:
    """A fake that listens on a free port until the block ends."""
    api = FakeApi()
    loop = asyncio.new_event_loop()

    async def start() -> web.AppRunner:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{rest:.*}", api.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        api.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield api
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
