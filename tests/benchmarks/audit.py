"""What the audit journal costs: checking it, and a request with it beside one without.

A server cannot be told to leave its audit out; the one that is measured beside has its journal's ``append`` replaced.
Under load that one is not the faster of the two: the group commit also makes answers leave in groups, which saves the
event loop rounds.
"""

from __future__ import annotations

import asyncio
import base64
import os
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path

from controlplane.audit.journal import AuditJournal
from controlplane.audit.records import AuditRecord
from controlplane.audit.verifying import verify
from tests.benchmarks import figures, load, machine, servers, wire
from tests.benchmarks.figures import Figure
from tests.benchmarks.load import Expected, Result
from tests.benchmarks.servers import Server

CONNECTIONS = 64
SIZE = 1024
VERIFY_AIM = 100_000.0
COST_AIM = 15.0
WITHOUT = """
import sys
from controlplane.audit.journal import AuditJournal
async def append(self, record):
    return 0
AuditJournal.append = append
from controlplane.cli.main import run
sys.argv[0] = "keystead"
run()
"""


def run(*, quick: bool, rounds: int = 5) -> list[Figure]:
    with servers.directory() as work:
        return [*_verify(work, 50_000 if quick else 500_000), *_cost(work, 0.5 if quick else 2.0, rounds)]


def _verify(work: Path, count: int) -> list[Figure]:
    async def fill() -> None:
        journal = AuditJournal(work / "audit", sync=False)
        journal.open()
        for start in range(0, count, 1000):
            await asyncio.gather(*(journal.append(_record(number)) for number in range(start, start + 1000)))
        await journal.close()

    asyncio.run(fill())
    rates = []
    for _ in range(3):
        started = time.perf_counter()
        result = verify(work / "audit")
        rates.append(result.records / (time.perf_counter() - started))
        if not result.ok or result.records < count:
            raise RuntimeError(f"the journal does not verify: {result.bad}")
    figure = figures.median(f"verify {count:,} records", rates, "records/s")
    return [figures.at_least(figure, figure.value, VERIFY_AIM, f">= {VERIFY_AIM:,.0f}")]


def _record(number: int) -> AuditRecord:
    """As long as that of an Encrypt with an encryption context."""
    return AuditRecord(
        time=datetime.now(UTC),
        request_id=f"00000000-0000-4000-8000-{number:012}",
        principal="arn:aws:iam::000000000000:user/billing",
        source="10.0.0.1",
        operation="Encrypt",
        action="kms:Encrypt",
        region="us-east-1",
        decision="allowed",
        reason="the key policy lets the account decide; identity policy own",
        resource="arn:aws:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab",
        encryption_context={"tenant": "a", "purpose": "cards"},
        latency_us=145,
    )


def _cost(work: Path, seconds: float, rounds: int) -> list[Figure]:
    core = machine.server_core()
    with (
        servers.keystead(work / "with", core=core) as audited,
        servers.keystead(work / "without", core=core, program=WITHOUT) as silent,
    ):
        keys = {server.port: server.kms().create_key()["KeyMetadata"]["KeyId"] for server in (audited, silent)}
        on: list[Result] = []
        off: list[Result] = []
        for _ in range(rounds):
            on.append(_round(audited, keys[audited.port], seconds))
            off.append(_round(silent, keys[silent.port], seconds))
    cost = figures.median(
        f"Encrypt of 1 KiB, {CONNECTIONS} connections: throughput that audit costs",
        [(1 - one.rate / other.rate) * 100 for one, other in zip(on, off, strict=True)],
        "%",
    )
    processor = figures.median("  CPU of a request, audit on", [each.cpu for each in on], "us")
    return [
        figures.against(
            figures.median(
                f"Encrypt of 1 KiB, {CONNECTIONS} connections, audit on", [each.rate for each in on], "per s"
            ),
            statistics.median(each.rate for each in off),
            "per s, audit off",
        ),
        figures.under(cost, COST_AIM, f"< {COST_AIM:.0f} %"),
        figures.against(processor, statistics.median(each.cpu for each in off), "us, audit off"),
    ]


def _round(server: Server, key: str, seconds: float) -> Result:
    request = wire.signed(server, "Encrypt", {"KeyId": key, "Plaintext": base64.b64encode(os.urandom(SIZE)).decode()})
    expected = Expected(members=False)
    return load.run(server, [request], expected, connections=CONNECTIONS, seconds=seconds)
