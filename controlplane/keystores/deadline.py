"""Awaiting with a deadline that costs nothing where nothing waits.

Who calls it: ``calls``, for every plugin method. ``asyncio.timeout`` arms a timer of the event loop, 5 microseconds for
a method of the embedded store that answers in 4 without ever waiting. So a coroutine takes its first step before the
timer is armed, and most are over then. What waits has its deadline as before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Generator
from types import CoroutineType
from typing import Any, Generic, TypeVar

T = TypeVar("T")


async def within(call: Awaitable[T], seconds: float) -> T:
    """The result of ``call``. Raises :class:`TimeoutError` after ``seconds``, and cancels it."""
    if type(call) is not CoroutineType:
        async with asyncio.timeout(seconds):
            return await call
    try:
        first = call.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    async with asyncio.timeout(seconds):
        return await _Rest(call, first)


class _Rest(Generic[T]):
    """What is left of a coroutine that has taken its first step and waits for ``first``."""

    __slots__ = ("_coroutine", "_first")

    def __init__(self, coroutine: Coroutine[Any, Any, T], first: Any) -> None:
        self._coroutine = coroutine
        self._first = first

    def __await__(self) -> Generator[Any, Any, T]:
        coroutine, waited = self._coroutine, self._first
        try:
            while True:
                try:
                    answer = yield waited
                except GeneratorExit:
                    coroutine.close()
                    raise
                except BaseException as error:  # a cancellation is the coroutine's, too
                    waited = coroutine.throw(error)
                else:
                    waited = coroutine.send(answer)
        except StopIteration as done:
            result: T = done.value
            return result
