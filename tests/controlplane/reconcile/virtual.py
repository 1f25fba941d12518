"""An event loop whose clock jumps to the next timer instead of waiting for it: time passes, and no test sleeps."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any


class _Selector(selectors.SelectSelector):
    """Never waits: where the loop would, its clock moves."""

    skip: Callable[[float], None]

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout != 0:
            assert timeout is not None, "everybody waits and nothing will ever happen"
            self.skip(timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """For code on one thread only: nothing else's work is waited for."""

    def __init__(self) -> None:
        selector = _Selector()
        selector.skip = self._skip
        self._now = 1000.0
        super().__init__(selector)

    def time(self) -> float:
        return self._now

    def _skip(self, seconds: float) -> None:
        self._now += seconds


def virtually(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test on a virtual loop."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run
