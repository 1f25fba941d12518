"""Encrypt and Decrypt over all keys of a small, a large and a huge server: the rate should not depend on their number.

Every key is used once first (the rate of that is said, too); then rounds of the servers alternate, each with thousands
of keys at random.
"""

from __future__ import annotations

import base64
import contextlib
import random
import statistics

import msgspec

from tests.benchmarks import figures, load, machine, seed, servers, wire
from tests.benchmarks.figures import Figure
from tests.benchmarks.load import Expected, Result
from tests.benchmarks.servers import Server

CONNECTIONS = 64
IN_A_ROUND = 20_000
FLAT = 0.85
PLAINTEXT = base64.b64encode(b"a data key of 32 octets, as usual").decode()


class _Case(msgspec.Struct):
    """One server with its keys."""

    server: Server
    keys: list[str]
    results: list[Result] = []


def run(*, quick: bool, rounds: int = 5) -> list[Figure]:
    sizes = (10, 1_000, 5_000) if quick else (10, 1_000, 100_000)
    chance = random.Random(1)
    said: list[Figure] = []
    with servers.directory() as work, contextlib.ExitStack() as stack:
        cases = []
        for size in sizes:
            data = work / f"keys-{size}"
            keys = seed.key_ids(data, size)
            server = stack.enter_context(servers.keystead(data, core=machine.server_core()))
            machine.wait_until_idle(server.pid)
            cases.append(_Case(server, keys))
        for case in cases:
            first = load.run(
                case.server, _requests(case, case.keys), _EXPECTED, connections=CONNECTIONS, seconds=0, warm=0
            )
            figure = Figure(f"Encrypt, first use of each of {len(case.keys):,} keys", first.rate, "per s")
            said += [figure, Figure("  CPU per request", first.cpu, "us")]
        for _ in range(rounds):
            for case in cases:
                keys = chance.choices(case.keys, k=min(IN_A_ROUND, 4 * len(case.keys)))
                result = load.run(
                    case.server,
                    _requests(case, keys),
                    _EXPECTED,
                    connections=CONNECTIONS,
                    seconds=0.5 if quick else 2.0,
                )
                case.results.append(result)
        few = cases[0].results
        for case in cases:
            figure = figures.median(f"Encrypt, {len(case.keys):,} keys", [each.rate for each in case.results], "per s")
            cpu = figures.median("  CPU per request", [each.cpu for each in case.results], "us")
            if case is not cases[0]:
                pairs = list(zip(case.results, few, strict=True))
                ratio = statistics.median(each.rate / of_few.rate for each, of_few in pairs)
                beside = statistics.median(each.rate for each in few)
                figures.against(figure, beside, f"with {sizes[0]}", ratio=ratio)
                figures.at_least(figure, ratio, FLAT, f"{FLAT:g} of it")
                used = statistics.median(each.cpu / of_few.cpu for each, of_few in pairs)
                figures.against(cpu, statistics.median(each.cpu for each in few), f"with {sizes[0]}", ratio=used)
            said += [figure, cpu, Figure("  memory", machine.memory_megabytes(case.server.pid), "MB")]
    return said


_EXPECTED = Expected(blobs={"CiphertextBlob": 80})


def _requests(case: _Case, keys: list[str]) -> list[bytes]:
    return wire.signed_fast(case.server, "Encrypt", [{"KeyId": key, "Plaintext": PLAINTEXT} for key in keys])
