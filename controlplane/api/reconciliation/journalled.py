"""A refusal of the reconciliation API that no handler came to audit is in the audit journal before it is answered: a
route that is not there, a query or a body that does not decode, a body that is too large.

Who calls it: ``api.app``, around the Litestar application. Guarantee: fail closed, as everywhere: if the record cannot
be written, that is the answer. Whoever is known is audited like for any request; of strangers so many a second
(``usage.strangers``).
"""

from __future__ import annotations

from typing import Any

import msgspec
from litestar.exceptions import HTTPException

from controlplane.access.caller import Caller
from controlplane.api.problems import PROBLEM_JSON, TITLES, UNAUDITED, ProblemDetails
from controlplane.api.services import Services
from controlplane.errors import InvalidInput, KeysteadError, NotFound, Unauthenticated
from controlplane.usage.perform import Request

_encode = msgspec.json.Encoder().encode


class Journalled:
    """The ASGI application with its refusals audited."""

    def __init__(self, app: Any, services: Services) -> None:
        self._app = app
        self._services = services

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        replaced = False

        async def audited(message: Any) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start":
                error = scope.get("state", {}).pop(UNAUDITED, None)
                if error is not None:
                    try:
                        await self._note(scope, error)
                    except KeysteadError as unavailable:
                        replaced = True
                        await _answer(send, unavailable, scope["state"]["request_id"])
            if not replaced:
                await send(message)

        await self._app(scope, receive, audited)

    async def _note(self, scope: Any, error: Exception) -> None:
        handler = scope.get("route_handler")
        named = getattr(handler, "operation_id", None)
        operation = named if isinstance(named, str) else "Unknown"
        client = scope.get("client")
        source, request_id = client[0] if client else "unknown", scope["state"]["request_id"]
        told = _told(error)
        caller = scope.get("user") or self._known(scope, source, request_id)
        if isinstance(caller, Caller):
            details = {"path": scope["path"][:256]} if operation == "Unknown" else None
            asked = Request(caller, operation, action=f"keystead:{operation}", details=details)
            await self._services.usage.turned_away(asked, told)
            return
        if operation == "Unknown":
            operation = f"{scope['method']}:{scope['path']}"
        if isinstance(told, KeysteadError):
            await self._services.usage.strangers.note(
                told, door="rest", operation=operation, request_id=request_id, source=source
            )

    def _known(self, scope: Any, source: str, request_id: str) -> Caller | None:
        """Who asks for a route that is not there: nobody has looked yet."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        try:
            return self._services.authenticator.bearer(
                headers.get(b"authorization"),
                request_id=request_id,
                source=source,
                secure=scope.get("scheme") == "https",
                user_agent=headers.get(b"user-agent", ""),
            )
        except Unauthenticated:
            return None


def _told(error: Exception) -> Exception:
    """The error with a code for the journal, if it is one of the framework's about the request."""
    if not isinstance(error, HTTPException) or error.status_code >= 500:
        return error
    return NotFound(error.detail) if error.status_code == 404 else InvalidInput(error.detail)


async def _answer(send: Any, error: KeysteadError, request_id: str) -> None:
    body = _encode(
        ProblemDetails(title=TITLES[503], status=503, detail=error.message, code=error.code, request_id=request_id)
    )
    headers = [
        (b"content-type", PROBLEM_JSON.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})
