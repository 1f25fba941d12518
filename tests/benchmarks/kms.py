"""The KMS door over the wire: one server process on one core, the load on another, moto's server beside it.

Rounds of the servers alternate, so that what else the machine does disturbs both; a ratio is the median of the rounds'
ratios. The floor: an unsigned request through the same door, and ``GET /healthz`` through Litestar.
"""

from __future__ import annotations

import base64
import contextlib
import os
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tests.benchmarks import figures, load, machine, servers, wire
from tests.benchmarks.figures import Figure
from tests.benchmarks.load import Expected, Result
from tests.benchmarks.servers import Server

SIZE = 1024
AIM = 15.0
EMPTY_AIM = 1 / 3


class _Case(msgspec.Struct):
    """One kind of request against one server; ``make`` signs it anew, because a signature holds for five minutes."""

    name: str
    make: Callable[[], bytes]
    expected: Expected
    results: list[Result] = []


def run(*, quick: bool, moto: Path | None) -> list[Figure]:
    """``moto``: an interpreter that has moto; without one a virtualenv is made for it, but not with ``quick``."""
    with servers.directory() as work, contextlib.ExitStack() as stack:
        said: list[Figure] = []
        reference = None
        try:
            if moto is None and quick:
                raise RuntimeError("installing it takes half a minute; give --moto PYTHON or run without --quick")
            python = moto if moto is not None else servers.install_moto(work)
            reference = stack.enter_context(servers.moto(python, work, core=machine.server_core()))
        except RuntimeError as error:
            said.append(figures.missing("NO REFERENCE: moto was not measured", str(error)))
        ours = stack.enter_context(servers.keystead(work / "data", core=machine.server_core()))
        if machine.server_core() == machine.load_core():
            said.append(figures.missing("ONE CORE ONLY", "server and load share it; the rates say little"))
        return said + _measure(ours, reference, seconds=0.5 if quick else 2.0, many=(64,) if quick else (64, 1))


def _measure(
    ours: Server, reference: Server | None, *, seconds: float, many: Sequence[int], rounds: int = 3
) -> list[Figure]:
    mine, theirs = _cases(ours), _cases(reference) if reference is not None else []
    floor = [
        _Case(
            "unsigned POST /", lambda: wire.plain(ours, "POST", "/", body=b"{}"), Expected(status=400, members=False)
        ),
        _Case("GET /healthz", lambda: wire.plain(ours, "GET", "/healthz"), Expected(equal={"status": "ok"})),
    ]
    said: list[Figure] = []
    for connections in many:
        for case in (*mine, *theirs, *floor):
            case.results = []
        for _ in range(rounds):
            for case in (*mine, *floor):
                case.results.append(_round(ours, case, connections, seconds))
            for case in theirs:
                assert reference is not None
                case.results.append(_round(reference, case, connections, seconds))
        text = "1 connection" if connections == 1 else f"{connections} connections"
        for index, case in enumerate(mine):
            figure = figures.median(f"{case.name} {_what(case)}, {text}", [each.rate for each in case.results], "per s")
            if theirs:
                beside = theirs[index].results
                pairs = zip(case.results, beside, strict=True)
                ratio = statistics.median(mine_.rate / theirs_.rate for mine_, theirs_ in pairs)
                figures.against(figure, statistics.median(each.rate for each in beside), "moto", ratio=ratio)
            if case.name == "Encrypt":
                figures.at_least(figure, figure.ratio, AIM, f"{AIM:g} x moto")
            said.append(figure)
            empty = zip(case.results, floor[0].results, strict=True)
            share = statistics.median(mine_.rate / empty_.rate for mine_, empty_ in empty)
            of_empty = Figure(f"{case.name}, {text}: share of the rate of an empty request", share, "")
            if case.name == "Encrypt":
                figures.at_least(of_empty, share, EMPTY_AIM, "a third")
            said.append(of_empty)
            said += _details(case, theirs[index] if theirs else None, text)
        for case in floor:
            figure = figures.median(f"floor: {case.name}, {text}", [each.rate for each in case.results], "per s")
            said.append(figure)
            said.append(_cpu(f"floor: {case.name}, {text}", case))
    _check(ours, mine)
    return said


def _what(case: _Case) -> str:
    return {"GenerateDataKey": "AES_256", "Sign": "P-256"}.get(case.name, "1 KiB")


def _details(case: _Case, beside: _Case | None, many: str) -> list[Figure]:
    said = []
    for what, name in (("half of them within", "p50"), ("99 % within", "p99")):
        figure = figures.median(f"{case.name}, {many}: {what}", [getattr(each, name) for each in case.results], "us")
        if beside is not None:
            figures.against(figure, statistics.median(getattr(each, name) for each in beside.results), "moto")
        said.append(figure)
    figure = _cpu(f"{case.name}, {many}", case)
    if beside is not None:
        figures.against(figure, statistics.median(each.cpu for each in beside.results), "moto")
    return [*said, figure]


def _cpu(what: str, case: _Case) -> Figure:
    return figures.median(f"{what}: CPU per request", [each.cpu for each in case.results], "us")


def _cases(server: Server) -> list[_Case]:
    client = server.kms()
    key = client.create_key()["KeyMetadata"]
    plaintext = os.urandom(SIZE)
    blob = client.encrypt(KeyId=key["KeyId"], Plaintext=plaintext)["CiphertextBlob"]
    text, sealed = base64.b64encode(plaintext).decode(), base64.b64encode(blob).decode()
    arn = {"KeyId": key["Arn"]}
    signs = client.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]
    message = {"Message": base64.b64encode(b"a message of 32 octets, as hashes").decode()}

    def sign(operation: str, members: dict[str, object]) -> Callable[[], bytes]:
        return lambda: wire.signed(server, operation, members)

    return [
        _Case(
            "Encrypt",
            sign("Encrypt", {"KeyId": key["KeyId"], "Plaintext": text}),
            Expected(equal=arn, blobs={"CiphertextBlob": SIZE + 28}),
        ),
        _Case("Decrypt", sign("Decrypt", {"CiphertextBlob": sealed}), Expected(equal={**arn, "Plaintext": text})),
        _Case(
            "GenerateDataKey",
            sign("GenerateDataKey", {"KeyId": key["KeyId"], "KeySpec": "AES_256"}),
            Expected(equal=arn, blobs={"CiphertextBlob": 60, "Plaintext": 32}),
        ),
        _Case(
            "Sign",
            sign("Sign", {"KeyId": signs["KeyId"], "SigningAlgorithm": "ECDSA_SHA_256", **message}),
            Expected(equal={"KeyId": signs["Arn"]}, blobs={"Signature": 64}),
        ),
    ]


def _round(server: Server, case: _Case, connections: int, seconds: float) -> Result:
    return load.run(server, [case.make()], case.expected, connections=connections, seconds=seconds)


def _check(server: Server, cases: list[_Case]) -> None:
    """What was answered under load decrypts, and two answers are never the same."""
    client: Any = server.kms()
    blobs = set()
    for case in cases:
        for result in case.results:
            members = msgspec.json.decode(result.body)
            if "CiphertextBlob" in members:
                blob = base64.b64decode(members["CiphertextBlob"])
                plaintext = client.decrypt(CiphertextBlob=blob)["Plaintext"]
                if blob in blobs or ("Plaintext" in members and base64.b64decode(members["Plaintext"]) != plaintext):
                    raise RuntimeError(f"{case.name} answered a blob that is wrong or was answered before")
                blobs.add(blob)
