"""Probes of key stores: what was tried on a live store with material of the probe's own, and what came of it.

What the reconciliation API answers to ``POST /v1/keystores/{name}/probe``.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from controlplane.schema.base import Frozen
from controlplane.schema.keys import KeySpec


class ProbeCheck(StrEnum):
    """A promise of the plugin contract that can be tried on a store that is in use."""

    HEALTH = "health"
    RANDOM = "random"
    ABSENT = "absent"
    """Nothing is found under a name that nobody used."""
    CREATE = "create"
    """Material is made, and found as it was made; making it again makes nothing else."""
    USE = "use"
    """What it encrypts it decrypts, what it signs it verifies."""
    REFUSE = "refuse"
    """A changed octet, or another context, is refused."""
    DESTROY = "destroy"
    """It is destroyed, and is not there afterwards."""


class ProbeOutcome(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    LEFT_OUT = "leftOut"


class ProbeStep(Frozen, omit_defaults=False):
    """One check, of the store or of its material of one key spec. ``milliseconds`` is how long it took."""

    check: ProbeCheck
    outcome: ProbeOutcome
    message: str = ""
    key_spec: KeySpec | None = None
    milliseconds: int = 0


class ProbeReport(Frozen, omit_defaults=False):
    """Everything that was tried, in its order."""

    key_store: str
    at: datetime
    passed: bool
    """Nothing failed."""
    steps: tuple[ProbeStep, ...]
