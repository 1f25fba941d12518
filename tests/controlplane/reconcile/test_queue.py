"""The keyed queue: no key twice, no key at two workers, nothing forgotten. Time is the virtual loop's."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.reconcile.queue import BACKOFF_FIRST, BACKOFF_MOST, KeyedQueue, Priority
from tests.controlplane.reconcile.virtual import VirtualLoop, virtually


class NoJitter(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


def now() -> float:
    return asyncio.get_running_loop().time()


async def drained(queue: KeyedQueue[str]) -> list[str]:
    """Everything that is ready now, each finished at once."""
    found = []
    while len(queue):
        key = await queue.get()
        assert key is not None
        found.append(key)
        queue.done(key)
    return found


@virtually
async def test_a_key_waits_once_however_often_it_is_added() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    for key in "abcabcaab":
        queue.add(key)
    assert len(queue) == 3
    assert await drained(queue) == ["a", "b", "c"]


@virtually
async def test_what_users_changed_comes_before_routine() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    for key in "abc":
        queue.add(key, Priority.RESYNC)
    queue.add("d")
    queue.add("b", Priority.CHANGED)
    queue.add("d", Priority.RESYNC)
    assert await drained(queue) == ["d", "b", "a", "c"]


@virtually
async def test_a_key_that_was_raised_once_keeps_its_place_in_routine_afterwards() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    queue.add("a", Priority.RESYNC)
    queue.add("a", Priority.CHANGED)
    assert await drained(queue) == ["a"]
    queue.add("a", Priority.RESYNC)
    queue.add("b", Priority.RESYNC)
    assert await drained(queue) == ["a", "b"]


@virtually
async def test_a_key_that_is_worked_on_is_not_handed_out_and_comes_once_more_afterwards() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    queue.add("a")
    assert await queue.get() == "a"
    for _ in range(3):
        queue.add("a")
    second = asyncio.ensure_future(queue.get())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not second.done()
    queue.done("a")
    assert await second == "a"
    queue.done("a")
    assert len(queue) == 0


@virtually
async def test_a_delayed_key_comes_when_it_is_due_and_not_before() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    start = now()
    queue.add_after("later", 20)
    queue.add_after("sooner", 10)
    queue.add_after("never-negative", -5)
    assert (await queue.get(), now() - start) == ("never-negative", 0)
    assert (await queue.get(), now() - start) == ("sooner", pytest.approx(10))
    assert (await queue.get(), now() - start) == ("later", pytest.approx(20))


@virtually
async def test_the_earlier_of_two_delays_holds_and_an_add_beats_both() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    start = now()
    queue.add_after("a", 10)
    queue.add_after("a", 100)
    queue.add_after("a", 5)
    assert (await queue.get(), now() - start) == ("a", pytest.approx(5))
    queue.done("a")
    queue.add_after("a", 50)
    queue.add("a")
    assert await drained(queue) == ["a"]
    queue.add_after("end", 1000)
    assert await queue.get() == "end", "none of the delays that were beaten comes back"
    assert now() - start == pytest.approx(1005)


@virtually
async def test_a_delay_that_ends_while_its_key_is_worked_on_waits_for_the_worker() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    queue.add("a")
    assert await queue.get() == "a"
    queue.add_after("a", 1)
    queue.add_after("b", 2)
    assert await queue.get() == "b"
    queue.done("a")
    assert await queue.get() == "a"


@virtually
async def test_a_delay_does_not_put_off_a_key_that_waits_already() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    queue.add("a")
    queue.add_after("a", 100)
    assert await queue.get() == "a"
    queue.add("a")
    queue.add_after("a", 100)
    queue.done("a")
    start = now()
    assert (await queue.get(), now()) == ("a", start)


@virtually
async def test_backoff_doubles_to_its_limit_and_one_success_resets_it() -> None:
    queue: KeyedQueue[str] = KeyedQueue(jitter=NoJitter())
    delays = []
    for _ in range(40):
        start = now()
        delays.append(queue.failed("a"))
        assert await queue.get() == "a"
        assert now() - start == pytest.approx(delays[-1])
        queue.done("a")
    assert delays[:4] == [BACKOFF_FIRST, 2 * BACKOFF_FIRST, 4 * BACKOFF_FIRST, 8 * BACKOFF_FIRST]
    assert set(delays[9:]) == {BACKOFF_MOST}
    queue.failed("b")
    queue.succeeded("a")
    assert queue.failed("a") == BACKOFF_FIRST
    assert queue.failed("b") == 2 * BACKOFF_FIRST, "each key has its own count"


@virtually
async def test_jitter_keeps_backoff_within_a_quarter() -> None:
    queue: KeyedQueue[str] = KeyedQueue(jitter=random.Random(1))
    delays = [queue.failed(str(number)) for number in range(200)]
    assert min(delays) >= 0.75 * BACKOFF_FIRST
    assert max(delays) <= 1.25 * BACKOFF_FIRST
    assert len(set(delays)) > 100


@virtually
async def test_a_failure_while_the_key_was_added_again_does_not_put_it_off() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    queue.failed("a")
    queue.done("a")
    start = now()
    assert (await queue.get(), now()) == ("a", start)


@virtually
async def test_closing_sends_every_worker_home_and_takes_nothing_more() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    queue.add("working")
    assert await queue.get() == "working"
    queue.add("working")
    workers = [asyncio.ensure_future(queue.get()) for _ in range(5)]
    await asyncio.sleep(0)
    queue.add_after("later", 10)
    queue.close()
    assert await asyncio.gather(*workers) == [None] * 5
    queue.add("a")
    queue.add_after("b", 0)
    queue.failed("c")
    queue.done("working")
    assert await queue.get() is None
    assert len(queue) == 0


@virtually
async def test_a_worker_that_is_cancelled_while_it_waits_loses_no_key() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    waiting = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert await queue.get() == "a"


steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "resync", "after", "fail"]),
        st.sampled_from("abc"),
        st.integers(0, 5),
        st.integers(0, 3),
    ),
    max_size=40,
)


@given(steps=steps, workers=st.integers(1, 3))
def test_whatever_happens_each_add_is_followed_by_a_look_and_no_key_is_at_two_workers(
    steps: list[tuple[str, str, int, int]], workers: int
) -> None:
    async def scenario() -> None:
        queue: KeyedQueue[str] = KeyedQueue()
        working: set[str] = set()
        looked: dict[str, float] = {}
        added: dict[str, float] = {}
        order = iter(range(1_000_000))

        async def worker(slowness: int) -> None:
            while (key := await queue.get()) is not None:
                assert key not in working
                working.add(key)
                looked[key] = next(order)
                await asyncio.sleep(slowness)
                working.discard(key)
                queue.done(key)

        tasks = [asyncio.ensure_future(worker(number)) for number in range(workers)]
        for what, key, delay, pause in steps:
            if what == "after":
                queue.add_after(key, delay)
            elif what == "fail":
                queue.failed(key)
            else:
                queue.add(key, Priority.RESYNC if what == "resync" else Priority.CHANGED)
                added[key] = next(order)
            if pause:
                await asyncio.sleep(pause)
        await asyncio.sleep(10_000)
        assert len(queue) == 0
        assert not queue._delayed
        assert all(looked[key] > moment for key, moment in added.items())
        queue.close()
        await asyncio.gather(*tasks)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(scenario())
