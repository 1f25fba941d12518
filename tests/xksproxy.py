"""An XKS proxy for tests that answers rightly, or goes wrong exactly as it is told: slow, reset, a wrong tag, ...

It shares no code with Keystead: the protocol, the signature check (botocore's) and the cryptography are written against
the specification. It runs in a thread of the test process, on a free port of 127.0.0.1, over real TLS.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trustme
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.xksclient import HOST, Signer, b64

ACCESS_KEY_ID = "SCRIPTEDPROXY2345672"
SECRET = "5criptedPr0xy/OfTheTests+NotToBeFound/0c4d=="
PATH = "/scripted/kms/xks/v1"
KEY = "their-key"

Answer = tuple[int, bytes]


class ProxyError(Exception):
    """An error as the specification has it."""

    def __init__(self, status: int, name: str) -> None:
        super().__init__(name)
        self.status = status
        self.name = name


class ScriptedProxy:
    """``script`` holds, by API, what happens to an answer on its way; absent, it leaves as it is."""

    def __init__(self) -> None:
        self.ca = trustme.CA()
        self.script: dict[str, Callable[[dict[str, Any]], Any]] = {}
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        """Request lines and headers as they came."""
        self.connections = 0
        self.counts: Counter[str] = Counter()
        self.clock_offset = timedelta()
        self.key_metadata = {"keySpec": "AES_256", "keyUsage": ["ENCRYPT", "DECRYPT"], "keyStatus": "ENABLED"}
        self.keys = {KEY}
        self.credentials = {ACCESS_KEY_ID: SECRET}
        self._cipher = AESGCM(AESGCM.generate_key(256))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.listen()

    # ---- life ------------------------------------------------------------------------------------------------------

    def listen(self, certificate: trustme.LeafCert | None = None, client_ca: trustme.CA | None = None) -> None:
        """Listen (again) on the same port, with this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        (certificate or self.ca.issue_cert(HOST)).configure_cert(context)
        if client_ca is not None:
            client_ca.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED

        async def start() -> None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=context)
            self.port = self._server.sockets[0].getsockname()[1]

        asyncio.run_coroutine_threadsafe(start(), self._loop).result(10)

    def hang_up(self) -> None:
        """Close the port and every connection."""

        async def stop() -> None:
            assert self._server is not None
            self._server.close()
            for writer in list(self._writers):
                writer.transport.abort()

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result(10)

    def close(self) -> None:
        self.hang_up()

        async def drain() -> None:
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(drain(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def write_ca(self, directory: Path) -> str:
        path = directory / "scripted-ca.pem"
        self.ca.cert_pem.write_to_path(str(path))
        return str(path)

    # ---- HTTP ------------------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                request_line, *lines = head.rstrip().split("\r\n")
                headers = dict(line.split(": ", 1) for line in lines)
                headers = {name.lower(): value for name, value in headers.items()}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                self.requests.append((request_line, headers))
                _, path, _ = request_line.split(" ")
                status, content = await self._answer(path, headers, body, writer)
                if status == 0:
                    return
                answer = (
                    f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
                )
                writer.write(answer.encode() + content)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _answer(self, path: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter) -> Answer:
        api = path.rsplit("/", 1)[-1]
        self.counts[api] += 1
        try:
            answer = self._perform(path, api, headers, body)
        except ProxyError as error:
            return error.status, json.dumps({"errorName": error.name}).encode()
        change = self.script.get(api)
        if change is None:
            return 200, json.dumps(answer).encode()
        changed = change(answer)
        if isinstance(changed, dict):
            return 200, json.dumps(changed).encode()
        if isinstance(changed, bytes):
            return 200, changed
        if isinstance(changed, tuple):
            return changed
        if isinstance(changed, float):
            await asyncio.sleep(changed)
            return 200, json.dumps(answer).encode()
        assert changed == "reset", changed
        writer.transport.abort()
        return 0, b""

    # ---- XKS -------------------------------------------------------------------------------------------------------

    def _perform(self, path: str, api: str, headers: dict[str, str], body: bytes) -> dict[str, Any]:
        if not path.startswith(PATH):
            raise ProxyError(404, "InvalidUriPathException")
        self._authenticate(path, headers, body)
        told = json.loads(body)
        self.heard.append((api, told))
        if api == "health":
            member = {"id": "hsm-1", "model": "Scripted 1", "healthStatus": "ACTIVE"}
            return {
                "xksProxyFleetSize": 1,
                "xksProxyVendor": "Scripted",
                "xksProxyModel": "Scripted proxy 1.0",
                "ekmVendor": "Scripted",
                "ekmFleetDetails": [member],
            }
        if path.split("/")[-2] not in self.keys:
            raise ProxyError(404, "KeyNotFoundException")
        if api == "metadata":
            return self.key_metadata
        aad = base64.b64decode(told.get("additionalAuthenticatedData", ""))
        if api == "encrypt":
            return self._encrypt(told, aad)
        metadata = base64.b64decode(told.get("ciphertextMetadata", ""))
        iv, tag = base64.b64decode(told["initializationVector"]), base64.b64decode(told["authenticationTag"])
        try:
            opened = self._cipher.decrypt(iv, base64.b64decode(told["ciphertext"]) + tag, bound(aad, metadata))
        except InvalidTag:
            raise ProxyError(400, "InvalidCiphertextException") from None
        return {"plaintext": b64(opened)}

    def _encrypt(self, told: dict[str, Any], aad: bytes) -> dict[str, Any]:
        if "plaintext" not in told:
            raise ProxyError(400, "ValidationException")
        iv, metadata = os.urandom(12), b"version=1"
        box = self._cipher.encrypt(iv, base64.b64decode(told["plaintext"]), bound(aad, metadata))
        answer = {
            "ciphertext": b64(box[:-16]),
            "authenticationTag": b64(box[-16:]),
            "initializationVector": b64(iv),
            "ciphertextMetadata": b64(metadata),
        }
        if told.get("ciphertextDataIntegrityValueAlgorithm") == "SHA_256":
            answer["ciphertextDataIntegrityValue"] = b64(hashlib.sha256(aad + metadata + iv + box).digest())
        return answer

    def _authenticate(self, path: str, headers: dict[str, str], body: bytes) -> None:
        """botocore signs the same request; the signatures have to be the same."""
        given = headers.get("authorization", "")
        access_key_id = given.partition("Credential=")[2].partition("/")[0]
        secret = self.credentials.get(access_key_id)
        stamp = headers.get("x-amz-date", "")
        moment = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if secret is None or abs(datetime.now(UTC) + self.clock_offset - moment) > timedelta(minutes=5):
            raise ProxyError(401, "AuthenticationFailedException")
        region = given.split("/")[2]
        request = AWSRequest("POST", f"https://{headers['host']}{path}", data=body, headers={"host": headers["host"]})
        Signer(Credentials(access_key_id, secret), "kms-xks-proxy", region).sign_at(request, moment)
        if request.headers["Authorization"] != given:
            raise ProxyError(401, "AuthenticationFailedException")


def bound(aad: bytes, metadata: bytes) -> bytes:
    """The associated data as the specification wants it."""
    return len(aad).to_bytes(2, "big") + aad + bytes((len(metadata),)) + metadata
