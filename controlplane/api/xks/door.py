"""The XKS door: one request to a proxy in, one answer out.

Who calls it: ``listeners``, for every request of every listener. Guarantees: nothing of a request is decoded before its
signature is verified; no request skips the proxy's rules (but GetHealthStatus, as the specification wants), the
authoriser and the state gate; what was authenticated is in the audit journal with what it says of itself, the deciding
rule and how long it took, and no plaintext is; an unexpected error is logged with its request id and answered without
detail.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, Final, TypeVar

import msgspec
import structlog

from controlplane import __version__
from controlplane.access.caller import Caller
from controlplane.api import ids
from controlplane.api.wire import Answer
from controlplane.api.xks import metrics, wire
from controlplane.api.xks.errors import Api, InvalidUriPath, Refusal, refusal_of
from controlplane.api.xks.health import Health, told
from controlplane.api.xks.served import Served
from controlplane.errors import (
    AccessDenied,
    InvalidInput,
    InvalidKeyUsage,
    InvalidState,
    KeysteadError,
    KeyStoreFailure,
    KeyStoreUnavailable,
    LimitExceeded,
    Unauthenticated,
)
from controlplane.keystores.calls import Calls
from controlplane.schema.keys import KeySpec, KeyState
from controlplane.schema.keystores import STANDARD
from controlplane.schema.xksproxies import XksHealth, XksUsage
from controlplane.store.catalog import Catalog, KeyRecord
from controlplane.usage import externalkeys
from controlplane.usage.perform import Request, Usage
from controlplane.usage.strangers import UNAUTHENTICATED

log = structlog.get_logger("keystead.xks")

BUDGET_SECONDS: Final = 0.2
"""For the key store, out of the 250 milliseconds after which KMS gives up: an answer then would be too late."""
VENDOR: Final = "Keystead"
MODEL: Final = f"Keystead XKS proxy {__version__}"
PING: Final = b"/ping"
CONTENT_TYPE: Final = (b"content-type", b"application/json")
_ONLY_POST: Final = Refusal("UnsupportedOperationException", "Only POST is allowed here.")
"""What goes with 405, for which the specification has no name: one that every API may answer."""
_UNKNOWN: Final = "unknown"

Headers = list[tuple[bytes, bytes]]
T = TypeVar("T")

_encode = msgspec.json.Encoder().encode


class _Asked(msgspec.Struct):
    """One authenticated request on its way."""

    served: Served
    caller: Caller
    headers: Headers
    body: bytes
    external_key_id: str
    details: dict[str, Any]
    """For the audit record."""
    usages: tuple[XksUsage, ...] = ()
    """What the external key may be used for, once it was found."""


class XksDoor:
    """Handles requests of all proxies of this process."""

    def __init__(self, catalog: Catalog, calls: Calls, usage: Usage, health: Health) -> None:
        self._catalog = catalog
        self._calls = calls
        self._usage = usage
        self._health = health
        self._throttled_at: dict[str, float] = {}

    async def handle(
        self,
        find: Callable[[str], Served | None],
        method: str,
        raw_path: bytes,
        query_string: bytes,
        headers: Headers,
        body: bytes,
        source: str,
    ) -> Answer:
        """One request. ``find`` answers the proxy behind a path prefix. Never raises but for cancellation."""
        if raw_path == PING and method in ("GET", "HEAD"):
            return _answer(200, b'{"status":"ok"}', "")
        request_id = ids.request_id()
        began = perf_counter()
        name, caller = "", None
        principal = UNAUTHENTICATED
        api: Api | None = None
        try:
            self._catalog.refresh()
            served, rest = self._served(find, raw_path, query_string)
            name = served.name
            if method != "POST":
                wrong = InvalidInput("Only POST is answered here.")
                if (error := await self._audited(wrong, None, name, headers, request_id, source)) is not wrong:
                    raise error
                return _answer(405, _ONLY_POST.body(), request_id)
            served.authenticate(method, raw_path, query_string, headers, body)
            principal = served.principal
            served.count(asyncio.get_running_loop().time())
            api, external_key_id = wire.api_of(rest)
            caller = served.caller(request_id, source)
            details = {"door": "xks", "xksProxy": name}
            asked = _Asked(served, caller, headers, body, external_key_id, details)
            answer = await self._perform(api, asked)
        except Exception as failure:
            error = await self._audited(failure, caller, name, headers, request_id, source, principal)
            refusal = refusal_of(error, request_id, api)
            self._note(error, refusal, name, api or _UNKNOWN, request_id, source)
            metrics.observe(name, api or _UNKNOWN, refusal.name, perf_counter() - began)
            return _answer(refusal.status, refusal.body(), request_id)
        metrics.observe(name, api, "", perf_counter() - began)
        return _answer(200, _encode(answer), request_id)

    async def _audited(
        self,
        error: Exception,
        caller: Caller | None,
        name: str,
        headers: Headers,
        request_id: str,
        source: str,
        principal: str = UNAUTHENTICATED,
    ) -> Exception:
        """The error that is answered: this one, once it is in the audit journal, or that it cannot be."""
        try:
            if caller is not None:
                details = {"door": "xks", "xksProxy": name}
                await self._usage.turned_away(Request(caller, "Unknown", details=details), error)
            elif isinstance(error, KeysteadError):
                await self._usage.strangers.note(
                    error,
                    door="xks",
                    operation=f"XksProxy/{name}" if name else "Unknown",
                    request_id=request_id,
                    source=source,
                    headers=headers,
                    principal=principal,
                )
        except KeysteadError as unavailable:
            return unavailable
        return error

    async def refuse(self, error: KeysteadError, headers: Headers, source: str) -> Answer:
        """The answer to a request that is not even looked at: too large, or too many at once."""
        request_id = ids.request_id()
        refusal = refusal_of(await self._audited(error, None, "", headers, request_id, source), request_id)
        metrics.observe("", _UNKNOWN, refusal.name, 0.0)
        return _answer(refusal.status, refusal.body(), request_id)

    # ---- the four APIs ---------------------------------------------------------------------------------------------

    async def _perform(self, api: Api, asked: _Asked) -> wire.AnyAnswer:
        match api:
            case Api.METADATA:
                return await self._metadata(asked)
            case Api.ENCRYPT:
                return await self._encrypt(asked)
            case Api.DECRYPT:
                return await self._decrypt(asked)
            case Api.HEALTH:
                return await self._get_health(asked)

    async def _metadata(self, asked: _Asked) -> wire.MetadataAnswer:
        async def work(record: KeyRecord) -> wire.MetadataAnswer:
            enabled = self._usage.state(record) is KeyState.ENABLED
            aes = record.key.spec.key_spec is KeySpec.SYMMETRIC_DEFAULT
            return wire.MetadataAnswer(
                key_spec="AES_256" if aes else record.key.spec.key_spec,
                key_usage=tuple(dict.fromkeys(asked.usages)) if aes else (),  # each once: ten are allowed
                key_status="ENABLED" if enabled else "DISABLED",
            )

        def find(request: Request) -> KeyRecord:
            decoded = _decoded(asked, _metadata_request)
            decoded.check()
            return self._found(asked, request, decoded.request_metadata)

        return await self._on_key(asked, "DescribeKey", find, work)

    async def _encrypt(self, asked: _Asked) -> wire.EncryptAnswer:
        decoded: wire.EncryptRequest | None = None

        def find(request: Request) -> KeyRecord:
            nonlocal decoded
            decoded = _decoded(asked, _encrypt_request)
            decoded.check()
            record = self._found(asked, request, decoded.request_metadata)
            proven = decoded.ciphertext_data_integrity_value_algorithm is not None
            _check_usages(asked, XksUsage.ENCRYPT, *((XksUsage.DECRYPT,) if proven else ()))
            return record

        async def work(record: KeyRecord) -> wire.EncryptAnswer:
            assert decoded is not None
            made = await externalkeys.encrypt(
                self._calls,
                record,
                decoded.plaintext,
                decoded.additional_authenticated_data,
                proven=decoded.ciphertext_data_integrity_value_algorithm is not None,
                seconds=BUDGET_SECONDS,
            )
            return wire.EncryptAnswer(
                ciphertext=made.sealed.ciphertext,
                initialization_vector=made.sealed.iv,
                authentication_tag=made.sealed.tag,
                ciphertext_metadata=made.metadata,
                ciphertext_data_integrity_value=made.integrity,
            )

        return await self._on_key(asked, "Encrypt", find, work)

    async def _decrypt(self, asked: _Asked) -> wire.DecryptAnswer:
        decoded: wire.DecryptRequest | None = None

        def find(request: Request) -> KeyRecord:
            nonlocal decoded
            decoded = _decoded(asked, _decrypt_request)
            decoded.check()
            record = self._found(asked, request, decoded.request_metadata)
            _check_usages(asked, XksUsage.DECRYPT)
            return record

        async def work(record: KeyRecord) -> wire.DecryptAnswer:
            assert decoded is not None
            plaintext = await externalkeys.decrypt(
                self._calls,
                record,
                decoded.sealed(),
                decoded.ciphertext_metadata,
                decoded.additional_authenticated_data,
                seconds=BUDGET_SECONDS,
            )
            return wire.DecryptAnswer(plaintext=plaintext)

        return await self._on_key(asked, "Decrypt", find, work)

    async def _get_health(self, asked: _Asked) -> wire.HealthAnswer:
        """Not subject to the proxy's rules ("MUST be excluded from secondary authorization")."""
        served = asked.served
        request = Request(asked.caller, "GetHealthStatus", action="keystead:XksHealth", details=asked.details)

        async def work() -> wire.HealthAnswer:
            decoded = _decoded(asked, _health_request)
            asked.details["requestMetadata"] = msgspec.to_builtins(decoded.request_metadata)
            _check_enabled(served)
            looks = await self._health.of(served.key_stores() or [STANDARD])
            able = [look for look in looks if look.manager.health is not XksHealth.UNAVAILABLE]
            if not able and all(look.declared_off for look in looks):
                raise InvalidState("The key stores behind this proxy are disconnected.")
            if not able and any(look.late for look in looks):
                raise KeyStoreUnavailable("no key store behind the proxy answered in time", reason="Deadline")
            if not able:
                raise KeyStoreFailure("no key store behind the proxy can be used", reason="Unavailable")
            return wire.HealthAnswer(
                xks_proxy_fleet_size=served.proxy.spec.fleet_size,
                xks_proxy_vendor=VENDOR,
                xks_proxy_model=MODEL,
                ekm_vendor=VENDOR,
                ekm_fleet_details=tuple(
                    wire.FleetMember(look.manager.id, look.manager.model, look.manager.health) for look in told(looks)
                ),
            )

        return await self._usage.on_account(request, work, f"XksProxy/{served.name}")

    # ---- their parts -----------------------------------------------------------------------------------------------

    def _served(
        self, find: Callable[[str], Served | None], raw_path: bytes, query_string: bytes
    ) -> tuple[Served, bytes]:
        """The proxy of a path, in its present generation, and the rest of the path."""
        if len(raw_path) + len(query_string) > wire.MAX_URI:
            raise InvalidUriPath(f"The URI is longer than {wire.MAX_URI} characters.")
        parsed = wire.prefix_of(raw_path)
        served = find(parsed[0]) if parsed is not None else None
        if parsed is None or served is None or query_string:
            raise InvalidUriPath("No proxy has this URI path.")
        present = self._catalog.xks_proxy(served.proxy.metadata.uid)
        if present is None:
            raise InvalidUriPath("No proxy has this URI path.")
        if present.metadata.generation != served.proxy.metadata.generation:
            if present.spec.path_prefix != parsed[0] or present.spec.listen != served.proxy.spec.listen:
                raise InvalidUriPath("No proxy has this URI path.")
            served.take(present)
        return served, parsed[1]

    async def _on_key(
        self,
        asked: _Asked,
        operation: str,
        find: Callable[[Request], KeyRecord],
        work: Callable[[KeyRecord], Awaitable[T]],
    ) -> T:
        request = Request(asked.caller, operation, details=asked.details)
        return await self._usage.on_key(request, lambda: find(request), work)

    def _found(self, asked: _Asked, request: Request, metadata: wire.RequestMetadata) -> KeyRecord:
        """The key that is asked for, if the proxy's rules let it be. What the request says goes into the record."""
        asked.details["externalKeyId"] = asked.external_key_id
        asked.details["requestMetadata"] = msgspec.to_builtins(metadata)
        _check_enabled(asked.served)
        verdict = asked.served.rules.decide(metadata.facts(asked.external_key_id))
        asked.details["rule"] = verdict.reason
        if not verdict.allowed:
            raise AccessDenied("denied by the rules of the proxy", reason=verdict.reason)
        record, asked.usages = asked.served.key(asked.external_key_id)
        request.caller = msgspec.structs.replace(request.caller, region=record.key.spec.region or "")
        return record

    def _note(self, error: Exception, refusal: Refusal, name: str, what: str, request_id: str, source: str) -> None:
        """What an operator looks for: who could not authenticate, whom the quota stopped, and bugs."""
        if isinstance(error, Unauthenticated):
            log.warning(
                "an XKS request was not authenticated", proxy=name, kind=error.kind, source=source, id=request_id
            )
        elif isinstance(error, LimitExceeded):
            now = asyncio.get_running_loop().time()
            if now - self._throttled_at.get(name, -60.0) >= 1.0:
                self._throttled_at[name] = now
                log.warning("XKS requests are over their quota", proxy=name, source=source)
        elif not isinstance(error, KeysteadError):
            log.exception("an XKS request failed unexpectedly", proxy=name, api=what, id=request_id)
        elif refusal.status >= 500:
            log.error("an XKS request failed", proxy=name, api=what, id=request_id, error=error.message)


_metadata_request = msgspec.json.Decoder(wire.MetadataRequest).decode
_encrypt_request = msgspec.json.Decoder(wire.EncryptRequest).decode
_decrypt_request = msgspec.json.Decoder(wire.DecryptRequest).decode
_health_request = msgspec.json.Decoder(wire.HealthRequest).decode


def _decoded(asked: _Asked, decode: Callable[[bytes], Any]) -> Any:
    """The body. Raises :class:`InvalidInput` with the field that is wrong, never with its value."""
    content_type = next((value for name, value in asked.headers if name == b"content-type"), b"")
    if content_type.split(b";")[0].strip().lower() != b"application/json":
        raise InvalidInput("Content-Type must be application/json.")
    try:
        return decode(asked.body)
    except msgspec.ValidationError as error:
        raise InvalidInput(str(error).replace("`", "'")) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidInput("The body is not valid JSON.") from None


def _check_enabled(served: Served) -> None:
    if not served.proxy.spec.enabled:
        raise InvalidState("This external key store is disabled.")


def _check_usages(asked: _Asked, *wanted: XksUsage) -> None:
    missing = [usage for usage in wanted if usage not in asked.usages]
    if missing:
        raise InvalidKeyUsage(f"This external key is not for {' and '.join(missing)}.")


def _answer(status: int, body: bytes, request_id: str) -> Answer:
    headers = [CONTENT_TYPE, (b"content-length", str(len(body)).encode()), (b"cache-control", b"no-store")]
    if request_id:
        headers.append((b"x-request-id", request_id.encode()))
    if status == 405:
        headers.append((b"allow", b"POST"))
    return Answer(status, headers, body)
