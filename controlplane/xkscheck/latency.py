"""How long a proxy takes, against the 250 milliseconds after which KMS gives up. Called by ``run``."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from controlplane.xkscheck.checks import opened, sealed, succeeded
from controlplane.xkscheck.target import Target

BUDGET_MILLISECONDS: Final = 250.0


class Latency(msgspec.Struct, frozen=True, rename="camel"):
    """Percentiles of one kind of request, in milliseconds; ``late`` counts those over the budget."""

    request: str
    count: int
    p50: float
    p90: float
    p99: float
    longest: float
    late: int


async def measure(at: Target, samples: int) -> list[Latency]:
    """Each API on a kept connection, one after the other, and GetHealthStatus with connection and handshake."""

    async def health() -> None:
        succeeded(await at.post("/health", at.health_body()))

    async def connecting() -> None:
        succeeded(await at.post("/health", at.health_body(), fresh=at.context()))

    results = [
        await _timed("GetHealthStatus", health, samples),
        await _timed("GetHealthStatus, connecting", connecting, min(samples, 20)),
    ]
    if at.key is not None:
        box = await sealed(at, bytes(77), bytes(32))
        metadata = f"/keys/{at.key}/metadata"

        async def describe() -> None:
            succeeded(await at.post(metadata, at.metadata("CreateKey", kmsKeyArn=None)))

        async def encrypt() -> None:
            await sealed(at, bytes(77), bytes(32), ciphertextDataIntegrityValueAlgorithm="SHA_256")

        async def decrypt() -> None:
            succeeded(await opened(at, box, bytes(32)))

        results += [
            await _timed("GetKeyMetadata", describe, min(samples, 20)),
            await _timed("Encrypt", encrypt, samples),
            await _timed("Decrypt", decrypt, samples),
        ]
    return results


async def _timed(request: str, ask: Callable[[], Awaitable[None]], samples: int) -> Latency:
    took = []
    for _ in range(samples):
        began = time.perf_counter()
        await ask()
        took.append((time.perf_counter() - began) * 1000)
    took.sort()

    def percentile(share: float) -> float:
        return round(took[min(len(took) - 1, int(share * len(took)))], 2)

    late = sum(each > BUDGET_MILLISECONDS for each in took)
    return Latency(request, samples, percentile(0.5), percentile(0.9), percentile(0.99), round(took[-1], 2), late)
