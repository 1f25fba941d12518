"""One proxy under examination: its address, its credential, and requests to it that may be wrong on purpose.

Who calls it: ``checks`` and ``latency``. Guarantees: a request ends within ``SECONDS``; no redirect is followed and no
proxy is taken from the environment; the secret is in no message.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import ssl
import uuid
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from controlplane.clock import Clock
from controlplane.errors import InvalidInput
from plugins.sdk import SecretBytes
from plugins.sdk.signing import XksSigner

SECONDS: Final = 10.0
MAX_ANSWER: Final = 262_144
SUFFIX: Final = "/kms/xks/v1"
PRINCIPAL: Final = "arn:aws:iam::123456789012:user/Alice"
KEY_ARN: Final = "arn:aws:kms:us-east-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"


class Heard(msgspec.Struct, frozen=True):
    """What a proxy answered."""

    status: int
    content_type: str
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body as an object; empty if it is none."""
        try:
            value = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}

    @property
    def error(self) -> str:
        """The error name, or what came instead."""
        name = self.json().get("errorName")
        return name if isinstance(name, str) else f"HTTP {self.status} without an errorName"

    def octets(self, name: str) -> bytes | None:
        """A field in Base64; None if it is absent or is not."""
        value = self.json().get(name)
        try:
            return base64.b64decode(value, validate=True) if isinstance(value, str) else None
        except ValueError:
            return None


class Target:
    """Use as an async context manager. ``key`` is an external key that may be encrypted and decrypted with."""

    def __init__(
        self,
        url: str,
        access_key_id: str,
        secret: SecretBytes,
        *,
        key: str | None = None,
        region: str = "us-east-1",
        authority: str | None = None,
        certificate: tuple[str, str] | None = None,
        address: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        """``address`` is dialled instead of the URL's host. Raises :class:`InvalidInput` for what cannot be used."""
        wrong = InvalidInput(f"{url} is not the URL of an XKS proxy; write https://HOST[:PORT][/PREFIX]{SUFFIX}")
        try:
            parts = urlsplit(url)
            port = 443 if parts.port is None else parts.port
        except ValueError:  # a port that is none, half an IPv6 address
            raise wrong from None
        if parts.scheme != "https" or not parts.hostname or not port or parts.query or not parts.path.endswith(SUFFIX):
            raise wrong
        self.url = url
        self.host = parts.hostname
        self.port = port
        self.path = parts.path
        self.key = key
        self.region = region
        self.access_key_id = access_key_id
        self.secret = secret
        self.client_certificate = certificate
        self._authority = authority
        self._address = address
        self._clock = clock or Clock()
        self._base = f"https://{parts.netloc}"
        self._netloc = parts.netloc
        self._session: aiohttp.ClientSession | None = None
        self.context()  # files that cannot be used are told before anything is asked

    async def __aenter__(self) -> Self:
        self._session = self._new_session(self.context())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    def context(self, *, show_certificate: bool = True) -> ssl.SSLContext:
        """TLS as it should be."""
        try:
            context = ssl.create_default_context(cafile=self._authority)
            if self.client_certificate is not None and show_certificate:
                context.load_cert_chain(*self.client_certificate)
        except OSError as error:
            raise InvalidInput(f"the TLS files cannot be used: {error.strerror or 'they are not in PEM'}") from None
        return context

    def dial(self) -> socket.socket:
        """A plain connection, for what is tried below HTTP."""
        return socket.create_connection((self._address or self.host, self.port), SECONDS)

    # ---- asking ----------------------------------------------------------------------------------------------------

    async def post(self, rest: str, body: Any, **how: Any) -> Heard:
        """A signed POST of JSON below the URI path."""
        return await self.ask("POST", self.path + rest, json.dumps(body).encode(), **how)

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        secret: SecretBytes | None = None,
        access_key_id: str | None = None,
        minutes: int = 0,
        signed_body: bytes | None = None,
        content_type: str = "application/json",
        fresh: ssl.SSLContext | None = None,
    ) -> Heard:
        """Any request. ``signed_body`` is signed in place of ``body``; ``fresh`` takes a connection of its own."""
        signer = XksSigner(access_key_id or self.access_key_id, secret or self.secret, self._netloc)
        signed = body if signed_body is None else signed_body
        now = self._clock.time() + 60 * minutes
        headers = {
            **signer.headers(path, signed, region=self.region, now=now, method=method),
            "Content-Type": content_type,
        }
        if fresh is not None:
            async with self._new_session(fresh) as session:
                return await self._once(session, method, path, body, headers)
        assert self._session is not None, "use the target as an async context manager"
        return await self._once(self._session, method, path, body, headers)

    async def _once(
        self, session: aiohttp.ClientSession, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> Heard:
        url = URL(self._base + path, encoded=True)
        async with session.request(method, url, data=body, headers=headers, allow_redirects=False) as response:
            content = await response.content.read(MAX_ANSWER)
            while len(content) < MAX_ANSWER and (more := await response.content.read(MAX_ANSWER)):
                content += more
            return Heard(response.status, response.content_type, content)

    def _new_session(self, context: ssl.SSLContext) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, resolver=_Fixed(self._address) if self._address else None),
            timeout=aiohttp.ClientTimeout(total=SECONDS),
            trust_env=False,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        )

    # ---- bodies ----------------------------------------------------------------------------------------------------

    @staticmethod
    def metadata(operation: str, **changes: Any) -> dict[str, Any]:
        """``requestMetadata`` as KMS sends it; None leaves a field out."""
        told = {
            "awsPrincipalArn": PRINCIPAL,
            "kmsKeyArn": KEY_ARN,
            "kmsOperation": operation,
            "kmsRequestId": str(uuid.uuid4()),
            **changes,
        }
        return {"requestMetadata": {name: value for name, value in told.items() if value is not None}}

    def health_body(self) -> dict[str, Any]:
        return self.metadata("KmsHealthCheck", awsPrincipalArn=None, kmsKeyArn=None)

    def encrypt_body(self, content: bytes, aad: bytes | None = None, /, **changes: Any) -> dict[str, Any]:
        body = {**self.metadata("Encrypt"), "plaintext": b64(content), "encryptionAlgorithm": "AES_GCM"}
        if aad is not None:
            body["additionalAuthenticatedData"] = b64(aad)
        return {name: value for name, value in {**body, **changes}.items() if value is not None}

    def decrypt_body(self, sealed: Heard, aad: bytes | None = None, /, **changes: Any) -> dict[str, Any]:
        """``sealed`` is what Encrypt answered."""
        names = ("ciphertext", "initializationVector", "authenticationTag", "ciphertextMetadata")
        told = sealed.json()
        body: dict[str, Any] = {**self.metadata("Decrypt"), "encryptionAlgorithm": "AES_GCM"}
        body |= {name: told[name] for name in names if name in told}
        if aad is not None:
            body["additionalAuthenticatedData"] = b64(aad)
        return {name: value for name, value in {**body, **changes}.items() if value is not None}


class _Fixed(AbstractResolver):
    """Every name is at one address."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = socket.getaddrinfo(self._address, port, family, socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        return [
            ResolveResult(
                hostname=host, host=str(to[0]), port=port, family=of, proto=proto, flags=socket.AI_NUMERICHOST
            )
            for of, _, proto, _, to in found
        ]

    async def close(self) -> None:
        pass


def b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def well_formed_error(heard: Heard) -> str | None:
    """What is wrong with an error answer; None if nothing is."""
    told = heard.json()
    message = told.get("errorMessage", "")
    if not isinstance(told.get("errorName"), str):
        return "there is no errorName in the body"
    if not isinstance(message, str) or len(message) >= 512 or re.fullmatch(r"[ -~]*", message) is None:
        return "errorMessage is not printable ASCII of fewer than 512 characters"
    return None if heard.content_type == "application/json" else f"Content-Type is {heard.content_type}"
