"""What a look at all copies of key tokens and plugin records found."""

from __future__ import annotations

from datetime import datetime

from controlplane.schema.base import Frozen


class CopyState(Frozen, omit_defaults=False):
    """One directory. ``unknown`` are files that nothing in the database speaks of; they are never removed."""

    place: str
    reachable: bool
    good: int
    missing: int
    damaged: int
    unknown: int


class CopiesReport(Frozen, omit_defaults=False):
    """Numbers are what was found before anything was made good; ``repaired`` is how much of it was.

    ``lost`` names records of which no good copy is left anywhere.
    """

    looked_at: datetime
    tokens: int
    states: int
    database_damaged: int
    copies: tuple[CopyState, ...]
    repaired: int
    lost: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether everything was good everywhere."""
        return not self.database_damaged and all(
            each.reachable and not each.missing and not each.damaged for each in self.copies
        )
