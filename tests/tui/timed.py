"""A real server whose time a test owns: in a thread of this process, on a free port, with a clock that stands still."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from controlplane import server as composition
from controlplane.api.app import Doors
from controlplane.api.services import Services
from controlplane.clock import ManualClock
from controlplane.settings import DevCredentials, dev_settings
from tests.harness import ACCESS_KEY_ID, SECRET, TOKEN, Server


class TimedServer(Server):
    """Talks like the server of the harness; lives in this process."""

    def __init__(self, directory: Path, clock: ManualClock) -> None:
        super().__init__(directory)
        self.clock = clock


@contextlib.contextmanager
def timed_server(directory: Path, clock: ManualClock) -> Iterator[TimedServer]:
    """A server on a directory of its own, until the block ends."""
    environment = {
        "KEYSTEAD_DEV_ACCESS_KEY_ID": ACCESS_KEY_ID,
        "KEYSTEAD_DEV_SECRET_ACCESS_KEY": SECRET,
        "KEYSTEAD_DEV_TOKEN": TOKEN,
    }
    settings = dev_settings(0, directory, environment)
    assert isinstance(settings.dev, DevCredentials)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    started, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        await composition.provision(settings, clock=clock)
        async with composition.running(settings, clock=clock) as services:
            server = uvicorn.Server(_config(services))
            serving = asyncio.create_task(server.serve([listener]))
            while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.01)
            started.set()
            await asyncio.to_thread(stop.wait)
            services.stopping.set()
            server.should_exit = True
            await serving

    failures: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            failures.append(error)
            started.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert started.wait(60), "the server did not start"
        if failures:
            raise failures[0]
        timed = TimedServer(directory, clock)
        timed.port = listener.getsockname()[1]
        yield timed
    finally:
        stop.set()
        thread.join(60)
        listener.close()


def _config(services: Services) -> uvicorn.Config:
    return uvicorn.Config(Doors(services), lifespan="off", log_config=None, access_log=False, ws="none")
