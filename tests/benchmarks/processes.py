"""One worker process and two: Encrypt of 1 KiB with 64 connections, in rounds that alternate.

One worker has a core of its own and the load another; two have both cores and share them with the load, as they would
on a machine with two cores.
"""

from __future__ import annotations

import base64
import os
import statistics

from tests.benchmarks import figures, load, machine, servers, wire
from tests.benchmarks.figures import Figure
from tests.benchmarks.load import Expected, Result
from tests.benchmarks.servers import Server

CONNECTIONS = 64
AIM = 1.4
SIZE = 1024


def run(*, quick: bool, rounds: int = 5) -> list[Figure]:
    cores = machine.cores()
    if len(cores) < 2:
        return [figures.missing("ONE CORE ONLY", "two workers would share it")]
    seconds = 0.5 if quick else 2.0
    with (
        servers.directory() as work,
        servers.workers(work / "one", 1, cores={machine.server_core()}) as one,
        servers.workers(work / "two", 2, cores=cores[:2]) as two,
    ):
        keys = {server.name: server.kms().create_key()["KeyMetadata"]["KeyId"] for server in (one, two)}
        alone: list[Result] = []
        both: list[Result] = []
        for _ in range(rounds):
            alone.append(_round(one, keys[one.name], seconds, [machine.load_core()]))
            both.append(_round(two, keys[two.name], seconds, cores[:2]))
    ratio = statistics.median(two.rate / one.rate for one, two in zip(alone, both, strict=True))
    said = [
        figures.median("Encrypt 1 KiB, one worker", [each.rate for each in alone], "per s"),
        figures.median("  CPU per request", [each.cpu for each in alone], "us"),
    ]
    figure = figures.median("Encrypt 1 KiB, two workers", [each.rate for each in both], "per s")
    figures.against(figure, statistics.median(each.rate for each in alone), "one worker", ratio=ratio)
    figures.at_least(figure, ratio, AIM, f"{AIM:g} x one worker")
    return [*said, figure, figures.median("  CPU per request", [each.cpu for each in both], "us")]


def _round(server: Server, key_id: str, seconds: float, cores: list[int]) -> Result:
    members: dict[str, object] = {"KeyId": key_id, "Plaintext": base64.b64encode(os.urandom(SIZE)).decode()}
    made = wire.signed(server, "Encrypt", members)
    expected = Expected(blobs={"CiphertextBlob": SIZE + 28})
    return load.run(server, [made], expected, connections=CONNECTIONS, seconds=seconds, cores=cores)
