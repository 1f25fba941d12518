"""An HSM key store under load for a long time, with faults all the while: no wrong answer, no session left behind.

``make soak`` takes half an hour (``KEYSTEAD_SOAK_SECONDS``); with the other tests it takes seconds.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugins.pkcs11 import Pkcs11KeyStore
from plugins.sdk import KeyStoreError
from tests.hsm import SoftToken
from tests.plugins.test_pkcs11_faults import SYMMETRIC, made, opened, pids, round_trip, works_again
from tests.shim import Effect, Shim

__all__ = ["opened"]

SECONDS = float(os.environ.get("KEYSTEAD_SOAK_SECONDS", "8"))
WORKERS = 2
CALLERS = 16
SESSION_HANDLE_INVALID = 0xB3
OBJECT_HANDLE_INVALID = 0x82
GROWTH_OCTETS = 32 << 20
"""Of a worker's memory, from its first minute on; caches of handles and allocators are well below."""


@pytest.fixture
def shim(tmp_path: Path) -> Iterator[Shim]:
    shim = Shim(SoftToken(tmp_path))
    yield shim
    shim.close()


def memory(pid: int) -> int:
    """Octets that a process has in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.timeout(SECONDS + 170)
async def test_hours_of_calls_and_faults_leave_one_session_for_each_worker(opened: object, shim: Shim) -> None:
    store: Pkcs11KeyStore = await opened(shim.options(workers=WORKERS, useSeconds=60))  # type: ignore[operator]
    keys = [await made(store) for _ in range(8)]
    sealed = [await store.encrypt(key, SYMMETRIC, b"kept", b"aad") for key in keys]
    await works_again(lambda: _both(store))
    before = pids(store), descriptors()
    sizes = [memory(pid) for pid in before[0]]
    until = time.monotonic() + SECONDS
    answered, refused = 0, 0

    async def call(number: int) -> None:
        nonlocal answered, refused
        at = number % len(keys)
        while time.monotonic() < until:
            try:
                await round_trip(store, keys[at])
                assert await store.decrypt(keys[at], SYMMETRIC, sealed[at], b"aad") == b"kept"
                answered += 1
            except KeyStoreError:
                refused += 1
                await asyncio.sleep(0.01)

    async def disturb() -> int:
        struck, codes = 0, (SESSION_HANDLE_INVALID, OBJECT_HANDLE_INVALID)
        while time.monotonic() < until:
            shim.strike(Effect.FAIL, codes[struck % 2], at=3)
            await asyncio.sleep(0.1)
            struck += 1
            assert shim.sessions <= WORKERS, "an old epoch's session was left open"
        return struck

    *_, struck = await asyncio.gather(*(call(number) for number in range(CALLERS)), disturb())
    shim.heal()
    await works_again(lambda: round_trip(store, keys[0]))
    assert struck > 10
    assert answered > 20 * SECONDS
    assert refused < answered / 10
    assert shim.sessions == WORKERS
    assert pids(store) == before[0], "stale sessions need no new process"
    assert descriptors() < before[1] + 10
    grown = [memory(pid) - size for pid, size in zip(before[0], sizes, strict=True)]
    assert max(grown) < GROWTH_OCTETS
    await store.close()
    assert shim.sessions == 0


async def _both(store: Pkcs11KeyStore) -> None:
    if len(pids(store)) < WORKERS:
        raise KeyStoreError("the second worker begins")
