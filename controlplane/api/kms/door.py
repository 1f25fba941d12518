"""The KMS door: one signed request in, one answer out. Runs ahead of Litestar, which costs as much again as the work.

Who calls it: ``api.app`` for ``POST /``. Guarantees: every answer is AWS-shaped, also for garbage; nothing is decoded
before the signature is verified; a body over 1 MiB is not read; every answer carries its CRC-32; an unexpected error is
logged with its request id and answered without detail.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import Final

import msgspec
import structlog

from controlplane.access.caller import Caller
from controlplane.api import ids
from controlplane.api.kms.errors import AwsException, exception_of
from controlplane.api.kms.operations import OPERATIONS
from controlplane.api.services import Services
from controlplane.api.wire import MAX_BODY, Answer, Headers
from controlplane.errors import DeadlineExceeded, InvalidInput, KeysteadError, UnknownOperation
from controlplane.usage.perform import Request

log = structlog.get_logger("keystead.kms")

SERVICE: Final = "kms"
TARGET_PREFIX: Final = b"TrentService."
CONTENT_TYPE: Final = (b"content-type", b"application/x-amz-json-1.1")

_STOPPED: Final = "The server stopped before the request was complete. The request can be retried."

_encode = msgspec.json.Encoder().encode


class KmsDoor:
    """Handles requests of the KMS API."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def handle(
        self,
        method: str,
        raw_path: bytes,
        query_string: bytes,
        headers: Headers,
        body: bytes,
        source: str,
        *,
        secure: bool = False,
    ) -> Answer:
        """One request. Never raises: a request that a stopping server cancels is answered, too."""
        request_id = ids.request_id()
        caller: Caller | None = None
        try:
            caller = await self._services.authenticator.signed(
                method,
                raw_path,
                query_string,
                headers,
                body,
                service=SERVICE,
                request_id=request_id,
                source=source,
                secure=secure,
            )
            operation = OPERATIONS.get(_target(headers))
            if operation is None:
                raise UnknownOperation("")
            response = await operation.handle(self._services, caller, operation.read(body or b"{}"))
        except asyncio.CancelledError:
            # The server's grace period is over, and the client still listens: what was begun may go on without it.
            return _refusal(exception_of(DeadlineExceeded(_STOPPED), _target(headers)), request_id)
        except Exception as failure:
            error = await self._audited(failure, caller, headers, request_id, source)
            if not isinstance(error, KeysteadError):
                log.exception("a request failed unexpectedly", request_id=request_id)
            return _refusal(exception_of(error, _target(headers)), request_id)
        return _answer(200, b"" if response is None else _encode(response), request_id)

    async def _audited(
        self, error: Exception, caller: Caller | None, headers: Headers, request_id: str, source: str
    ) -> Exception:
        """The error that is answered: this one, once it is in the audit journal, or that it cannot be."""
        usage, target = self._services.usage, _target(headers)
        try:
            if caller is not None:
                await usage.turned_away(Request(caller, target if target in OPERATIONS else "Unknown"), error)
            elif isinstance(error, KeysteadError):
                await usage.strangers.note(
                    error, door="kms", operation=target, request_id=request_id, source=source, headers=headers
                )
        except KeysteadError as unavailable:
            return unavailable
        return error

    async def too_large(self, headers: Headers, source: str) -> Answer:
        """The answer to a body over the limit."""
        request_id = ids.request_id()
        refused = InvalidInput(f"The request body is larger than {MAX_BODY} bytes.")
        error = await self._audited(refused, None, headers, request_id, source)
        if error is not refused:
            return _refusal(exception_of(error, _target(headers)), request_id)
        return _refusal(AwsException("RequestEntityTooLargeException", refused.message, 413), request_id)


def _target(headers: Headers) -> str:
    """The operation that ``X-Amz-Target`` names, or the empty string."""
    for name, value in headers:
        if name == b"x-amz-target":
            return value.removeprefix(TARGET_PREFIX).decode("latin-1") if value.startswith(TARGET_PREFIX) else ""
    return ""


def _answer(status: int, body: bytes, request_id: str, extra: Headers = ()) -> Answer:
    """The reference of KMS names no checksum header; SDKs that know ``x-amz-crc32`` check it on any JSON service."""
    headers = [
        CONTENT_TYPE,
        (b"content-length", b"%d" % len(body)),
        (b"x-amzn-requestid", request_id.encode()),
        (b"x-amz-crc32", b"%d" % zlib.crc32(body)),
        (b"cache-control", b"no-store"),
        *extra,
    ]
    return Answer(status, headers, body)


def _refusal(exception: AwsException, request_id: str) -> Answer:
    body = {"__type": exception.type}
    if exception.message:
        body["message"] = exception.message
    return _answer(exception.status, _encode(body), request_id, [(b"x-amzn-errortype", exception.type.encode())])
