"""A program that runs scenarios in processes of their own and tells how they ended. Started by ``test_every_point``.

It has everything imported, the REST application made and nothing begun, and forks for each run, because starting Python
anew for thousands of points takes an hour. A line of JSON comes in, a line goes out. In a run, every entry into and
return from a coroutine of ours is counted, which is what an await point is made of; at the number that was asked for
the process kills itself. A recovery is counted from its first step on, the opening of the database included.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

import plugins.memory
import plugins.pkcs11
import plugins.software
import plugins.xks.plugin
from controlplane import server
from controlplane.api.app import rest_app
from controlplane.api.services import Services
from controlplane.clock import Clock
from controlplane.settings import dev_settings
from tests.crash import scenario

ROOT = str(Path(__file__).resolve().parents[2])
OURS = (f"{ROOT}/controlplane/", f"{ROOT}/plugins/")
NOT_COUNTED = (f"{ROOT}/controlplane/store/changes.py", f"{ROOT}/controlplane/keystores/deadline.py")
"""What only waits: it would make the same point again and again."""
COROUTINE = 0x80


class Counter:
    """Counts await points, and dies at one of them."""

    def __init__(self, kill_at: int | None) -> None:
        self.count = 0
        self.kill_at = kill_at
        self._counted: dict[str, bool] = {}

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if not code.co_flags & COROUTINE or event not in ("call", "return"):
            return
        counted = self._counted.get(code.co_filename)
        if counted is None:
            counted = code.co_filename.startswith(OURS) and code.co_filename not in NOT_COUNTED
            self._counted[code.co_filename] = counted
        if counted:
            self.count += 1
            if self.count == self.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)


class Application:
    """The REST application, made before any run: that takes as long as all the rest of a start."""

    def __init__(self) -> None:
        fields = msgspec.structs.fields(Services)
        self._services = Services(*([None] * len(fields)))  # type: ignore[arg-type]
        self.rest = rest_app(self._services)

    def serve(self, services: Services) -> Any:
        """It, for the services of the run that this process is."""
        for field in msgspec.structs.fields(Services):
            msgspec.structs.force_setattr(self._services, field.name, getattr(services, field.name))
        return self.rest


class TrueTimeClient(plugins.xks.plugin.ProxyClient):
    """The proxy lives in true time, also when the clock of its client was put forward."""

    def __init__(self, options: Any, signer: Any, now: Callable[[], float]) -> None:
        super().__init__(options, signer, time.time)


class OffsetClock(Clock):
    """The wall clock, put forward by as many days as a file says."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def time(self) -> float:
        days = int(self._path.read_text()) if self._path.exists() else 0
        return super().time() + days * 86_400


async def run(asked: dict[str, Any], application: Application) -> dict[str, Any]:
    counter = Counter(asked.get("killAt"))
    settings = dev_settings(0, Path(asked["data"]))
    if asked["do"] == "provision":
        await server.provision(settings)
        return {}
    recovers = asked["do"] == "recover"
    if recovers and asked["counted"]:
        sys.setprofile(counter)
    async with server.running(settings, clock=OffsetClock(Path(asked["clock"]))) as services:
        world = scenario.World(services, application.serve(services), asked)
        if recovers:
            found = await scenario.recovered(world)
        else:
            sys.setprofile(counter)
            found = await scenario.everything(world)
        sys.setprofile(None)
    return {**found, "points": counter.count}


def in_a_fork(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What the work answers; ``killed`` if it was, ``error`` if it failed."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        try:
            said = work()
        except BaseException:
            said = {"error": traceback.format_exc()}
        with os.fdopen(theirs, "wb") as pipe:
            pipe.write(json.dumps(said).encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return {"killed": os.WTERMSIG(status)}
    found: dict[str, Any] = json.loads(answer)
    return found


def one(asked: dict[str, Any], application: Application) -> dict[str, Any]:
    os.environ.update(asked.get("environment", {}))
    server.configure_logging("error")
    return asyncio.run(run(asked, application))


def main() -> None:
    assert plugins.memory and plugins.pkcs11 and plugins.software
    plugins.xks.plugin.ProxyClient = TrueTimeClient  # type: ignore[misc]
    application = Application()
    gc.collect()
    gc.freeze()  # no fork copies what it shares
    for line in sys.stdin:
        asked = json.loads(line)
        answer = in_a_fork(lambda: one(asked, application))  # noqa: B023 - it is done when this returns
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
