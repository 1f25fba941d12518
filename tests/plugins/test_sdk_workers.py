"""Worker processes: a library that hangs, crashes or lies costs one call, never the caller's process or its time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from plugins.sdk import CredentialsRefused, InvalidRequest, OutcomeUnknown, Unavailable
from plugins.sdk.workers import Limits, WorkerFault, WorkerPool, wire
from plugins.sdk.workers.child import LAST_SECONDS
from plugins.sdk.workers.wire import Status
from tests.harness import eventually, in_time
from tests.plugins.blocking import SECRET

TARGET = "tests.plugins.blocking:Library"
PoolMaker = Callable[..., WorkerPool]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The loop of a server; the conformance tests run on the other."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[PoolMaker]:
    """Makes pools that are closed with the test."""
    pools: list[WorkerPool] = []

    def make(target: str = TARGET, environment: dict[str, str] | None = None, **limits: Any) -> WorkerPool:
        configuration = {"marks": str(tmp_path), "secret": SECRET}
        pool = WorkerPool("hsm-a", target, configuration, limits=Limits(**limits), environment=environment)
        pools.append(pool)
        return pool

    yield make
    for pool in pools:
        await pool.close()


@pytest.fixture
async def pool(make: PoolMaker) -> WorkerPool:
    """One worker, open."""
    pool = make(workers=1, wait=60, start=60)  # a machine that runs many tests takes seconds to start another one
    await pool.open()
    return pool


def alive(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def shown(pid: int) -> bytes:
    """What a process list shows of a process."""
    try:
        return b"".join(Path(f"/proc/{pid}/{file}").read_bytes() for file in ("cmdline", "environ"))
    except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
        return b""


async def until(condition: Callable[[], Any], what: str, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        await asyncio.sleep(0.01)


def marks(directory: Path, name: str) -> int:
    """How often the library was called under a name, in all processes."""
    try:
        return (directory / name).read_text().count("\n")
    except FileNotFoundError:
        return 0


# ---- what travels ----------------------------------------------------------------------------------------------------


async def test_arguments_and_answers_travel_whole(pool: WorkerPool) -> None:
    for value in (None, 1, "word", b"\x00\xff" * 5000, ["a", {"b": [b"c", True]}]):
        assert await pool.call("echo", value, seconds=5) == value


async def test_the_target_has_a_process_of_its_own_with_one_thread(pool: WorkerPool) -> None:
    assert pool.described["threads"] == 1
    assert pool.described["pid"] == await pool.call("pid", seconds=5) != os.getpid()
    assert pool.pids == [pool.described["pid"]]


async def test_errors_of_the_contract_arrive_as_they_were_raised(pool: WorkerPool) -> None:
    with pytest.raises(InvalidRequest, match="the input is too long") as caught:
        await pool.call("refuse", seconds=5)
    assert caught.value.reason == "TooLong"


async def test_any_other_error_arrives_as_its_type_only(pool: WorkerPool) -> None:
    with pytest.raises(WorkerFault, match=r"failed with RuntimeError$") as caught:
        await pool.call("explode", seconds=5)
    assert SECRET not in repr(caught.value)


async def test_a_worker_gets_a_clean_environment_and_what_it_needs(
    make: PoolMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOMEBODYS_PIN", "1234567")
    pool = make(environment={"SOFTHSM2_CONF": "/etc/softhsm2.conf"})
    await pool.open()
    seen = await pool.call("environment", seconds=5)
    assert seen["SOFTHSM2_CONF"] == "/etc/softhsm2.conf"
    assert "SOMEBODYS_PIN" not in seen


async def test_no_secret_is_in_the_argument_list_or_environment_of_a_worker(pool: WorkerPool) -> None:
    for pid in pool.pids:
        assert SECRET.encode() not in shown(pid)
    assert SECRET not in f"{pool!r} {pool._workers!r}"


# ---- many calls ------------------------------------------------------------------------------------------------------


async def test_many_calls_at_once_are_spread_and_each_gets_its_own_answer(make: PoolMaker) -> None:
    pool = make(workers=2)
    await pool.open()
    await until(lambda: pool.ready == 2, "both workers are there")
    answers = await asyncio.gather(*(pool.call("echo", number, seconds=5) for number in range(500)))
    assert answers == list(range(500))
    slow = [asyncio.ensure_future(pool.call("sleep", 0.2, seconds=5)) for _ in range(2)]
    await asyncio.sleep(0)
    assert [worker.load for worker in pool._workers] == [1, 1]
    await asyncio.gather(*slow)


async def test_a_full_queue_is_refused_with_a_sentence_and_calls_before_it_are_answered(make: PoolMaker) -> None:
    pool = make(workers=1, depth=1, queue=3)
    await pool.open()
    slow = [asyncio.ensure_future(pool.call("sleep", 0.1, seconds=5)) for _ in range(4)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="3 calls wait already") as caught:
        await pool.call("pid", seconds=5)
    assert caught.value.reason == "Overloaded"
    assert await asyncio.gather(*slow) == [0.1] * 4


async def test_a_call_that_waits_too_long_is_told_that_the_store_is_busy(make: PoolMaker) -> None:
    pool = make(workers=1, depth=1, wait=0.1)
    await pool.open()
    slow = asyncio.ensure_future(pool.call("sleep", 0.5, seconds=5))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match=r"waited 0\.1 seconds") as caught:
        await pool.call("count", "late", seconds=5)
    assert caught.value.reason == "Busy"
    assert await slow == 0.5


async def test_a_caller_that_goes_away_costs_the_others_nothing(make: PoolMaker, tmp_path: Path) -> None:
    pool = make(workers=1, depth=1)
    await pool.open()
    slow = asyncio.ensure_future(pool.call("sleep", 0.2, seconds=5))
    gone = asyncio.ensure_future(pool.call("count", "gone", seconds=5))
    other = asyncio.ensure_future(pool.call("echo", 1, seconds=5))
    await asyncio.sleep(0)
    gone.cancel()
    slow.cancel()
    assert await other == 1
    assert marks(tmp_path, "gone") == 0, "a call that had not begun never does"


# ---- what goes wrong -------------------------------------------------------------------------------------------------


async def test_a_worker_that_hangs_is_killed_and_replaced(pool: WorkerPool, tmp_path: Path) -> None:
    hung = pool.pids[0]
    started = time.monotonic()
    with pytest.raises(Unavailable, match=r"did not answer within 0\.8 seconds in hang") as caught:
        await pool.call("hang", seconds=0.8)
    assert caught.value.reason == "Deadline"
    assert in_time(started, 5)
    assert marks(tmp_path, "hang") == 2, "it was repeated once"
    assert await pool.call("echo", "after", seconds=5) == "after"
    await until(lambda: not alive(hung), "the hung process is gone")


async def test_a_short_call_behind_a_long_one_has_its_own_time(pool: WorkerPool) -> None:
    assert await pool.call("echo", 1, seconds=3600) == 1
    with pytest.raises(Unavailable, match=r"did not answer within 0\.3 seconds"):
        await pool.call("hang", seconds=0.3, repeat=False)


async def test_calls_behind_one_that_hangs_are_answered_and_none_is_done_twice(
    pool: WorkerPool, tmp_path: Path
) -> None:
    calls = [pool.call("hang_once", "first", seconds=1)]
    calls += [pool.call("count", f"behind-{number}", seconds=5, changes=True) for number in range(12)]
    answers = await asyncio.gather(*calls)
    assert answers[1:] == [1] * 12
    assert answers[0] == 3


async def test_a_crash_costs_one_attempt_of_an_idempotent_call(pool: WorkerPool) -> None:
    crashed = pool.pids[0]
    assert await pool.call("crash_once", "boom", seconds=5) == "done"
    assert pool.pids != [crashed]
    assert pool.replaced == 1


async def test_a_crash_that_repeats_is_told_after_the_second(pool: WorkerPool, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="ended in crash") as caught:
        await pool.call("crash", seconds=5)
    assert caught.value.reason == "WorkerLost"
    assert marks(tmp_path, "crash") == 2


@pytest.mark.parametrize("method", ["hang", "crash"])
async def test_a_call_that_changes_something_is_never_repeated_and_its_outcome_is_unknown(
    pool: WorkerPool, tmp_path: Path, method: str
) -> None:
    with pytest.raises(OutcomeUnknown):
        await pool.call(method, seconds=0.8, changes=True)
    assert marks(tmp_path, method) == 1


async def test_a_worker_killed_from_outside_in_the_middle_of_calls_loses_none_of_them(pool: WorkerPool) -> None:
    calls = [asyncio.ensure_future(pool.call("sleep", 0.05, seconds=5)) for _ in range(8)]
    await until(lambda: calls[1].done(), "some are answered")
    os.kill(pool.pids[0], signal.SIGKILL)
    assert await asyncio.gather(*calls) == [0.05] * 8


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"\xff" * 64, id="no frame"),
        pytest.param(b"\0\0\0\1\xc1", id="no MessagePack"),
        pytest.param(wire.frame(1, 7, None), id="no status"),
        pytest.param(wire.frame(1, Status.FAILED, 5), id="no exception"),
        pytest.param(wire.frame(1, Status.FAILED, [5, 5, 5]), id="an exception of numbers"),
        pytest.param(wire.frame(1, Status.REPLACE, ["Unavailable"]), id="half an exception"),
        pytest.param(wire.frame(2, Status.ANSWERED, "x"), id="another request"),
        pytest.param(wire.frame(wire.START, Status.ANSWERED, None), id="a second beginning"),
        pytest.param(wire.frame(1), id="a short frame"),
        pytest.param(wire.frame("1", Status.ANSWERED, None), id="a number that is none"),
    ],
)
async def test_a_worker_that_answers_garbage_is_not_believed_and_its_call_ends(pool: WorkerPool, octets: bytes) -> None:
    with pytest.raises(Unavailable) as caught:
        await pool.call("garbage", octets, seconds=600, repeat=False)
    assert caught.value.reason == "WorkerLost"
    assert await pool.call("echo", 1, seconds=60) == 1


@pytest.mark.parametrize("changes", [False, True])
async def test_a_worker_that_asks_to_be_replaced_is_and_a_call_that_did_nothing_is_repeated(
    pool: WorkerPool, changes: bool
) -> None:
    before = pool.pids
    assert await pool.call("replace", "once", seconds=5, changes=changes) == "done"
    assert pool.pids != before
    with pytest.raises(OutcomeUnknown, match="no answer came"):
        await pool.call("replace", "twice", True, seconds=5)


# ---- beginning and ending --------------------------------------------------------------------------------------------


async def test_refused_credentials_are_tried_once_by_one_worker(make: PoolMaker, tmp_path: Path) -> None:
    """A token locks itself after a few wrong PINs: two workers that begin together would use up two tries."""
    (tmp_path / "refuse").touch()
    pool = make(workers=4)
    with pytest.raises(CredentialsRefused, match="the PIN is wrong") as caught:
        await pool.open()
    assert caught.value.reason == "PinIncorrect"
    assert marks(tmp_path, "begin") == 1


async def test_credentials_that_are_refused_later_stop_the_pool_and_are_told(make: PoolMaker, tmp_path: Path) -> None:
    pool = make(workers=2)
    await pool.open()
    await until(lambda: pool.ready == 2, "both workers are there")
    (tmp_path / "refuse").touch()
    for pid in pool.pids:
        os.kill(pid, signal.SIGKILL)
    await until(lambda: pool.ready == 0, "they are gone")
    await until(lambda: pool.failure is not None, "another was tried")
    for _ in range(3):
        with pytest.raises(CredentialsRefused):
            await pool.call("pid", seconds=5)
    assert marks(tmp_path, "begin") == 3


async def test_a_device_that_comes_back_is_used_within_a_second(make: PoolMaker, tmp_path: Path) -> None:
    pool = make(workers=1, wait=0.2)
    await pool.open()
    (tmp_path / "absent").touch()
    os.kill(pool.pids[0], signal.SIGKILL)
    await until(lambda: marks(tmp_path, "begin") >= 4, "it is tried again and again")
    with pytest.raises(Unavailable, match="hsm-a has no worker: the device is not there") as caught:
        await pool.call("pid", seconds=5)
    assert caught.value.reason == "DeviceRemoved"
    (tmp_path / "absent").unlink()
    returned = time.monotonic()
    await until(lambda: pool.ready == 1, "it is used")
    assert in_time(returned, 2)


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("no_such_module:Target", "ModuleNotFoundError"),
        ("tests.plugins.blocking:Absent", "AttributeError"),
        ("tests.plugins.blocking:not_callable_like_this", "TypeError"),
    ],
)
async def test_a_target_that_cannot_be_made_is_told(make: PoolMaker, target: str, kind: str) -> None:
    with pytest.raises(WorkerFault, match=kind):
        await make(target).open()


async def test_a_target_that_fails_or_hangs_in_its_beginning_is_told_without_what_it_said(
    make: PoolMaker, tmp_path: Path
) -> None:
    (tmp_path / "explode").touch()
    with pytest.raises(WorkerFault, match=r"RuntimeError$"):
        await make().open()
    (tmp_path / "explode").unlink()
    (tmp_path / "sleep").touch()
    with pytest.raises(Unavailable, match=r"did not begin within 0\.5 seconds"):
        await make(start=0.5).open()


async def test_a_worker_that_nobody_wants_any_more_may_finish_its_beginning(make: PoolMaker, tmp_path: Path) -> None:
    """Killed in the middle of a login, SoftHSM leaves an empty file for its token, and every key in it is lost."""
    (tmp_path / "slow").touch()
    pool = make(workers=2)
    await pool.open()
    await until(lambda: marks(tmp_path, "begin") == 2, "the second one begins")
    await pool.close()
    assert marks(tmp_path, "begun") == 2
    assert marks(tmp_path, "close") == 2


async def test_a_closed_pool_has_let_its_workers_finish_and_answers_nothing(make: PoolMaker, tmp_path: Path) -> None:
    pool = make(workers=2)
    await pool.open()
    await until(lambda: pool.ready == 2, "both workers are there")
    pids = pool.pids
    await pool.close()
    assert marks(tmp_path, "close") == 2
    assert not any(alive(pid) for pid in pids)
    with pytest.raises(Unavailable, match="hsm-a is not open"):
        await pool.call("pid", seconds=5)
    await pool.close()


async def test_closing_does_not_wait_for_a_worker_that_will_not_end(make: PoolMaker, tmp_path: Path) -> None:
    pool = make(workers=1)
    await pool.open()
    (tmp_path / "stay").touch()
    pids = pool.pids
    waiting = [asyncio.ensure_future(pool.call("sleep", 60, seconds=60)) for _ in range(10)]
    await asyncio.sleep(0)
    started = time.monotonic()
    await pool.close()
    assert in_time(started, 10)
    assert not any(alive(pid) for pid in pids)
    for outcome in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(outcome, Unavailable)


_PARENT = """
import asyncio, sys
from plugins.sdk.workers import Limits, WorkerPool

async def main():
    marks, workers, *calls = sys.argv[1:]
    limits = Limits(workers=int(workers))
    pool = WorkerPool("hsm-a", "tests.plugins.blocking:Library", {"marks": marks}, limits=limits)
    await pool.open()
    while pool.ready < limits.workers:
        await asyncio.sleep(0.01)
    print(*pool.pids, flush=True)
    await asyncio.gather(*(pool.call(*call.split(), seconds=3600) for call in calls))

asyncio.run(main())
"""


@contextlib.contextmanager
def parent(directory: Path, workers: int, *calls: str) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A process that makes these calls, and its workers."""
    program = [sys.executable, "-c", _PARENT, str(directory), str(workers), *calls]
    with subprocess.Popen(program, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            pids = [int(word) for word in process.stdout.readline().split()]
            assert len(pids) == workers
            yield process, pids
        finally:
            process.kill()


def test_no_worker_outlives_its_parent_for_long_even_in_the_middle_of_a_call(tmp_path: Path) -> None:
    with parent(tmp_path, 2, "hang", "hang") as (process, pids):
        eventually(lambda: marks(tmp_path, "hang") == 2, "both workers hang in a call")
        assert all(alive(pid) for pid in pids)
        process.kill()
        process.wait(30)
    eventually(lambda: not any(alive(pid) for pid in pids), "no worker is left", seconds=LAST_SECONDS + 20)


def test_a_call_is_finished_when_the_parent_dies_and_none_is_begun_after_it(tmp_path: Path) -> None:
    with parent(tmp_path, 1, "change", "count next") as (process, pids):
        eventually(lambda: marks(tmp_path, "half") == 1, "the call is in the middle")
        process.kill()
        process.wait(30)
        assert alive(pids[0])
        (tmp_path / "go on").touch()
        eventually(lambda: not alive(pids[0]), "the worker ends by itself")
    assert [marks(tmp_path, mark) for mark in ("whole", "next", "close")] == [1, 0, 1]


@pytest.mark.parametrize("turns", [1, 2, 3, 5, 8, 20, 60])
async def test_a_pool_closed_while_a_worker_begins_leaves_no_process(make: PoolMaker, turns: int) -> None:
    pool = make(workers=3)
    await pool.open()
    for _ in range(turns):
        await asyncio.sleep(0)
    await pool.close()
    children = (Path("/proc/self/task") / str(os.getpid()) / "children").read_text().split()
    assert not [child for child in children if "workers.child" in shown(int(child)).decode("utf-8", "replace")]
