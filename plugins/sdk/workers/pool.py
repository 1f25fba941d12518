"""Several workers on one target: calls are spread, bounded, repeated where that is safe, and never outlive their time.

Who uses it: plugins, from one event loop. Guarantees: a call ends within its seconds and its wait, or fails with
``Unavailable`` (nothing happened) or ``OutcomeUnknown`` (a change may have happened); a call that is safe to repeat is
repeated once if its worker died under it; a request that no worker began is never counted as repeated; credentials
that were refused are not tried again by this pool, because a device locks itself after a few.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from plugins.sdk.errors import CredentialsRefused, KeyStoreError, OutcomeUnknown, Unavailable
from plugins.sdk.workers import target, wire
from plugins.sdk.workers.process import Worker
from plugins.sdk.workers.wire import Status


class Limits(msgspec.Struct, frozen=True):
    """How much a pool takes on. Times in seconds."""

    workers: int = 2
    depth: int = 4
    """Requests that are sent to a worker ahead of its answers, so that it need not wait for the next."""
    queue: int = 1_000
    """Calls that may wait for a worker; the next one is refused."""
    wait: float = 2.0
    """How long a call may wait for a worker."""
    start: float = 15.0
    """How long a worker may take to begin."""
    first_pause: float = 0.05
    longest_pause: float = 0.5
    """Between attempts to start a worker that fails to: twice as long each time."""
    spare_pause: float = 15.0
    """The longest pause while other workers do the work: a session limit lets no more of them in."""


class _Job:
    """One call on its way."""

    __slots__ = ("answer", "changes", "method", "number", "octets", "repeated", "seconds", "since")

    def __init__(self, number: int, method: str, octets: bytes, seconds: float, since: float, *, changes: bool) -> None:
        self.number = number
        self.method = method
        self.octets = octets
        self.seconds = seconds
        self.since = since
        self.changes = changes
        self.repeated = False
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()


class WorkerPool:
    """Workers on ``target`` (``module:function``), which is called with ``configuration`` in each of them.

    ``configuration`` is made of what MessagePack knows, and of ``SecretBytes``, which are bytes over there.
    ``environment`` is what the library needs beside a few harmless variables; a process list shows it, so it holds no
    secret. ``changed`` is called when a worker came or went.
    """

    def __init__(
        self,
        name: str,
        target: str,
        configuration: Any,
        *,
        limits: Limits = Limits(),  # noqa: B008 - immutable
        environment: Mapping[str, str] | None = None,
        changed: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self._target = target
        self._configuration = configuration
        self._limits = limits
        self._environment = dict(environment or {})
        self._changed = changed
        self._workers: list[Worker] = []
        self._queue: deque[_Job] = deque()
        self._numbers = itertools.count(wire.START + 1)
        self._keeper: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()
        self._watch: asyncio.TimerHandle | None = None
        self._closed = True
        self.described: Any = None
        """What the target said of itself when the newest worker began."""
        self.failure: KeyStoreError | None = None
        """Why the newest attempt to start a worker failed; None after one that succeeded."""
        self.replaced = 0
        """Workers that were lost since the pool was opened."""

    def __repr__(self) -> str:
        return f"<WorkerPool {self.name!r}: {len(self._workers)} of {self._limits.workers}>"

    @property
    def ready(self) -> int:
        """Workers that take requests."""
        return len(self._workers)

    @property
    def waiting(self) -> int:
        """Calls that wait for a worker."""
        return len(self._queue)

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.pid for worker in self._workers if worker.pid is not None]

    # ---- life --------------------------------------------------------------------------------------------------------

    async def open(self) -> Any:
        """Start the first worker, then the others behind the caller's back; what the target said of itself.

        One after the other: with a wrong PIN, several workers at once would lock the token before anybody looks.
        Raises what the target raised.
        """
        assert self._closed, "a pool is opened once"
        self._closed = False
        try:
            await self._start_one()
        except BaseException:
            self._closed = True
            raise
        self._keeper = asyncio.get_running_loop().create_task(self._keep(), name=f"workers-{self.name}")
        return self.described

    async def close(self) -> None:
        """End every worker; calls that wait fail as ``Unavailable``. Never raises."""
        if self._closed:
            return
        self._closed = True
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._watch is not None:
            self._watch.cancel()
        self._fail_waiting(self._not_open())
        workers, self._workers = self._workers, []
        await asyncio.gather(*(worker.stop() for worker in workers), return_exceptions=True)

    # ---- calls -------------------------------------------------------------------------------------------------------

    async def call(
        self, method: str, *arguments: Any, seconds: float, changes: bool = False, repeat: bool = True
    ) -> Any:
        """What ``method`` of the target answers to ``arguments``.

        ``seconds`` bounds the work itself; a worker that takes longer is killed. ``changes`` says that the call must
        not be repeated blindly: if its worker is lost under it, it fails as ``OutcomeUnknown``. Without ``repeat`` it
        is not repeated by this pool at all, for a caller that has another place to go.

        Raises what the target raised; ``Unavailable`` with the reason ``Overloaded`` or ``Busy`` if there are too many
        calls, and ``WorkerFault`` for an exception that no contract knows.
        """
        if self._closed:
            raise self._not_open()
        if len(self._queue) >= self._limits.queue:
            raise Unavailable(
                f"{self.name}: {len(self._queue)} calls wait already, and more are not taken on; try again in a moment",
                reason="Overloaded",
            )
        if not self._workers and isinstance(self.failure, CredentialsRefused):
            raise _again(self.failure)
        number = next(self._numbers)
        since = asyncio.get_running_loop().time()
        job = _Job(number, method, wire.frame(number, method, arguments), seconds, since, changes=changes)
        job.repeated = not repeat
        self._queue.append(job)
        self._spread()
        return await job.answer

    # ---- what workers tell -------------------------------------------------------------------------------------------

    def answered(self, worker: Worker, job: _Job, status: Status, answer: Any) -> None:
        if status is Status.ANSWERED:
            _succeed(job, answer)
        else:
            error: Exception = answer
            if status is Status.REPLACE:
                self._forget(worker)
                if isinstance(error, CredentialsRefused):
                    self._refused(error)
                if isinstance(error, Unavailable) and self._repeat(job):
                    return
            _fail(job, error)
        self._spread()

    def lost(self, worker: Worker, at_work: _Job | None, not_begun: Sequence[_Job]) -> None:
        self._forget(worker)
        self.replaced += 1
        self._hand_back(not_begun)
        if at_work is not None and (at_work.changes or not self._repeat(at_work)):
            how = f"did not answer within {at_work.seconds:g} seconds" if worker.hung else "ended"
            kind = OutcomeUnknown if at_work.changes else Unavailable
            message = f"{self.name}: the worker process {how} in {at_work.method}"
            _fail(at_work, kind(message, reason="Deadline" if worker.hung else "WorkerLost"))
        if self._closed:
            self._fail_waiting(self._not_open())
        else:
            self._spread()

    # ---- inside ------------------------------------------------------------------------------------------------------

    def _spread(self) -> None:
        """Hand waiting calls to the workers that have the least to do."""
        while self._queue:
            job = self._queue[0]
            if job.answer.done():  # its caller went away
                self._queue.popleft()
                continue
            worker = min(self._workers, key=_load, default=None)
            if worker is None or worker.load >= self._limits.depth:
                if self._watch is None:
                    self._watch = asyncio.get_running_loop().call_later(self._limits.wait, self._look)
                return
            self._queue.popleft()
            worker.send(job)

    def _repeat(self, job: _Job) -> bool:
        """Put a call that did nothing at the front once more; False if it was repeated already."""
        if job.repeated or self._closed:
            return False
        job.repeated = True
        self._hand_back([job])
        self._spread()
        return True

    def _hand_back(self, jobs: Sequence[_Job]) -> None:
        """To the front of the queue, with the whole time to wait: it was not these calls that took long."""
        now = asyncio.get_running_loop().time()
        for job in reversed(jobs):
            job.since = now
            self._queue.appendleft(job)

    def _look(self) -> None:
        """Fail the calls that waited too long."""
        self._watch = None
        loop = asyncio.get_running_loop()
        oldest = loop.time() - self._limits.wait
        late = [job for job in self._queue if job.since <= oldest]
        self._queue = deque(job for job in self._queue if job.since > oldest and not job.answer.done())
        for job in late:
            if self._workers:
                waited = f"waited {self._limits.wait:g} seconds for a worker, and {len(self._queue)} more calls wait"
                _fail(job, Unavailable(f"{self.name} is busy: {job.method} {waited}", reason="Busy"))
            else:
                _fail(job, self._no_worker())
        if self._queue:
            left = max(min(job.since for job in self._queue) - oldest, 0.001)
            self._watch = loop.call_later(left, self._look)

    async def _keep(self) -> None:
        """Start workers as long as there are fewer than wanted."""
        pause = 0.0
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while len(self._workers) < self._limits.workers:
                await self._rest(pause)
                try:
                    await self._start_one()
                except CredentialsRefused as error:
                    self._refused(error)
                    return
                except (KeyStoreError, target.WorkerFault):
                    longest = self._limits.spare_pause if self._workers else self._limits.longest_pause
                    pause = min(max(2 * pause, self._limits.first_pause), longest)
                else:
                    pause = 0.0

    async def _rest(self, pause: float) -> None:
        """Pause before the next attempt; not for long once the last worker is gone."""
        self._wanted.clear()
        deadline = asyncio.get_running_loop().time() + pause
        while (left := deadline - asyncio.get_running_loop().time()) > 0:
            if not self._workers:
                left = min(left, self._limits.longest_pause)
                deadline = min(deadline, asyncio.get_running_loop().time() + left)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._wanted.wait()
                    self._wanted.clear()

    async def _start_one(self) -> None:
        worker = Worker(self)
        try:
            said = await worker.start(self._target, self._configuration, self._environment, self._limits.start)
        except KeyStoreError as error:
            self.failure = error
            raise
        except target.WorkerFault as fault:
            self.failure = Unavailable(f"{self.name}: {fault}", reason="WorkerFailed")
            raise
        self.described, self.failure = said, None
        self._workers.append(worker)
        self._tell()
        self._spread()

    def _refused(self, error: CredentialsRefused) -> None:
        """Start no more workers: trying again would lock the token. The host closes this pool and opens another."""
        self.failure = error
        if self._keeper is not None and self._keeper is not asyncio.current_task():
            self._keeper.cancel()
        if not self._workers:
            self._fail_waiting(error)

    def _forget(self, worker: Worker) -> None:
        if worker in self._workers:
            self._workers.remove(worker)
            self._wanted.set()
            self._tell()

    def _tell(self) -> None:
        self._wanted.set()
        if self._changed is not None:
            self._changed()

    def _fail_waiting(self, error: KeyStoreError) -> None:
        queue, self._queue = self._queue, deque()
        for job in queue:
            _fail(job, _again(error))

    def _no_worker(self) -> KeyStoreError:
        why = self.failure.message if self.failure is not None else "its worker processes are being started"
        reason = self.failure.reason if self.failure is not None else "Starting"
        return Unavailable(f"{self.name} has no worker: {why}", reason=reason)

    def _not_open(self) -> KeyStoreError:
        return Unavailable(f"{self.name} is not open", reason="Closed")


def _load(worker: Worker) -> int:
    return worker.load


def _again(error: KeyStoreError) -> KeyStoreError:
    """The same error as an object of its own: one object raised in several tasks would gather their tracebacks."""
    return type(error)(error.message, reason=error.reason)


def _succeed(job: _Job, answer: Any) -> None:
    if not job.answer.done():
        job.answer.set_result(answer)


def _fail(job: _Job, error: Exception) -> None:
    if not job.answer.done():
        job.answer.set_exception(error)
