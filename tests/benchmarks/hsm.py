"""Encrypt on SoftHSM: raw python-pkcs11 in one process, the key store over it, and the KMS door over that.

One and two worker processes for the token. Rounds alternate, so that what else the machine does disturbs all of them.
The raw loop is a process of its own, because a PKCS#11 module is not loaded where other threads run. SoftHSM encrypts
faster than anything can ask it; so on two cores a second worker gains only what asking leaves of the second core. What
a second worker is for shows a slower device: the same token, each C_Encrypt of which takes half a millisecond longer.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from plugins.pkcs11 import Pkcs11KeyStore, Pkcs11Options
from plugins.sdk import Algorithm, KeySpec, MaterialRef, PluginContext
from plugins.sdk.conformance import MemoryState
from tests.benchmarks import figures, load, servers, wire
from tests.benchmarks.figures import Figure
from tests.benchmarks.load import Expected, Result
from tests.benchmarks.servers import Server
from tests.hsm import PIN, SoftToken, need, pin_file
from tests.shim import Shim

SIZE = 1024
DOOR_AIM = 150.0
WORKERS_AIM = 1.4
AT_ONCE = 64
SLOW_US = 500

_RAW = """
import json, os, sys, time
import pkcs11
from pkcs11 import GCMParams, KeyType, Mechanism
module, label, pin, seconds = sys.argv[1], sys.argv[2], sys.stdin.read(), float(sys.argv[3])
with pkcs11.lib(module).get_token(token_label=label).open(rw=True, user_pin=pin) as session:
    key = session.generate_key(KeyType.AES, 256, store=False)
    plaintext, aad, calls = os.urandom(int(sys.argv[4])), b"a" * 80, 0
    def once():
        nonce = session.generate_random(96)
        return nonce + key.encrypt(plaintext, mechanism=Mechanism.AES_GCM, mechanism_param=GCMParams(nonce, aad, 128))
    for _ in range(200):
        once()
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        once()
        calls += 1
    print(json.dumps((time.perf_counter() - began) / calls * 1e6))
"""


def run(*, quick: bool) -> list[Figure]:
    rounds, seconds = (2, 0.5) if quick else (5, 1.5)
    with servers.directory() as work, contextlib.ExitStack() as stack:
        token = SoftToken(work / "hsm")
        pin = pin_file(work)
        slow = Shim(token)
        slow.set(encrypt_us=SLOW_US)
        doors = {
            workers: stack.enter_context(_door(work / f"data-{workers}", token, pin, workers)) for workers in (1, 2)
        }
        slow_doors = {
            workers: stack.enter_context(_door(work / f"slow-{workers}", slow, pin, workers)) for workers in (1, 2)
        }
        raw: list[float] = []
        stores: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
        slowly: dict[int, list[float]] = {1: [], 2: []}
        one: dict[int | str, list[Result]] = {1: [], 2: [], "standard": []}
        many: dict[int | str, list[Result]] = {1: [], 2: [], "standard": []}
        for _ in range(rounds):
            raw.append(_raw(token, seconds))
            for workers in (1, 2):
                stores[workers].append(uvloop.run(_store(token, pin, workers, seconds)))
                one[workers].append(_encrypt(doors[workers], "alias/hsm", 1, seconds))
                many[workers].append(_encrypt(doors[workers], "alias/hsm", AT_ONCE, seconds))
                slowly[workers].append(_encrypt(slow_doors[workers], "alias/hsm", AT_ONCE, seconds).rate)
            one["standard"].append(_encrypt(doors[1], "alias/standard", 1, seconds))
            many["standard"].append(_encrypt(doors[1], "alias/standard", AT_ONCE, seconds))
        return [*_told(raw, stores, one, many), *_slow(slowly)]


def _told(
    raw: list[float],
    stores: dict[int, list[tuple[float, float]]],
    one: dict[int | str, list[Result]],
    many: dict[int | str, list[Result]],
) -> list[Figure]:
    said = [figures.median("raw python-pkcs11, one process: one Encrypt of 1 KiB", raw, "us")]
    for workers, measured in stores.items():
        alone, rates = [each[0] for each in measured], [each[1] for each in measured]
        name = f"key store, {workers} worker" + ("s" if workers > 1 else "")
        figure = figures.median(f"{name}: one Encrypt at a time", alone, "us")
        said.append(figures.against(figure, statistics.median(raw), "raw us"))
        said.append(_adds(name, "one at a time", alone, raw))
        said.append(figures.median(f"{name}: Encrypt, {AT_ONCE} at once", rates, "per s"))
    gain = statistics.median(two[1] / single[1] for single, two in zip(stores[1], stores[2], strict=True))
    said.append(
        figures.at_least(Figure("key store: two workers to one", gain, ""), gain, WORKERS_AIM, f"{WORKERS_AIM:g}")
    )
    for workers in (1, 2):
        name = f"door, {workers} worker" + ("s" if workers > 1 else "")
        figure = figures.median(f"{name}: Encrypt, 1 connection, half within", [r.p50 for r in one[workers]], "us")
        said.append(figures.against(figure, statistics.median(r.p50 for r in one["standard"]), "us standard store"))
        over = [each.p50 - plain.p50 for each, plain in zip(one[workers], one["standard"], strict=True)]
        said.append(figures.median(f"{name}: what an HSM key takes longer than one of the standard store", over, "us"))
        figure = figures.median(f"{name}: Encrypt, {AT_ONCE} connections", [r.rate for r in many[workers]], "per s")
        said.append(figures.against(figure, statistics.median(r.rate for r in many["standard"]), "standard store"))
        said.append(_adds(name, f"per call, {AT_ONCE} connections", [1e6 / r.rate for r in many[workers]], raw))
    gain = statistics.median(two.rate / single.rate for single, two in zip(many[1], many[2], strict=True))
    said.append(figures.at_least(Figure("door: two workers to one", gain, ""), gain, WORKERS_AIM, f"{WORKERS_AIM:g}"))
    return said


def _slow(rates: dict[int, list[float]]) -> list[Figure]:
    """What a second worker gains where the device is what takes the time."""
    device = f"door, a device that takes {SLOW_US} us longer"
    said = [
        figures.median(f"{device}, workers: {workers}, {AT_ONCE} connections", measured, "per s")
        for workers, measured in rates.items()
    ]
    gain = statistics.median(two / single for single, two in zip(rates[1], rates[2], strict=True))
    aim = f"{WORKERS_AIM:g}"
    return [*said, figures.at_least(Figure(f"{device}: two workers to one", gain, ""), gain, WORKERS_AIM, aim)]


def _adds(name: str, how: str, measured: list[float], raw: list[float]) -> Figure:
    """What lies over the raw call, in microseconds."""
    adds = [each - alone for each, alone in zip(measured, raw, strict=True)]
    return figures.under(figures.median(f"{name}: adds to raw, {how}", adds, "us"), DOOR_AIM, f"< {DOOR_AIM:g} us")


def _raw(token: SoftToken, seconds: float) -> float:
    """Microseconds per call."""
    done = subprocess.run(
        [sys.executable, "-c", _RAW, need(token.module), token.label, str(seconds), str(SIZE)],
        input=PIN,
        env={**os.environ, **token.environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return float(json.loads(done.stdout))


async def _store(token: SoftToken, pin: dict[str, str], workers: int, seconds: float) -> tuple[float, float]:
    """The plugin as the host calls it: microseconds for one call at a time, and calls per second with many at once."""
    options = msgspec.convert({**token.options(workers=workers), "pin": pin}, Pkcs11Options)
    store = Pkcs11KeyStore(options, PluginContext("bench", MemoryState(), time.time))
    await store.open()
    ref = MaterialRef(f"bench:{os.urandom(8).hex()}", "arn", "1", KeySpec.SYMMETRIC_DEFAULT)
    plaintext, aad = os.urandom(SIZE), b"a" * 80
    try:
        await store.create(ref)

        async def for_a_while(until: float) -> int:
            calls = 0
            while time.perf_counter() < until:
                await store.encrypt(ref, Algorithm.SYMMETRIC_DEFAULT, plaintext, aad)
                calls += 1
            return calls

        await asyncio.gather(*(for_a_while(time.perf_counter() + 0.5) for _ in range(AT_ONCE)))
        began = time.perf_counter()
        calls = await for_a_while(began + seconds)
        alone = (time.perf_counter() - began) / calls * 1e6
        began = time.perf_counter()
        many = sum(await asyncio.gather(*(for_a_while(began + seconds) for _ in range(AT_ONCE))))
        rate = many / (time.perf_counter() - began)
        await store.destroy(ref)
    finally:
        await store.close()
    return alone, rate


@contextlib.contextmanager
def _door(data: Path, token: SoftToken | Shim, pin: dict[str, str], workers: int) -> Iterator[Server]:
    """A server with a key in the token and one in the standard store."""
    store = {**token.options(workers=workers), "pin": pin}
    rules = {"modules": [store["module"]], "environment": list(store["environment"])}
    lines = [f"{name} = {json.dumps(value)}" for name, value in rules.items()]
    settings = "\n".join(["", "[pkcs11]", *lines, ""])
    with servers.workers(data, 1, cores=os.sched_getaffinity(0), settings=settings) as server:
        documents = [
            ("keystores", "KeyStore", f"hsm-{workers}", {"type": "pkcs11", "pkcs11": store}),
            ("keys", "Key", "in-hsm", {"keyStore": f"hsm-{workers}", "aliases": ["hsm"]}),
            ("keys", "Key", "in-standard", {"aliases": ["standard"]}),
        ]
        for kind, tag, name, spec in documents:
            body = {"apiVersion": "keystead/v1", "kind": tag, "metadata": {"name": name}, "spec": spec}
            server.ask("PUT", f"/v1/{kind}/{name}", json.dumps(body).encode())
        client: Any = server.kms()
        deadline = time.monotonic() + servers.START_SECONDS
        for alias in ("alias/hsm", "alias/standard"):
            while client.describe_key(KeyId=alias)["KeyMetadata"]["KeyState"] != "Enabled":
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{alias} did not become usable")
                time.sleep(0.05)
        yield server


def _encrypt(server: Server, key: str, connections: int, seconds: float) -> Result:
    text = base64.b64encode(os.urandom(SIZE)).decode()
    request = wire.signed(server, "Encrypt", {"KeyId": key, "Plaintext": text})
    expected = Expected(blobs={"CiphertextBlob": SIZE + 28})
    return load.run(
        server, [request], expected, connections=connections, seconds=seconds, cores=os.sched_getaffinity(0)
    )
