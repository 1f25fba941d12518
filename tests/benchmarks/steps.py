"""The hot operations step by step, on the real objects in this process; their sum beside what a request costs.

The steps are timed one after the other, by the thread's processor time, on a running server without its listener, warm.
What a request costs over the wire is measured on a server of its own under load. What is left between the sum and that
is HTTP (an unsigned request says how much), futures, the event loop and the audit journal's thread.
"""

from __future__ import annotations

import asyncio
import base64
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from controlplane import server
from controlplane.access.authorise import Authoriser
from controlplane.api.kms import door
from controlplane.api.kms.door import KmsDoor
from controlplane.api.kms.operations import OPERATIONS
from controlplane.api.services import Services
from controlplane.audit.journal import AuditJournal
from controlplane.audit.records import AuditRecord
from controlplane.domain import lifecycle
from controlplane.schema.keys import Algorithm, MessageType
from controlplane.settings import dev_settings
from controlplane.store.catalog import KeyRecord
from controlplane.usage import envelope, operations
from controlplane.usage.perform import Request
from tests.benchmarks import figures, load, machine, servers, wire
from tests.benchmarks.figures import Figure

SIZE = 1024
TOGETHER = 64
BUDGET_MICROSECONDS = 145.0
"""``design.md``, section 6: a raw ASGI application with all steps, measured on this kind of machine."""


Ask = Callable[[str, dict[str, object]], Awaitable[dict[str, Any]]]


def run(*, quick: bool) -> list[Figure]:
    seconds = 0.7 if quick else 2.5
    with servers.directory() as work:
        with servers.keystead(work / "wire", core=machine.server_core()) as ours:
            wired = _over_the_wire(ours, seconds)
        settings = dev_settings(0, work / "data")
        server.configure_logging("warning")

        async def all_of_it() -> dict[str, list[Figure]]:
            await server.provision(settings)
            async with server.running(settings) as services:
                server.settle_memory()
                return await _Steps(services, repeats=2_000 if quick else 10_000).all(work)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found = runner.run(all_of_it())
    said: list[Figure] = []
    for operation, steps in found.items():
        total = sum(each.value or 0.0 for each in steps if not each.what.startswith(" "))
        over = figures.median(f"{operation} over the wire: CPU", wired[operation], "us")
        assert over.value is not None
        counted = figures.against(Figure(f"{operation}: sum of the steps", total, "us"), over.value, "us over the wire")
        if operation == "Encrypt":
            figures.against(over, BUDGET_MICROSECONDS, "us, design's budget")
        for each in steps:
            each.what = f"  {each.what}" if each.what.startswith(" ") else f"{operation}: {each.what}"
        said += [*steps, counted, over]
    return [*said, figures.median("an unsigned request over the wire: CPU; so much is HTTP", wired["empty"], "us")]


def _over_the_wire(ours: servers.Server, seconds: float) -> dict[str, list[float]]:
    """CPU per request of each operation and of an empty request, in rounds that alternate."""
    client = ours.kms()
    names = {said: python for python, said in client.meta.method_to_api_mapping.items()}

    async def ask(operation: str, members: dict[str, object]) -> dict[str, Any]:
        answer: dict[str, Any] = getattr(client, names[operation])(**members)
        return answer

    wanted = asyncio.run(_members(ask, lambda octets: octets))
    took: dict[str, list[float]] = {name: [] for name in (*wanted, "empty")}
    for _ in range(3):
        for name, members in wanted.items():
            made = wire.signed(ours, name, members)
            took[name].append(_cpu(ours, made, load.Expected(members=False), seconds))
        made = wire.plain(ours, "POST", "/", body=b"{}")
        took["empty"].append(_cpu(ours, made, load.Expected(status=400, members=False), seconds))
    return took


def _cpu(ours: servers.Server, request: bytes, expected: load.Expected, seconds: float) -> float:
    return load.run(ours, [request], expected, connections=TOGETHER, seconds=seconds).cpu


async def _members(ask: Ask, octets: Callable[[bytes], object]) -> dict[str, dict[str, object]]:
    """The requests that are measured. ``ask`` makes what they need; ``octets`` is how it takes blobs."""
    key = (await ask("CreateKey", {}))["KeyMetadata"]["KeyId"]
    wish: dict[str, object] = {"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}
    signs = (await ask("CreateKey", wish))["KeyMetadata"]["KeyId"]
    plaintext = os.urandom(SIZE)
    blob = (await ask("Encrypt", {"KeyId": key, "Plaintext": octets(plaintext)}))["CiphertextBlob"]
    return {
        "Encrypt": {"KeyId": key, "Plaintext": _text(plaintext)},
        "Decrypt": {"CiphertextBlob": blob if isinstance(blob, str) else _text(blob)},
        "GenerateDataKey": {"KeyId": key, "KeySpec": "AES_256"},
        "Sign": {"KeyId": signs, "Message": _text(os.urandom(32)), "SigningAlgorithm": "ECDSA_SHA_256"},
    }


def _text(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


class _Steps:
    """The objects of a request, as the door would have them, and a stopwatch."""

    def __init__(self, services: Services, *, repeats: int) -> None:
        self.services = services
        self.repeats = repeats
        self.kms = KmsDoor(services)

    async def all(self, work: Path) -> dict[str, list[Figure]]:
        """The steps of each operation. One that begins with a space is part of another, or the whole."""
        wanted = await _members(self._call, _text)
        return {name: await self._of(name, members, work) for name, members in wanted.items()}

    async def _of(self, name: str, members: dict[str, object], work: Path) -> list[Figure]:
        at = self.services
        headers, body = _parsed(members, name)
        authenticator: Any = at.authenticator
        verifier = authenticator._verifier

        async def who() -> Any:
            return await at.authenticator.signed(
                "POST", b"/", b"", headers, body, service="kms", request_id="r", source="127.0.0.1"
            )

        caller = await who()
        operation = OPERATIONS[name]
        asked: Any = operation.decode(body)
        key_id = str(members.get("KeyId") or envelope.take_apart(asked.ciphertext_blob).key_id)
        record = at.usage.resolve(caller, key_id)
        answer = await operation.handle(at, caller, asked)
        encoded = door._encode(answer)
        usage: Any = at.usage
        request = Request(caller, name, None)
        authoriser = Authoriser(at.catalog.grants, at.clock)
        entry: AuditRecord = usage._record(request, record.arn, "allowed", 0.0)
        encode_entry = msgspec.json.Encoder().encode
        raw_entry = encode_entry(entry)
        journal: Any = AuditJournal(work / f"chain-{name}", sync=False)
        journal.open()
        said = [
            await self._async("authenticate", who),
            self._plain("  of it catalog refresh (SQLite's data version)", at.catalog.refresh),
            self._plain("  of it SigV4 verify", lambda: verifier.verify("POST", b"/", b"", headers, body)),
            self._plain("JSON and base64 decode", lambda: operation.decode(body)),
            self._plain("resolve the key id", lambda: at.usage.resolve(caller, key_id)),
            self._plain("policy decision", lambda: authoriser.decide(request, record.key)),
            self._plain("state gate", lambda: lifecycle.gate(name, at.usage.state(record), record.arn)),
            await self._async("the operation", self._operation(name, record, asked)),
            await self._async("  of it the plugin's cryptography", self._cryptography(name, record, asked)),
            self._plain("audit record: build", lambda: usage._record(request, record.arn, "allowed", 0.0)),
            self._plain("audit record: encode", lambda: encode_entry(entry)),
            self._plain("audit record: hash chain", lambda: journal._chained(raw_entry)),
            self._plain("response encode, base64 in it", lambda: door._encode(answer)),
            self._plain("answer's headers", lambda: door._answer(200, encoded, "00000000-0000-0000-0000-000000000000")),
        ]
        await journal.close()
        said.append(await self._handle("  the whole door without HTTP, 64 at once", headers, body))
        return said

    def _operation(self, name: str, record: KeyRecord, asked: Any) -> Callable[[], Awaitable[object]]:
        """What ``usage.operations`` does for it: checks, envelope, key store."""
        calls, symmetric, ecdsa = self.services.calls, Algorithm.SYMMETRIC_DEFAULT, Algorithm.ECDSA_SHA_256
        return {
            "Encrypt": lambda: operations.encrypt(calls, record, asked.plaintext, symmetric, None),
            "Decrypt": lambda: operations.decrypt(calls, record, asked.ciphertext_blob, symmetric, None),
            "GenerateDataKey": lambda: operations.data_key(calls, record, 32, None, operation="GenerateDataKey"),
            "Sign": lambda: operations.sign(calls, record, ecdsa, MessageType.RAW, asked.message),
        }[name]

    def _cryptography(self, name: str, record: KeyRecord, asked: Any) -> Callable[[], Awaitable[object]]:
        """The plugin's part of it."""
        plugin = self.services.calls.connections.get("standard").plugin
        ref, symmetric, ecdsa = operations.current(record), Algorithm.SYMMETRIC_DEFAULT, Algorithm.ECDSA_SHA_256
        if name == "Sign":
            return lambda: plugin.sign(ref, ecdsa, MessageType.RAW, asked.message)
        if name == "Decrypt":
            opened = envelope.take_apart(asked.ciphertext_blob)
            context = envelope.associated_data(opened.header, None)
            return lambda: plugin.decrypt(ref, symmetric, opened.body, context)
        plaintext = asked.plaintext if name == "Encrypt" else bytes(32)
        head = envelope.header(record.key.status.key_id, ref.material_id)
        aad = envelope.associated_data(head, None)
        return lambda: plugin.encrypt(ref, symmetric, plaintext, aad)

    def _plain(self, what: str, step: Callable[[], object]) -> Figure:
        return figures.median(what, [self._timed(step) for _ in range(3)], "us")

    def _timed(self, step: Callable[[], object]) -> float:
        for _ in range(self.repeats // 10):
            step()
        repeats = range(self.repeats)
        started = time.thread_time()
        for _ in repeats:
            step()
        return (time.thread_time() - started) / self.repeats * 1e6

    async def _async(self, what: str, step: Callable[[], Awaitable[object]]) -> Figure:
        took = []
        for _ in range(3):
            for _ in range(self.repeats // 10):
                await step()
            repeats = range(self.repeats)
            started = time.thread_time()
            for _ in repeats:
                await step()
            took.append((time.thread_time() - started) / self.repeats * 1e6)
        return figures.median(what, took, "us")

    async def _handle(self, what: str, headers: list[tuple[bytes, bytes]], body: bytes) -> Figure:
        async def caller(number: int) -> None:
            for _ in range(number):
                answer = await self.kms.handle("POST", b"/", b"", headers, body, "127.0.0.1")
                assert answer.status == 200, answer.body

        each = max(self.repeats // TOGETHER, 10)
        took = []
        for _ in range(3):
            started = time.process_time()
            await asyncio.gather(*(caller(each) for _ in range(TOGETHER)))
            took.append((time.process_time() - started) / (each * TOGETHER) * 1e6)
        return figures.median(what, took, "us")

    async def _call(self, operation: str, members: dict[str, object]) -> dict[str, Any]:
        headers, body = _parsed(members, operation)
        answer = await self.kms.handle("POST", b"/", b"", headers, body, "127.0.0.1")
        assert answer.status == 200, answer.body
        return dict(msgspec.json.decode(answer.body))


def _parsed(members: dict[str, object], operation: str = "Encrypt") -> tuple[list[tuple[bytes, bytes]], bytes]:
    """A signed request as an ASGI server hands it over."""
    head, _, body = wire.request(wire.LOCAL, operation, members).partition(b"\r\n\r\n")
    lines = [line.partition(b": ") for line in head.split(b"\r\n")[1:]]
    return [(name.lower(), value) for name, _, value in lines], body
