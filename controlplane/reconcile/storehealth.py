"""What a look at a key store says in its status and in the metrics, and which of that is news.

Who calls it: ``keystores``. Guarantee: a status that says the same is equal to the one before, so looking writes
nothing; news are told when something changes, and of a certificate once a day while it is about to expire.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import msgspec

from controlplane import metrics
from controlplane.schema.events import EventReason
from controlplane.schema.keystores import KeyStoreStatus, LatencyStatus, MemberStatus
from plugins.sdk import Health, HealthLevel, Latency

STEPS: Final = (1, 2, 5, 10, 20, 50, 100, 150, 200, 250, 500, 1000, 2000, 5000)
SLOW: Final = 0.8
"""Of the limit: where slow begins."""
CERTIFICATE_DAYS: Final = 30
"""From here on the end of a certificate is news."""


def seen(status: KeyStoreStatus, health: Health, now: datetime) -> KeyStoreStatus:
    """The status after a look."""
    expires, days = None, None
    if health.certificate_expires_at is not None:
        expires = datetime.fromtimestamp(health.certificate_expires_at, UTC)
        days = (expires - now).days
    level = health.level or (HealthLevel.ACTIVE if health.healthy else HealthLevel.DEGRADED)
    return msgspec.structs.replace(
        status,
        members=tuple(MemberStatus(name=each.name, active=each.active, message=each.detail) for each in health.members),
        synchronised=health.synchronised,
        missing_to_create=health.missing_to_create,
        health=level,
        certificate_expires_at=expires,
        certificate_days=days,
        latency=None if health.latency is None else _stepped(health.latency),
    )


def news(before: KeyStoreStatus, after: KeyStoreStatus, detail: str) -> Iterator[tuple[EventReason, str]]:
    """What people want to hear of. ``detail`` is what the look said of the store as a whole."""
    if after.health is not before.health and after.health is not None:
        if after.health is HealthLevel.DEGRADED:
            yield EventReason.STORE_DEGRADED, detail
        elif after.health is HealthLevel.UNAVAILABLE:
            yield EventReason.STORE_FAILED, detail
        elif before.health is not None:
            yield EventReason.STORE_RECOVERED, detail
    if _slow(after.latency) and not _slow(before.latency):
        assert after.latency is not None
        yield (
            EventReason.STORE_SLOW,
            f"1 of 100 requests takes {after.latency.p99} ms or more; at {after.latency.limit} ms they are given up",
        )
    days = after.certificate_days
    if days is not None and days <= CERTIFICATE_DAYS and days != before.certificate_days:
        told = f"expires in {days} days" if days >= 0 else "has expired"
        yield EventReason.CERTIFICATE_EXPIRES_SOON, f"the certificate of its server {told}"


def measure(name: str, store_type: str, level: HealthLevel | None, health: Health | None, now: datetime) -> None:
    """Tell the metrics. ``health`` is None where there was no look; what is not known is NaN."""
    metrics.KEY_STORE_HEALTH.labels(name, store_type).set(math.nan if level is None else _NUMBERS[level])
    if health is None or health.latency is None:
        return
    for quantile, seconds in (("0.5", health.latency.p50), ("0.99", health.latency.p99)):
        metrics.KEY_STORE_SECONDS.labels(name, quantile).set(seconds)
    if health.certificate_expires_at is not None:
        days = (health.certificate_expires_at - now.timestamp()) / 86_400
        metrics.KEY_STORE_CERTIFICATE_DAYS.labels(name).set(days)


_NUMBERS: Final = {HealthLevel.ACTIVE: 2, HealthLevel.DEGRADED: 1, HealthLevel.UNAVAILABLE: 0}


def _slow(latency: LatencyStatus | None) -> bool:
    return latency is not None and latency.p99 >= SLOW * latency.limit


def _stepped(latency: Latency) -> LatencyStatus:
    return LatencyStatus(p50=_step(latency.p50), p99=_step(latency.p99), limit=round(latency.limit * 1000))


def _step(seconds: float) -> int:
    return next((step for step in STEPS if seconds * 1000 <= step), STEPS[-1])
