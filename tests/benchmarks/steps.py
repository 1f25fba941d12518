"""One Encrypt of 1 KiB, step by step, on the real objects in this process; their sum beside what a request costs.

The steps are timed one after the other, by the thread's processor time, on a running server without its
listener, warm. ``handle`` is the whole door
without HTTP, 64 at once. What it costs over the wire is measured on a server of its own under load. What is left
between the sum and those two is named: futures, the event loop, HTTP, the audit journal's thread.
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
from controlplane.api.kms.shapes import crypto as shapes
from controlplane.api.kms.shapes.enums import EncryptionAlgorithmSpec
from controlplane.api.services import Services
from controlplane.audit.journal import AuditJournal
from controlplane.audit.records import AuditRecord
from controlplane.domain import lifecycle
from controlplane.schema.keys import Algorithm
from controlplane.settings import dev_settings
from controlplane.usage import envelope, operations
from controlplane.usage.perform import Request
from tests.benchmarks import figures, load, machine, servers, wire
from tests.benchmarks.figures import Figure

SIZE = 1024
TOGETHER = 64
BUDGET_MICROSECONDS = 145.0
"""``design.md``, section 6: a raw ASGI application with all steps, measured on this kind of machine."""


def run(*, quick: bool) -> list[Figure]:
    seconds = 0.7 if quick else 2.5
    with servers.directory() as work:
        with servers.keystead(work / "wire", core=machine.server_core()) as ours:
            client = ours.kms()
            key = client.create_key()["KeyMetadata"]
            members = {"KeyId": key["KeyId"], "Plaintext": base64.b64encode(os.urandom(SIZE)).decode()}
            expected = load.Expected(equal={"KeyId": key["Arn"]}, blobs={"CiphertextBlob": SIZE + 28})
            wired, floor = [], []
            for _ in range(3):
                made = wire.signed(ours, "Encrypt", members)
                wired.append(load.run(ours, [made], expected, connections=TOGETHER, seconds=seconds).cpu)
                made = wire.plain(ours, "POST", "/", body=b"{}")
                refused = load.Expected(status=400, members=False)
                floor.append(load.run(ours, [made], refused, connections=TOGETHER, seconds=seconds).cpu)
        settings = dev_settings(0, work / "data")
        server.configure_logging("warning")

        async def all_of_it() -> list[Figure]:
            await server.provision(settings)
            async with server.running(settings) as services:
                return await _Steps(services, repeats=2_000 if quick else 10_000).all(work)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            said = runner.run(all_of_it())
    total = sum(each.value or 0.0 for each in said if not each.what.startswith(" "))
    over = figures.median("measured over the wire: CPU per Encrypt", wired, "us")
    assert over.value is not None
    counted = figures.against(Figure("sum of the steps", total, "us"), over.value, "us, measured over the wire")
    figures.against(over, BUDGET_MICROSECONDS, "us, design's budget")
    return [*said, counted, over, figures.median("  of it HTTP: an unsigned request's CPU", floor, "us")]


class _Steps:
    """The objects of one Encrypt, as the door would have them, and a stopwatch."""

    def __init__(self, services: Services, *, repeats: int) -> None:
        self.services = services
        self.repeats = repeats

    async def all(self, work: Path) -> list[Figure]:
        at = self.services
        kms = KmsDoor(at)
        created = await self._call(kms, "CreateKey", {})
        key_id = created["KeyMetadata"]["KeyId"]
        members = {"KeyId": key_id, "Plaintext": base64.b64encode(os.urandom(SIZE)).decode()}
        headers, body = _parsed(members)
        authenticator: Any = at.authenticator
        verifier = authenticator._verifier

        async def who() -> Any:
            return await at.authenticator.signed(
                "POST", b"/", b"", headers, body, service="kms", request_id="r", source="127.0.0.1"
            )

        caller = await who()
        operation = OPERATIONS["Encrypt"]
        asked: shapes.EncryptRequest = operation.decode(body)
        record = at.usage.resolve(caller, key_id)
        ref = operations.current(record)
        head = envelope.header(key_id, ref.material_id)
        aad = envelope.associated_data(head, None)
        algorithm = Algorithm.SYMMETRIC_DEFAULT
        plugin = at.calls.connections.get("standard").plugin
        blob = head + await at.calls.encrypt("standard", ref, algorithm, asked.plaintext, aad)
        answer = shapes.EncryptResponse(
            ciphertext_blob=blob, key_id=record.arn, encryption_algorithm=EncryptionAlgorithmSpec.SYMMETRIC_DEFAULT
        )
        encoded = door._encode(answer)
        usage: Any = at.usage
        request = Request(caller, "Encrypt", None)
        authoriser = Authoriser(at.catalog.grants, at.clock)
        entry: AuditRecord = usage._record(request, record.arn, "allowed", 0.0)
        encode_entry = msgspec.json.Encoder().encode
        raw_entry = encode_entry(entry)
        journal: Any = AuditJournal(work / "chain", sync=False)
        journal.open()

        def gate() -> None:
            lifecycle.gate("Encrypt", at.usage.state(record), record.arn)

        def policy() -> None:
            authoriser.decide(request, record.key)

        said = [
            await self._async("authenticate", who),
            self._plain("  of it catalog refresh (SQLite's data version)", at.catalog.refresh),
            self._plain("  of it SigV4 verify", lambda: verifier.verify("POST", b"/", b"", headers, body)),
            self._plain("JSON and base64 decode", lambda: operation.decode(body)),
            self._plain("resolve the key id", lambda: at.usage.resolve(caller, key_id)),
            self._plain("policy decision", policy),
            self._plain("state gate", gate),
            self._plain(
                "envelope header and associated data",
                lambda: envelope.associated_data(envelope.header(key_id, ref.material_id), None),
            ),
            await self._async(
                "encrypt through keystores.calls",
                lambda: at.calls.encrypt("standard", ref, algorithm, asked.plaintext, aad),
            ),
            await self._async("  of it the plugin", lambda: plugin.encrypt(ref, algorithm, asked.plaintext, aad)),
            self._plain("audit record: build", lambda: usage._record(request, record.arn, "allowed", 0.0)),
            self._plain("audit record: encode", lambda: encode_entry(entry)),
            self._plain("audit record: hash chain", lambda: journal._chained(raw_entry)),
            self._plain("response encode, base64 in it", lambda: door._encode(answer)),
            self._plain("answer's headers", lambda: door._answer(200, encoded, "00000000-0000-0000-0000-000000000000")),
        ]
        await journal.close()
        said.append(await self._handle("  the whole door, 64 at once: CPU", kms, headers, body))
        return said

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

    async def _handle(self, what: str, kms: KmsDoor, headers: list[tuple[bytes, bytes]], body: bytes) -> Figure:
        async def caller(number: int) -> None:
            for _ in range(number):
                answer = await kms.handle("POST", b"/", b"", headers, body, "127.0.0.1")
                assert answer.status == 200, answer.body

        each = max(self.repeats // TOGETHER, 10)
        took = []
        for _ in range(3):
            started = time.process_time()
            await asyncio.gather(*(caller(each) for _ in range(TOGETHER)))
            took.append((time.process_time() - started) / (each * TOGETHER) * 1e6)
        return figures.median(what, took, "us")

    async def _call(self, kms: KmsDoor, operation: str, members: dict[str, object]) -> Any:
        headers, body = _parsed(members, operation)
        answer = await kms.handle("POST", b"/", b"", headers, body, "127.0.0.1")
        assert answer.status == 200, answer.body
        return msgspec.json.decode(answer.body)


def _parsed(members: dict[str, object], operation: str = "Encrypt") -> tuple[list[tuple[bytes, bytes]], bytes]:
    """A signed request as an ASGI server hands it over."""
    head, _, body = wire.request(wire.LOCAL, operation, members).partition(b"\r\n\r\n")
    lines = [line.partition(b": ") for line in head.split(b"\r\n")[1:]]
    return [(name.lower(), value) for name, _, value in lines], body
