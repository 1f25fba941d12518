"""Several server processes on one port: starts them, restarts one that dies, stops them all.

Who calls it: ``keystead serve`` with more than one worker. Each worker is a whole server (``controlplane.worker``) with
its own catalog and connections; one of them reconciles, by the lease. Guarantees: the first worker opens the database
alone, so that it alone migrates it; a worker that dies is started again, at once the first time and then after pauses;
on SIGTERM and SIGINT all stop as one server would, and none outlives this process, however it ends.

Between a worker and this process there is one socket: settings go down it (they are no secret's way to the process
list), ``ready`` or the reason of a refusal comes up, and its end tells each side that the other is gone.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Final

import msgspec
import structlog

from controlplane.errors import StartupRefused
from controlplane.listening import configure_logging, listen_shared
from controlplane.metrics import SHARED
from controlplane.settings import Settings

log = structlog.get_logger("keystead.server")

STOP_SECONDS: Final = 40.0
"""More than a worker takes for its grace period, for what it cancels then and for running passes."""
START_SECONDS: Final = 120.0
SETTLED_SECONDS: Final = 10.0
"""A worker that lives as long as this may be restarted without a pause."""
LONGEST_PAUSE_SECONDS: Final = 30.0


class Said(msgspec.Struct):
    """What a worker tells: the port that it serves, or why it does not."""

    port: int | None = None
    refused: str | None = None


class _Worker:
    """One place: its listening socket for ever, and the process that serves it now."""

    def __init__(self, number: int, listener: socket.socket) -> None:
        self.number = number
        self.listener = listener
        self.process: subprocess.Popen[bytes] | None = None
        self.control: socket.socket | None = None
        self.heard = b""
        self.started = 0.0
        self.failures = 0
        self.again_at: float | None = None

    def start(self, settings: Settings, metrics: str) -> None:
        ours, theirs = socket.socketpair()
        program = [sys.executable, "-P", "-m", "controlplane.worker", str(theirs.fileno()), str(self.listener.fileno())]
        self.process = subprocess.Popen(  # noqa: S603 - our own program
            program,
            pass_fds=(theirs.fileno(), self.listener.fileno()),
            stdin=subprocess.DEVNULL,
            env={**os.environ, SHARED: metrics},
        )
        theirs.close()
        self.control, self.heard = ours, b""
        self.started, self.again_at = time.monotonic(), None
        with contextlib.suppress(OSError):  # it died at once; its end is noticed like any other
            ours.sendall(msgspec.json.encode(settings) + b"\n")

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    def reap(self) -> int:
        """The exit code of a process whose socket has ended."""
        assert self.process is not None
        assert self.control is not None
        self.control.close()
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.process = self.control = None
        return code


class Processes:
    """All workers, and what happens to them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()
        self._stopping = False
        self._metrics = tempfile.TemporaryDirectory(prefix="keystead-metrics-")
        """Where the workers keep their numbers, so that each can answer for all."""

    def run(self, ready: Callable[[int], None] | None = None) -> None:
        """Serve until SIGTERM or SIGINT. Raises :class:`StartupRefused` if a worker does not start at first."""
        listeners = listen_shared(self._settings, self._settings.workers)
        port = listeners[0].getsockname()[1]
        self._workers = [_Worker(number, listener) for number, listener in enumerate(listeners)]
        with self._signals():
            try:
                self._begin(self._workers[:1])
                self._begin(self._workers[1:])
                if ready is not None and not self._stopping:
                    ready(port)
                while not self._stopping:
                    self._wait(self._next_restart())
                    self._restart_due()
            finally:
                self._stop()
                self._metrics.cleanup()

    # ---- life of the workers ---------------------------------------------------------------------------------------

    def _begin(self, workers: list[_Worker]) -> None:
        """Start these and wait until each is ready."""
        waiting = set()
        for worker in workers:
            self._start(worker)
            waiting.add(worker.number)
        deadline = time.monotonic() + START_SECONDS
        while waiting and not self._stopping:
            if time.monotonic() > deadline:
                raise StartupRefused(f"worker processes were not ready within {START_SECONDS:g} seconds")
            for worker, said in self._wait(1.0):
                if said is None:
                    raise StartupRefused("a worker process died while it started; its log lines say why")
                if said.refused is not None:
                    raise StartupRefused(said.refused)
                waiting.discard(worker.number)

    def _start(self, worker: _Worker) -> None:
        worker.start(self._settings, self._metrics.name)
        assert worker.control is not None
        self._selector.register(worker.control, selectors.EVENT_READ, worker)

    def _ended(self, worker: _Worker) -> None:
        assert worker.control is not None
        self._selector.unregister(worker.control)
        code = worker.reap()
        if self._stopping:
            return
        now = time.monotonic()
        worker.failures = 1 if now - worker.started > SETTLED_SECONDS else worker.failures + 1
        pause = 0.0 if worker.failures == 1 else min(2.0 ** (worker.failures - 2), LONGEST_PAUSE_SECONDS)
        worker.again_at = now + pause
        log.error("a worker process ended and is started again", worker=worker.number, exit=code, after=pause)

    def _restart_due(self) -> None:
        for worker in self._workers:
            if worker.again_at is None or worker.again_at > time.monotonic() or self._stopping:
                continue
            try:
                self._start(worker)
            except OSError as error:  # no memory or no process to be had now
                worker.again_at = time.monotonic() + LONGEST_PAUSE_SECONDS
                log.warning("a worker process cannot be started", worker=worker.number, error=error.strerror)

    def _next_restart(self) -> float | None:
        due = [worker.again_at for worker in self._workers if worker.again_at is not None]
        return max(min(due) - time.monotonic(), 0.0) if due else None

    def _stop(self) -> None:
        """End every worker: well within the deadline, and by force after it."""
        self._stopping = True
        for worker in self._workers:
            worker.listener.close()  # nobody else is accepted
            worker.signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while any(worker.process is not None for worker in self._workers):
            if time.monotonic() > deadline:
                for worker in self._workers:
                    worker.signal(signal.SIGKILL)
                deadline = float("inf")
            self._wait(0.5)
        self._selector.close()

    # ---- what happens ----------------------------------------------------------------------------------------------

    def _wait(self, seconds: float | None) -> list[tuple[_Worker, Said | None]]:
        """Wait for something to happen: what workers said, None from one that ended."""
        happened: list[tuple[_Worker, Said | None]] = []
        for key, _ in self._selector.select(seconds):
            worker: _Worker | None = key.data
            if worker is None:
                os.read(key.fd, 64)  # a signal, which its handler has seen
                continue
            assert worker.control is not None
            try:
                part = worker.control.recv(65_536)
            except OSError:
                part = b""
            if not part:
                self._ended(worker)
                happened.append((worker, None))
                continue
            worker.heard += part
            while b"\n" in worker.heard:
                line, _, worker.heard = worker.heard.partition(b"\n")
                said = msgspec.json.decode(line, type=Said)
                if said.refused is not None:
                    log.error("a worker process does not start", worker=worker.number, error=said.refused)
                happened.append((worker, said))
        return happened

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT stop; a pipe wakes the selector, which alone would go on waiting."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        self._selector.register(reading, selectors.EVENT_READ, None)

        def stop(number: int, frame: object) -> None:  # noqa: ARG001
            self._stopping = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        wakeup = signal.set_wakeup_fd(writing)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(reading)
            os.close(writing)


def run(settings: Settings, *, ready: Callable[[int], None] | None = None) -> None:
    """Serve with ``settings.workers`` processes until SIGTERM or SIGINT. ``ready`` is told the port."""
    configure_logging(settings.log_level)
    Processes(settings).run(ready)
