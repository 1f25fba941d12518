"""All checks and the measurement, to one result. Called by ``cli.xks``."""

from __future__ import annotations

from enum import StrEnum

import aiohttp
import msgspec

from controlplane.xkscheck.checks import CHECKS, Broken, Check, Skipped
from controlplane.xkscheck.latency import Latency, measure
from controlplane.xkscheck.target import Target


class Verdict(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


class Checked(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One promise of the specification and what became of it."""

    section: str
    promise: str
    verdict: Verdict
    detail: str = ""


class Examination(msgspec.Struct, frozen=True, rename="camel"):
    """The report."""

    url: str
    checks: tuple[Checked, ...]
    latencies: tuple[Latency, ...]

    def count(self, verdict: Verdict) -> int:
        return sum(check.verdict is verdict for check in self.checks)

    @property
    def passed(self) -> bool:
        """Nothing failed, and nothing took longer than KMS waits."""
        return not self.count(Verdict.FAILED) and not any(each.late for each in self.latencies)


async def examine(target: Target, *, samples: int = 100) -> Examination:
    """Try everything. Never raises for what the proxy does."""
    async with target:
        checks = [await _tried(target, section, needs_key, check) for section, needs_key, check in CHECKS]
        latencies: list[Latency] = []
        if samples:
            try:
                latencies = await measure(target, samples)
            except (Broken, aiohttp.ClientError, OSError, TimeoutError) as error:
                checks.append(
                    Checked("Latency", "Requests are answered while they are timed", Verdict.FAILED, _why(error))
                )
        return Examination(target.url, tuple(checks), tuple(latencies))


async def _tried(target: Target, section: str, needs_key: bool, check: Check) -> Checked:
    promise = (check.__doc__ or check.__name__).strip()
    if needs_key and target.key is None:
        return Checked(section, promise, Verdict.SKIPPED, "no external key was given (--key)")
    try:
        await check(target)
    except Skipped as why:
        return Checked(section, promise, Verdict.SKIPPED, str(why))
    except (TimeoutError, Broken, aiohttp.ClientError, OSError) as error:
        return Checked(section, promise, Verdict.FAILED, _why(error))
    return Checked(section, promise, Verdict.PASSED)


def _why(error: Exception) -> str:
    if isinstance(error, Broken):
        return str(error)
    return f"no answer: {type(error).__name__}"
