"""Awaiting with a deadline: what answers at once needs no timer, and what waits has its deadline all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from controlplane.keystores.deadline import within
from tests.controlplane.reconcile.virtual import virtually


class Broken(Exception):
    pass


async def answer(*waits: float, problem: Exception | None = None) -> str:
    for seconds in waits:
        await asyncio.sleep(seconds)
    if problem is not None:
        raise problem
    return "answer"


@pytest.mark.parametrize("waits", [(), (0,), (0, 0), (1,), (1, 0, 2)])
def test_the_result_comes_however_often_the_call_waits(waits: tuple[float, ...]) -> None:
    @virtually
    async def run() -> None:
        assert await within(answer(*waits), 5) == "answer"
        with pytest.raises(Broken):
            await within(answer(*waits, problem=Broken()), 5)

    run()


@virtually
async def test_a_call_is_cancelled_at_its_deadline() -> None:
    cancelled = []

    async def hang() -> None:
        try:
            await asyncio.sleep(1)
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            cancelled.append(asyncio.get_running_loop().time())
            raise

    began = asyncio.get_running_loop().time()
    with pytest.raises(TimeoutError):
        await within(hang(), 5)
    assert cancelled == [began + 5]


@virtually
async def test_a_cancelled_caller_cancels_the_call() -> None:
    ended = []

    async def hang() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            ended.append(True)

    task = asyncio.create_task(within(hang(), 50))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]


@virtually
async def test_a_call_may_have_deadlines_and_tasks_of_its_own() -> None:
    async def inner() -> str:
        try:
            async with asyncio.timeout(1):
                await asyncio.sleep(10)
        except TimeoutError:
            pass
        await asyncio.gather(asyncio.sleep(1), asyncio.sleep(2))
        async with asyncio.timeout(10):
            return await answer(1)

    assert await within(inner(), 20) == "answer"


@virtually
async def test_a_call_that_survives_its_first_cancellation_goes_on() -> None:
    async def stubborn() -> str:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            asyncio.current_task().uncancel()  # type: ignore[union-attr]
        return await answer(1)

    task = asyncio.create_task(within(stubborn(), 500))
    await asyncio.sleep(1)
    task.cancel()
    assert await task == "answer"


@virtually
async def test_whatever_can_be_awaited_has_a_deadline() -> None:
    done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    done.set_result("answer")
    never: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    class Own:
        def __await__(self) -> Any:
            return answer(1).__await__()

    own: Awaitable[str] = Own()
    assert await within(done, 5) == "answer"
    assert await within(own, 5) == "answer"
    with pytest.raises(TimeoutError):
        await within(never, 5)
