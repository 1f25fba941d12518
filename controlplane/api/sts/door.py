"""The STS door: one signed request in, one XML answer out.

Who calls it: ``api.app``, for what is signed for ``sts`` at ``/``. Guarantees: every answer is AWS-shaped, also for
garbage; no parameter is read before the signature is verified; an unexpected error is logged with its request id and
answered without detail.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Final

import structlog

from controlplane.access.authentication import STS
from controlplane.access.caller import Caller
from controlplane.api.services import Services
from controlplane.api.sts import xml
from controlplane.api.sts.errors import refusal_of
from controlplane.api.sts.operations import OPERATIONS
from controlplane.api.sts.parameters import Parameters
from controlplane.api.wire import MAX_BODY, Answer, Headers
from controlplane.errors import InvalidInput, KeysteadError, StoreUnavailable, UnknownOperation
from controlplane.usage.perform import Request

log = structlog.get_logger("keystead.sts")

VERSION: Final = "2011-06-15"


class StsDoor:
    """Handles requests of the STS API."""

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
        request_id = str(uuid.uuid4())
        caller: Caller | None = None
        action: str | None = None
        try:
            caller = await self._services.authenticator.signed(
                method,
                raw_path,
                query_string,
                headers,
                body,
                service=STS,
                request_id=request_id,
                source=source,
                secure=secure,
            )
            parameters = Parameters(query_string, body)
            action, version = parameters.get("Action"), parameters.get("Version")
            handle = OPERATIONS.get(action or "")
            if action is None:
                raise UnknownOperation("The request has no parameter Action.")
            if handle is None or version != VERSION:
                raise UnknownOperation(f"Could not find operation {action[:64]} for version {(version or '')[:16]}")
            result = await handle(self._services, caller, parameters)
            return _answer(200, xml.answer(action, result, request_id), request_id)
        except asyncio.CancelledError:
            # The server's grace period is over, and the client still listens.
            return self._refused(StoreUnavailable("The server stopped before the request was complete."), request_id)
        except Exception as failure:
            error = await self._audited(failure, caller, action or "", headers, request_id, source)
            if not isinstance(error, KeysteadError):
                log.exception("a request failed unexpectedly", request_id=request_id)
            return self._refused(error, request_id)

    async def _audited(
        self, error: Exception, caller: Caller | None, action: str, headers: Headers, request_id: str, source: str
    ) -> Exception:
        """The error that is answered: this one, once it is in the audit journal, or that it cannot be."""
        usage, known = self._services.usage, action if action in OPERATIONS else "Unknown"
        try:
            if caller is not None:
                await usage.turned_away(Request(caller, known, action=f"sts:{known}"), error)
            elif isinstance(error, KeysteadError):
                await usage.strangers.note(
                    error, door="sts", operation=known, request_id=request_id, source=source, headers=headers
                )
        except KeysteadError as unavailable:
            return unavailable
        return error

    async def too_large(self, headers: Headers, source: str) -> Answer:
        """The answer to a body over the limit."""
        request_id = str(uuid.uuid4())
        refused = InvalidInput(f"The request body is larger than {MAX_BODY} bytes.")
        error = await self._audited(refused, None, "", headers, request_id, source)
        return self._refused(error, request_id, status=413 if error is refused else None)

    @staticmethod
    def _refused(error: Exception, request_id: str, *, status: int | None = None) -> Answer:
        refused = refusal_of(error)
        body = xml.refusal(refused.code, refused.message, request_id, fault=refused.fault)
        return _answer(status or refused.status, body, request_id)


def _answer(status: int, body: bytes, request_id: str) -> Answer:
    headers = [
        (b"content-type", b"text/xml"),
        (b"content-length", str(len(body)).encode()),
        (b"x-amzn-requestid", request_id.encode()),
        (b"cache-control", b"no-store"),
    ]
    return Answer(status, headers, body)
