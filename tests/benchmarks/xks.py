"""External key stores: our proxy on the standard store and on SoftHSM, and both control planes one behind the other.

Open loop: requests come at a rate, as they do to a proxy whose users wait for nobody; KMS gives up after 250 ms. The
highest rate is the highest of a row of rates at which 99 of 100 requests were answered within that, and none was
refused. The load runs on the machine's other core; where two processes serve, all share both cores.
"""

from __future__ import annotations

import base64
import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from tests.benchmarks import figures, machine, openload, servers, wire
from tests.benchmarks.figures import Figure
from tests.benchmarks.openload import Job, Result
from tests.benchmarks.servers import Server
from tests.hsm import PIN, SoftToken
from tests.xksclient import ProxyFiles, XksClient, b64, metadata
from tests.xksproxied import ACCESS_KEY_ID, SECRET

RATES = (200, 600)
AIM = 1_800
KMS_WAITS = 250.0
"""Milliseconds."""
CONNECTIONS = 64
HELD_SECONDS = 3.0
SIZE = 45 + 32
"""What a KMS has a proxy encrypt for a data key: the inner ciphertext."""
STEPS = (600, 1_200, 1_800, 2_200, 2_600, 3_000, 3_400, 3_800, 4_200, 4_600, 5_000, 6_000)


class _Case(msgspec.Struct):
    """One kind of request to one port."""

    name: str
    port: int
    request: bytes
    ca: str | None
    cores: set[int]


def run(*, quick: bool) -> list[Figure]:
    cores = machine.cores()
    if len(cores) < 2:
        return [figures.missing("ONE CORE ONLY", "servers and load would share it")]
    seconds = 1.0 if quick else 3.0
    said: list[Figure] = []
    with servers.directory() as work:
        files = ProxyFiles(work / "files")
        ca = work / "ca.pem"
        files.ca.cert_pem.write_to_path(str(ca))
        token = SoftToken(work / "hsm")
        with servers.keystead(work / "manager", core=machine.server_core()) as manager:
            port = _prepare(manager, files, token)
            alone = {machine.load_core()}
            cases = [case for key in ("standard", "hsm") for case in _cases(files, port, str(ca), key, alone)]
            for case in cases:
                said += [_at(case, rate, seconds) for rate in RATES]
            said += [_highest(case) for case in cases if "Encrypt" in case.name]
            said += _overload(cases[0], seconds)
            with _front(work / "kms", files, port, str(ca), core=machine.load_core()) as kms:
                chain = _chain(kms, set(cores))
                for case in chain:
                    said += [_at(case, rate, seconds) for rate in RATES]
                said.append(_highest(chain[0]))
        with servers.workers(work / "pair", 2, cores=cores[:2]) as pair:
            port = _prepare(pair, files, None)
            for case in _cases(files, port, str(ca), "standard", set(cores[:2])):
                case.name = case.name.replace("proxy", "proxy of two processes")
                figure = _highest(case)
                figures.at_least(figure, figure.value, AIM, f"{AIM:,} per s")
                said.append(figure)
    return said


# ---- what is measured ------------------------------------------------------------------------------------------------


def _send(case: _Case, rate: float, seconds: float) -> Result:
    return openload.run(Job(case.port, case.request, rate, seconds, CONNECTIONS, case.ca), case.cores)


def _at(case: _Case, rate: int, seconds: float) -> Figure:
    result = _send(case, rate, seconds)
    what = f"{case.name}, {rate} per s: 99 % within"
    if result.good < 1:
        return figures.missing(what, f"answers {result.answers}, {result.unanswered} without one")
    figure = Figure(what, result.p99, "ms", beside=result.p50, beside_what="ms half of them")
    return figures.under(figure, KMS_WAITS, f"{KMS_WAITS:g} ms")


def _highest(case: _Case) -> Figure:
    """The highest rate that was held. One bad round in two is the machine's."""
    held = 0
    for rate in STEPS:
        # Shorter rounds end before the queue of a rate that is too high has grown to what KMS waits for.
        if not any(_holds(case, rate, HELD_SECONDS) for _ in range(2)):
            break
        held = rate
    return Figure(f"{case.name}: highest rate with 99 % within {KMS_WAITS:g} ms", held, "per s")


def _holds(case: _Case, rate: int, seconds: float) -> bool:
    result = _send(case, rate, seconds)
    return result.good == 1 and result.p99 < KMS_WAITS


def _overload(case: _Case, seconds: float) -> list[Figure]:
    """Far beyond what it can do, on so many connections that all of it arrives."""
    rate = 4 * AIM
    result = openload.run(Job(case.port, case.request, rate, seconds, 1_000, case.ca), case.cores)
    told = f"{case.name}, overload ({rate:,} per s on 1,000 connections)"
    others = {status: count for status, count in result.answers.items() if status not in (200, 429)}
    if others:
        return [figures.missing(told, f"answers other than 200 and 429: {others}")]
    share = result.answers.get(429, 0) / max(sum(result.answers.values()), 1)
    return [
        Figure(f"{told}: answered 200", result.answers.get(200, 0) / seconds, "per s"),
        Figure(f"{told}: ThrottlingException", share * 100, "% of answers"),
        Figure(f"{told}: had no answer", float(result.unanswered), ""),
    ]


# ---- servers and requests --------------------------------------------------------------------------------------------


def _put(server: Server, plural: str, name: str, kind: str, spec: dict[str, Any]) -> None:
    document = {"apiVersion": "keystead/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}
    server.ask("PUT", f"/v1/{plural}/{name}", msgspec.json.encode(document))


def _until(server: Server, path: str, member: str) -> Any:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        status = msgspec.json.decode(server.ask("GET", path))["status"]
        if status.get(member):
            return status[member]
        time.sleep(0.05)
    raise RuntimeError(f"{path} has no {member} after a minute")


def _prepare(server: Server, files: ProxyFiles, token: SoftToken | None) -> int:
    """Keys in the standard store and in the HSM, and a proxy in front of them; the proxy's port."""
    keys = {"standard": {"key": "standard"}}
    _put(server, "keys", "standard", "Key", {})
    if token is not None:
        keys["hsm"] = {"key": "hsm"}
        options = token.options(pin=files.secret("pin", PIN), workers=1)
        _put(server, "keystores", "softhsm", "KeyStore", {"type": "pkcs11", "pkcs11": options})
        _put(server, "keys", "hsm", "Key", {"keyStore": "softhsm"})
    for name in keys:
        _until(server, f"/v1/keys/{name}", "materials")
    credentials = [{"accessKeyId": ACCESS_KEY_ID, "secret": files.secret("secret", SECRET)}]
    listen = {"port": machine.free_port()}
    proxy = {"listen": listen, "tls": files.tls, "pathPrefix": "/bank", "credentials": credentials, "keys": keys}
    _put(server, "xksproxies", "bank", "XksProxy", proxy)
    return int(_until(server, "/v1/xksproxies/bank", "address").rsplit(":", 1)[1])


def _cases(files: ProxyFiles, port: int, ca: str, key: str, cores: set[int]) -> list[_Case]:
    client = XksClient(port, files.ca, "/bank/kms/xks/v1", ACCESS_KEY_ID, SECRET)
    plaintext, aad = os.urandom(SIZE), os.urandom(32)
    sealed = client.encrypt(key, plaintext, aad).json()
    algorithm = {"encryptionAlgorithm": "AES_GCM", "additionalAuthenticatedData": b64(aad)}
    proven = {"ciphertextDataIntegrityValueAlgorithm": "SHA_256"}
    bodies = {
        "Encrypt": {**algorithm, **proven, "plaintext": b64(plaintext), **metadata("Encrypt")},
        "Decrypt": {**algorithm, **sealed, **metadata("Decrypt")},
    }
    where = "SoftHSM" if key == "hsm" else "the standard store"
    return [
        _Case(f"proxy {name} on {where}", port, _request(client, f"/keys/{key}/{name.lower()}", body), ca, cores)
        for name, body in bodies.items()
    ]


def _request(client: XksClient, rest: str, body: Any) -> bytes:
    content, path = msgspec.json.encode(body), client.path + rest
    headers = {"host": f"localhost:{client.port}", **client.headers("POST", path, content)}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, f"content-length: {len(content)}"]).encode() + b"\r\n\r\n" + content


@contextlib.contextmanager
def _front(work: Path, files: ProxyFiles, port: int, ca: str, *, core: int) -> Iterator[Server]:
    """A KMS with a key store on the proxy."""
    with servers.keystead(work, core=core) as kms:
        credential = {"accessKeyId": ACCESS_KEY_ID, "secret": files.secret("again", SECRET)}
        options = {"uriEndpoint": "https://localhost", "uriPath": "/bank/kms/xks/v1", "address": "127.0.0.1"}
        xks = {**options, "port": port, "authority": ca, "credential": credential}
        _put(kms, "keystores", "bank", "KeyStore", {"type": "xks", "xks": xks})
        _put(kms, "keys", "outer", "Key", {"keyStore": "bank", "xksKeyId": "hsm"})
        _until(kms, "/v1/keys/outer", "materials")
        yield kms


def _chain(kms: Server, cores: set[int]) -> list[_Case]:
    client = kms.kms()
    key = msgspec.json.decode(kms.ask("GET", "/v1/keys/outer"))["status"]["keyId"]
    blob = client.encrypt(KeyId=key, Plaintext=b"x" * 32)["CiphertextBlob"]
    plaintext = base64.b64encode(os.urandom(32)).decode()
    members: dict[str, dict[str, object]] = {
        "Encrypt": {"KeyId": key, "Plaintext": plaintext},
        "Decrypt": {"CiphertextBlob": base64.b64encode(blob).decode()},
    }
    return [
        _Case(f"KMS {name} through both control planes to SoftHSM", kms.port, wire.signed(kms, name, each), None, cores)
        for name, each in members.items()
    ]
