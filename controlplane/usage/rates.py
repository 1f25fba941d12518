"""How many uses of keys there were lately: a small ring of counters in memory, for the screen of an operator.

Who calls it: ``usage.perform`` counts each cryptographic use; the reconciliation API reads. Guarantee: bounded memory
and no I/O on the crypto path. It is this process's view since its start; the audit journal is the record.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from controlplane.schema.browse import UseRates

SECONDS: Final = 10
STEPS: Final = 60


class Rates:
    """Ten minutes in steps of ten seconds. ``now`` is a monotonic clock in seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._step = int(now()) // SECONDS
        self._allowed = [0] * STEPS
        self._refused = [0] * STEPS

    def count(self, *, allowed: bool) -> None:
        """One use of a key."""
        at = self._advance() % STEPS
        if allowed:
            self._allowed[at] += 1
        else:
            self._refused[at] += 1

    def shown(self) -> UseRates:
        """Oldest first."""
        first = (self._advance() + 1) % STEPS
        order = [(first + step) % STEPS for step in range(STEPS)]
        return UseRates(
            seconds=SECONDS,
            allowed=tuple(self._allowed[at] for at in order),
            refused=tuple(self._refused[at] for at in order),
        )

    def _advance(self) -> int:
        """The present step; those that passed meanwhile without a use are emptied."""
        step = int(self._now()) // SECONDS
        for passed in range(max(self._step + 1, step - STEPS + 1), step + 1):
            self._allowed[passed % STEPS] = self._refused[passed % STEPS] = 0
        self._step = max(self._step, step)
        return self._step
