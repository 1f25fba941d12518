"""The four APIs of a proxy, each within its budget.

Who calls it: ``plugin``. Guarantees: a call ends within ``timeoutMilliseconds`` of its beginning, whatever DNS, TCP,
TLS or the proxy do, waiting for a free connection included; at most ``maxConnections`` requests are under way; a
request is sent again once, within the same budget, if a kept connection turned out to be closed (nothing changes in the
external key manager by asking twice); redirects are not followed and no proxy is taken from the environment; an answer
is read up to ``MAX_ANSWER`` bytes; every failure is a :class:`~plugins.sdk.external.ProxyFault`. A budget that was used
up before there was a TCP connection (no answer of a name server, packets that vanish) is told as UNREACHABLE, one that
was used up later as TIMED_OUT: KMS tells the two apart.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from time import monotonic
from types import SimpleNamespace
from typing import Final, TypeVar

import aiohttp
import msgspec
from yarl import URL

from plugins.sdk import Latency, Unavailable
from plugins.sdk.external import ProxyFault
from plugins.sdk.signing import XksSigner
from plugins.xks import wire
from plugins.xks.connecting import Resolver, tls_context
from plugins.xks.options import XksOptions

KEEP_ALIVE_SECONDS: Final = 50.0
DNS_SECONDS: Final = 30
RECENT: Final = 500
"""So many requests the latencies are of."""

A = TypeVar("A")


class _Attempt(msgspec.Struct):
    """One try of a request. ``handshakes``: how many had begun when it set out to make a connection, if it did."""

    handshakes: int | None = None


class ProxyClient:
    """One proxy. Belongs to one event loop."""

    def __init__(self, options: XksOptions, signer: XksSigner, now: Callable[[], float]) -> None:
        """Raises ``Misconfigured`` if TLS cannot be set up."""
        self._options = options
        self._signer = signer
        self._now = now
        self._budget = options.budget
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._base = f"https://{options.authority_of_url}"
        self._urls: dict[str, URL] = {}
        self._closed = False
        self.certificate_expires_at: float | None = None
        """Seconds since the epoch; of the proxy's certificate, as the last handshake saw it."""
        self._took: deque[float] = deque(maxlen=RECENT)
        self._handshakes = 0
        """TLS handshakes that have begun: so many TCP connections there were."""
        self._resolver = Resolver(options.address)
        tracing = aiohttp.TraceConfig()
        tracing.on_connection_create_start.append(self._connecting)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=options.max_connections,
                ssl=tls_context(options, self._handshake_begins, self._connected),
                keepalive_timeout=KEEP_ALIVE_SECONDS,
                resolver=self._resolver,
                ttl_dns_cache=DNS_SECONDS,
            ),
            timeout=aiohttp.ClientTimeout(total=None),
            trace_configs=[tracing],
            trust_env=False,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            raise_for_status=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        )

    async def close(self) -> None:
        """Let running requests end (they do, within the budget), then close the connections."""
        self._closed = True
        try:
            async with asyncio.timeout(self._budget):
                await self._idle.wait()
        except TimeoutError:
            pass
        await self._session.close()
        await self._resolver.close()

    # ---- the APIs --------------------------------------------------------------------------------------------------

    async def get_health_status(self, metadata: wire.RequestMetadata) -> wire.HealthStatus:
        body = wire.encode(wire.PlainRequest(metadata))
        answer = await self._ask("/health", body, wire.HealthStatus, self._options.region)
        wire.check_health(answer)
        return answer

    async def get_key_metadata(self, external_id: str, metadata: wire.RequestMetadata, region: str) -> wire.KeyMetadata:
        body = wire.encode(wire.PlainRequest(metadata))
        answer = await self._ask(f"/keys/{external_id}/metadata", body, wire.KeyMetadata, region)
        wire.check_key(answer)
        return answer

    async def encrypt(
        self, external_id: str, metadata: wire.RequestMetadata, region: str, plaintext: bytes, aad: bytes
    ) -> wire.Encrypted:
        """Encrypt, with the integrity value asked for and checked."""
        body = wire.encode(wire.EncryptRequest(metadata, plaintext, aad))
        answer = await self._ask(f"/keys/{external_id}/encrypt", body, wire.Encrypted, region)
        wire.check_encrypted(answer, plaintext, aad)
        return answer

    async def decrypt(self, external_id: str, region: str, request: wire.DecryptRequest) -> bytes:
        answer = await self._ask(f"/keys/{external_id}/decrypt", wire.encode(request), wire.Decrypted, region)
        if len(answer.plaintext) != len(request.ciphertext):
            raise wire.failure(ProxyFault.INVALID_RESPONSE)
        return answer.plaintext

    def latency(self) -> Latency | None:
        """Of recent requests, those included that were given up."""
        took = sorted(self._took)
        if not took:
            return None
        return Latency(took[len(took) // 2], took[min(len(took) * 99 // 100, len(took) - 1)], self._budget)

    # ---- one request -----------------------------------------------------------------------------------------------

    async def _ask(self, rest: str, body: bytes, answer: type[A], region: str) -> A:
        if self._closed:
            raise Unavailable("the external key store is not open")
        if self._under_way >= 2 * self._options.max_connections:
            raise wire.failure(ProxyFault.THROTTLED)  # those that wait could not be answered in time either
        self._under_way += 1
        self._idle.clear()
        begun = monotonic()
        attempt = _Attempt()
        try:
            async with asyncio.timeout(self._budget):
                status, content = await self._exchange(self._options.uri_path + rest, body, region, attempt)
        except TimeoutError:
            stuck = attempt.handshakes == self._handshakes
            raise wire.failure(ProxyFault.UNREACHABLE if stuck else ProxyFault.TIMED_OUT) from None
        except (aiohttp.ClientSSLError, ssl.SSLError):
            raise wire.failure(ProxyFault.TLS_FAILED) from None
        except (aiohttp.ClientConnectionError, OSError) as error:
            # A proxy that refuses our certificate says so in an alert after the handshake (TLS 1.3).
            alert = isinstance(error.__cause__, ssl.SSLError)
            raise wire.failure(ProxyFault.TLS_FAILED if alert else ProxyFault.UNREACHABLE) from None
        except (aiohttp.ClientError, ValueError):  # what is no HTTP
            raise wire.failure(ProxyFault.INVALID_RESPONSE) from None
        finally:
            self._took.append(monotonic() - begun)
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()
        if status != 200:
            raise wire.refused(status, content)
        return wire.decode(content, answer)

    async def _exchange(self, path: str, body: bytes, region: str, attempt: _Attempt) -> tuple[int, bytes]:
        try:
            return await self._once(path, body, region, attempt)
        except (aiohttp.ServerDisconnectedError, ConnectionResetError, BrokenPipeError):
            attempt.handshakes = None
            return await self._once(path, body, region, attempt)

    async def _once(self, path: str, body: bytes, region: str, attempt: _Attempt) -> tuple[int, bytes]:
        headers = self._signer.headers(path, body, region=region, now=self._now())
        headers["Content-Type"] = "application/json"
        async with self._session.post(
            self._url(path), data=body, headers=headers, allow_redirects=False, trace_request_ctx=attempt
        ) as response:
            content = bytearray()
            async for chunk in response.content.iter_any():
                content += chunk
                if len(content) > wire.MAX_ANSWER:
                    response.close()
                    raise wire.failure(ProxyFault.INVALID_RESPONSE)
            return response.status, bytes(content)

    def _url(self, path: str) -> URL:
        url = self._urls.get(path)
        if url is None:
            if len(self._urls) >= 10_000:
                self._urls.clear()
            url = self._urls[path] = URL(self._base + path, encoded=True)
        return url

    async def _connecting(self, _session: object, context: SimpleNamespace, _event: object) -> None:
        attempt: _Attempt = context.trace_request_ctx
        attempt.handshakes = self._handshakes

    def _handshake_begins(self) -> None:
        self._handshakes += 1

    def _connected(self, certificate_expires_at: float) -> None:
        self.certificate_expires_at = certificate_expires_at
