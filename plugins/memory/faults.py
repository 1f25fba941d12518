"""Scripted faults: what goes wrong, at which invocation of which call. Used by the memory plugin and by tests.

Guarantee: deterministic. A fault strikes by count, never by time or chance, and each strikes once.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Annotated, NoReturn, TypeVar

import msgspec

from plugins.sdk import Options, OutcomeUnknown, Refused, Unavailable

Answer = TypeVar("Answer")

CRASH_STATUS = 137
"""Exit status of a scripted crash: what a shell reports for ``kill -9``."""
LEAKED_SECRET = "hunter2-AKIAIOSFODNN7EXAMPLE"  # noqa: S105
"""Looks like a credential, is in the message of the ``error`` effect, and must not come out of the host anywhere."""


class Effect(StrEnum):
    """What the store does instead of answering."""

    UNAVAILABLE = "unavailable"
    """Nothing happens; ``Unavailable``."""
    REFUSE = "refuse"
    """Nothing happens; ``Refused``."""
    HANG = "hang"
    """Nothing happens and no answer ever comes."""
    LOST_ANSWER = "lost-answer"
    """It happens; ``OutcomeUnknown``."""
    LOST_REQUEST = "lost-request"
    """Nothing happens; ``OutcomeUnknown``."""
    CRASH_BEFORE = "crash-before"
    """The process dies before it happens."""
    CRASH_AFTER = "crash-after"
    """The process dies after it happened, before the answer."""
    ERROR = "error"
    """Nothing happens; an error that no contract knows, with something secret in its message."""


class Fault(Options, frozen=True):
    """``at`` is the invocation of ``call`` (a method's name) that is struck, counted from 0 in each instance."""

    call: str
    effect: Effect
    at: Annotated[int, msgspec.Meta(ge=0)] = 0


class FaultScript:
    """Counts the invocations of every call and strikes where the script says."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self._faults = {(fault.call, fault.at): fault.effect for fault in faults}
        self._invocations: dict[str, int] = {}

    def add(self, call: str, effect: Effect, at: int = 0) -> None:
        """Strike the invocation ``at`` counted from the next one."""
        self._faults[call, self._invocations.get(call, 0) + at] = effect

    async def run(self, call: str, act: Callable[[], Answer]) -> Answer:
        """Do ``act``, or what the script says about this invocation of ``call``."""
        invocation = self._invocations.get(call, 0)
        self._invocations[call] = invocation + 1
        effect = self._faults.pop((call, invocation), None)
        match effect:
            case None:
                return act()
            case Effect.HANG:
                await asyncio.Event().wait()
            case Effect.CRASH_BEFORE:
                _crash()
            case Effect.CRASH_AFTER:
                act()
                _crash()
            case Effect.LOST_ANSWER:
                act()
                raise OutcomeUnknown(f"the connection was lost before {call} was answered")
            case Effect.LOST_REQUEST:
                raise OutcomeUnknown(f"the connection was lost before {call} was answered")
            case Effect.UNAVAILABLE:
                raise Unavailable(f"the memory store is scripted to be unavailable for {call}")
            case Effect.REFUSE:
                raise Refused(f"the memory store is scripted to refuse {call}")
            case Effect.ERROR:
                raise RuntimeError(f"driver failure, session opened with pin={LEAKED_SECRET}")
        raise AssertionError("a hang ended")


def _crash() -> NoReturn:
    os._exit(CRASH_STATUS)
