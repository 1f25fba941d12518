"""All doors on one port, as one ASGI application.

Who calls it: the composition root. ``/`` goes to the KMS door or the STS door without passing Litestar (the hot path);
everything else is Litestar's: ``/v1``, ``/schema``, ``/healthz``, ``/readyz``, ``/metrics``.
"""

from __future__ import annotations

from typing import Any, Final

from litestar import Litestar, Response, Router, get
from litestar.config.app import AppConfig
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import ScalarRenderPlugin
from litestar.types import ASGIApp
from prometheus_client import CONTENT_TYPE_LATEST

from controlplane import __version__
from controlplane.api.kms.door import KmsDoor
from controlplane.api.problems import to_problem
from controlplane.api.reconciliation.actions import ActionsController
from controlplane.api.reconciliation.audit import AuditController
from controlplane.api.reconciliation.browse import BrowseController
from controlplane.api.reconciliation.credentials import CredentialsController
from controlplane.api.reconciliation.documented import COMPONENTS, SECURITY
from controlplane.api.reconciliation.drift import DriftController
from controlplane.api.reconciliation.guard import BearerMiddleware
from controlplane.api.reconciliation.imports import ImportsController
from controlplane.api.reconciliation.journalled import Journalled
from controlplane.api.reconciliation.management import ManagementController
from controlplane.api.reconciliation.objects import ObjectsController
from controlplane.api.reconciliation.plans import PlansController
from controlplane.api.reconciliation.probes import ProbesController
from controlplane.api.reconciliation.stream import StreamController
from controlplane.api.reconciliation.upkeep import UpkeepController
from controlplane.api.reconciliation.xksproxies import XksProxiesController
from controlplane.api.services import Services
from controlplane.api.sts.door import StsDoor
from controlplane.api.wire import MAX_BODY, Answer
from controlplane.metrics import exposition
from controlplane.schema.keystores import STANDARD, ConnectionState

API_BODY: Final = 16 * 1_048_576


class Doors:
    """The ASGI application."""

    def __init__(self, services: Services) -> None:
        self._kms = KmsDoor(services)
        self._sts = StsDoor(services)
        self._rest = Journalled(rest_app(services), services)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/":
            door = self._door(scope)
            if door is not None:
                await self._serve(door, scope, receive, send)
                return
        await self._rest(scope, receive, send)

    def _door(self, scope: Any) -> KmsDoor | StsDoor | None:
        """Which AWS door a request at ``/`` is for: the one whose service it is signed for.

        What is not signed is answered by the door whose protocol it speaks. A GET is for STS or for no AWS door.
        """
        method, form = scope["method"], False
        for name, value in scope["headers"]:
            if name == b"authorization":
                if b"/kms/aws4_request" in value and method == "POST":
                    return self._kms
                if b"/sts/aws4_request" in value and method in ("GET", "POST"):
                    return self._sts
            elif name == b"content-type":
                form = value.startswith(b"application/x-www-form-urlencoded")
        if method == "POST":
            return self._sts if form else self._kms
        query = scope["query_string"]
        return self._sts if method == "GET" and (b"Action=" in query or b"X-Amz-" in query) else None

    @staticmethod
    async def _serve(door: KmsDoor | StsDoor, scope: Any, receive: Any, send: Any) -> None:
        client = scope.get("client")
        source = client[0] if client else "unknown"
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body = body + message["body"] if body else message.get("body", b"")
            if len(body) > MAX_BODY:
                await _send(send, await door.too_large(scope["headers"], source))
                return
            if not message.get("more_body"):
                break
        answer = await door.handle(
            scope["method"],
            scope["raw_path"],
            scope["query_string"],
            scope["headers"],
            body,
            source,
            secure=scope["scheme"] == "https",
        )
        await _send(send, answer)


async def _send(send: Any, answer: Answer) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": answer.body})


def rest_app(services: Services) -> Litestar:
    """Everything that is not the KMS door."""

    @get("/healthz", include_in_schema=False, sync_to_thread=False)
    def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @get("/readyz", include_in_schema=False, sync_to_thread=False)
    def readyz() -> Response[dict[str, str]]:
        """The database answers and the standard key store is connected."""
        services.catalog.refresh()
        store = services.catalog.key_store(STANDARD)
        ready = store is not None and store.status.connection is ConnectionState.CONNECTED
        return Response({"status": "ready" if ready else "starting"}, status_code=200 if ready else 503)

    @get("/metrics", include_in_schema=False, sync_to_thread=False)
    def metrics() -> Response[bytes]:
        """Prometheus exposition."""
        return Response(exposition(), headers={"content-type": CONTENT_TYPE_LATEST})

    def authenticated(app: ASGIApp) -> ASGIApp:
        # A closure, because Litestar copies what it is given deeply, and services are not to be copied.
        return BearerMiddleware(app, services)

    v1 = Router(
        path="/v1",
        route_handlers=[
            PlansController,
            StreamController,
            BrowseController,
            ActionsController,
            CredentialsController,
            XksProxiesController,
            ProbesController,
            ImportsController,
            UpkeepController,
            AuditController,
            DriftController,
            ManagementController,
            ObjectsController,
        ],
        middleware=[authenticated],
    )
    return Litestar.from_config(
        AppConfig(
            route_handlers=[healthz, readyz, metrics, v1],
            dependencies={"services": Provide(lambda: services, sync_to_thread=False)},
            exception_handlers={Exception: to_problem},
            openapi_config=OpenAPIConfig(
                title="Keystead reconciliation API",
                version=__version__,
                security=SECURITY,
                components=COMPONENTS,
                render_plugins=[ScalarRenderPlugin()],
            ),
            request_max_body_size=API_BODY,
            logging_config=None,
        )
    )
