"""One worker process as its parent sees it: started, spoken to, killed, and always reaped. Called by ``pool``.

Guarantees: every request that was sent gets an answer or is handed back when the process ends, the one that may have
been at work apart from those that were never begun; nothing secret is in the child's argument list or environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, cast

from plugins.sdk.errors import Unavailable
from plugins.sdk.workers import target, wire
from plugins.sdk.workers.wire import Status

GRACE_SECONDS: Final = 2.0
"""How long a worker may take to end itself when it is asked to."""

INHERITED: Final = ("PATH", "HOME", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
"""What a worker's environment takes from ours; the rest may hold anybody's secrets."""


class Job(Protocol):
    """A request as a worker needs it."""

    number: int
    octets: bytes
    seconds: float


class Owner(Protocol):
    """Who is told what becomes of requests. What is ``answered`` is an exception unless the status is ANSWERED."""

    def answered(self, worker: Worker, job: Any, status: Status, answer: Any) -> None: ...

    def lost(self, worker: Worker, at_work: Any | None, not_begun: Sequence[Any]) -> None: ...


class Worker(asyncio.Protocol):
    """One process. Make it with :meth:`start`."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._frames = wire.Frames()
        self._jobs: deque[Job] = deque()
        self._unsent: list[bytes] = []
        self._receiving = False
        self._head_until = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._begun: asyncio.Future[Any] = self._loop.create_future()
        self._ended = asyncio.Event()
        self._reaping: asyncio.Task[None] | None = None
        self.hung = False
        """Killed because it did not answer in time."""
        self.leaving = False
        """It said that it ends itself."""

    def __repr__(self) -> str:
        return f"<Worker {self.pid}>"

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def load(self) -> int:
        """Requests that were sent and are not answered."""
        return len(self._jobs)

    async def start(self, name: str, configuration: Any, environment: Mapping[str, str], seconds: float) -> Any:
        """Start the process and its target; what the target says of itself.

        Raises what the target raised, or ``Unavailable`` if it ended or did not answer within ``seconds``.
        """
        ours = self._spawn(environment)
        try:
            ours.setblocking(False)
            await self._loop.create_unix_connection(lambda: self, sock=ours)
            assert self._transport is not None
            self._transport.write(wire.frame(name, configuration))
            async with asyncio.timeout(seconds):
                return await asyncio.shield(self._begun)
        except TimeoutError:
            self.hung = True
            message = f"a worker process did not begin within {seconds:g} seconds"
            raise Unavailable(message, reason="Deadline") from None
        except asyncio.CancelledError:
            # Nobody wants it any more. Killed in the middle of a login, SoftHSM leaves an empty file for its token.
            if self._transport is not None:
                await self.stop()
            raise
        finally:
            if not self._begun.done() or self._begun.cancelled() or self._begun.exception() is not None:
                self.kill()
                # A connection that was cancelled while it was made may never be told that it is lost.
                if self._transport is None:
                    ours.close()
                else:
                    self._transport.abort()
                self._reap()
                await self._ended.wait()

    def send(self, job: Job) -> None:
        """Hand a request over; the answer goes to the owner."""
        assert self._transport is not None
        self._jobs.append(job)
        if len(self._jobs) == 1:
            self._begin_head()
        self._unsent.append(job.octets)
        if not self._receiving:
            self._flush()

    def kill(self) -> None:
        """End it now. What it answered already still counts; the rest is handed back."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        if self._transport is None and self._process is not None:
            self._reap()

    async def stop(self) -> None:
        """Let it end itself (log out, unload), and end it if it does not."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write_eof()
        try:
            async with asyncio.timeout(GRACE_SECONDS):
                await self._ended.wait()
        except TimeoutError:
            self.kill()
            await self._ended.wait()

    # ---- what the event loop tells -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one and does not say so

    def data_received(self, data: bytes) -> None:
        self._receiving = True
        try:
            for fields in self._frames.feed(data):
                self._received(*fields)
        except (wire.BrokenFrame, TypeError, ValueError, IndexError):
            # A library that overwrote the worker's memory answers anything; nothing of it may be believed.
            self.kill()
        finally:
            self._receiving = False
        if self._unsent:
            self._flush()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        self._reap()
        if not self._begun.done():
            self._begun.set_exception(Unavailable("a worker process ended while it began", reason="WorkerFailed"))
            self._begun.exception()
            return
        at_work = self._jobs.popleft() if self._jobs and not self.leaving else None
        not_begun, self._jobs = list(self._jobs), deque()
        self._owner.lost(self, at_work, not_begun)

    # ---- inside ------------------------------------------------------------------------------------------------------

    def _spawn(self, environment: Mapping[str, str]) -> socket.socket:
        """Start the process, in the event loop's own thread: the kernel kills a child when its parent's thread ends."""
        ours, theirs = socket.socketpair()
        program = [sys.executable, "-P", "-m", "plugins.sdk.workers.child", str(theirs.fileno()), str(os.getpid())]
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                program,
                env=_environment(environment),
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # what a vendor's library prints is nobody's business, and may be a PIN
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise Unavailable(f"a worker process cannot be started: {error.strerror}", reason="WorkerFailed") from None
        finally:
            theirs.close()
        return ours

    def _received(self, number: int, status: int, answer: Any) -> None:
        # Read whole before anything is done with it: a request that was taken out for an answer that is none would
        # never end.
        how = Status(status)
        said = answer if how is Status.ANSWERED else target.read(*answer)
        if number == wire.START:
            if self._begun.done():
                raise wire.BrokenFrame("a second beginning")
            if how is Status.ANSWERED:
                self._begun.set_result(said)
            else:
                self._begun.set_exception(said)
            return
        if not self._jobs or self._jobs[0].number != number:
            raise wire.BrokenFrame("an answer to another request than the first")
        job = self._jobs.popleft()
        if self._jobs:
            self._begin_head()
        self.leaving = how is Status.REPLACE
        self._owner.answered(self, job, how, said)

    def _begin_head(self) -> None:
        """The first request is at work now. One timer serves many: it is moved only to come earlier."""
        self._head_until = self._loop.time() + self._jobs[0].seconds
        if self._watch is None or self._watch.when() > self._head_until:
            if self._watch is not None:
                self._watch.cancel()
            self._watch = self._loop.call_at(self._head_until, self._look)

    def _flush(self) -> None:
        assert self._transport is not None
        octets = self._unsent[0] if len(self._unsent) == 1 else b"".join(self._unsent)
        self._unsent.clear()
        self._transport.write(octets)

    def _look(self) -> None:
        """Kill the process if the request at work takes too long; else look again when it would."""
        self._watch = None
        if not self._jobs:
            return
        if self._head_until <= self._loop.time():
            self.hung = True
            self.kill()
        else:
            self._watch = self._loop.call_at(self._head_until, self._look)

    def _reap(self) -> None:
        if self._reaping is None:
            self._reaping = self._loop.create_task(self._wait())

    async def _wait(self) -> None:
        assert self._process is not None
        await asyncio.to_thread(self._process.wait)
        self._ended.set()


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    # The child has to find the same packages, and must not look for them in whatever directory this process is in.
    return {**kept, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **extra}
