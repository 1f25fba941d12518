"""Bearer authentication for every route of the reconciliation API; a route cannot forget it."""

from __future__ import annotations

import uuid
from typing import Any

from litestar.connection import ASGIConnection
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.types import ASGIApp

from controlplane.access.caller import Caller
from controlplane.api.services import Services
from controlplane.errors import Unauthenticated


class BearerMiddleware(AbstractAuthenticationMiddleware):
    """Puts the caller of a request where handlers find it, as ``request.user``."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        super().__init__(app)
        self._services = services

    async def authenticate_request(self, connection: ASGIConnection[Any, Any, Any, Any]) -> AuthenticationResult:
        request_id = str(uuid.uuid4())
        connection.scope.setdefault("state", {})["request_id"] = request_id
        client = connection.client
        source = client.host if client else "unknown"
        try:
            caller: Caller = self._services.authenticator.bearer(
                connection.headers.get("authorization"),
                request_id=request_id,
                source=source,
                secure=connection.scope.get("scheme") == "https",
                user_agent=connection.headers.get("user-agent", ""),
            )
        except Unauthenticated as error:
            operation = f"{connection.scope.get('method', '')}:{connection.url.path}"
            strangers = self._services.usage.strangers
            await strangers.note(error, door="rest", operation=operation, request_id=request_id, source=source)
            raise
        return AuthenticationResult(user=caller, auth=None)
