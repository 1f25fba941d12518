"""``GET /v1/changes``: the change feed as server-sent events; ``GET /v1/events``: what happened; ``GET /v1/server``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

import msgspec
from litestar import Controller, Request, get
from litestar.params import Parameter
from litestar.response import ServerSentEvent, ServerSentEventMessage

from controlplane import __version__
from controlplane.access.caller import Caller
from controlplane.api.reconciliation.documented import REFUSALS
from controlplane.api.services import Services
from controlplane.keystores.discovery import plugin_names
from controlplane.schema.events import EventPage
from controlplane.schema.plans import ServerInfo
from controlplane.store import events, objects
from controlplane.usage import perform

ApiRequest = Request[Caller, Any, Any]

HEARTBEAT_SECONDS: Final = 15.0


class StreamController(Controller):
    """What changes, and the server itself."""

    path = "/"
    tags = ("server",)

    @get("/server", operation_id="GetServer", responses=REFUSALS)
    async def server(self, request: ApiRequest, services: Services) -> ServerInfo:
        """Identity, version, Regions and the types of key store that are installed."""

        async def work() -> ServerInfo:
            settings = services.settings
            return ServerInfo(
                server_id=services.server_id,
                version=__version__,
                account=settings.account,
                region=settings.region,
                regions=settings.regions,
                key_store_types=tuple(plugin_names()),
                time=services.clock.now(),
            )

        return await services.usage.on_account(_reading(request, "GetServer"), work)

    @get("/events", operation_id="ListEvents", responses=REFUSALS)
    async def events(
        self,
        request: ApiRequest,
        services: Services,
        uid: Annotated[str | None, Parameter(description="Of one object only; also of one that is gone.")] = None,
        since: Annotated[
            int | None, Parameter(ge=0, description="Version to continue after; absent: the newest events.")
        ] = None,
        limit: Annotated[int, Parameter(ge=1, le=1000)] = 200,
    ) -> EventPage:
        """Events, oldest first. Ask again with ``since`` set to the answer's ``version`` to hear what came after."""

        async def work() -> EventPage:
            return await services.database.scan(lambda tx: events.page(tx, uid=uid, since=since, limit=limit))

        return await services.usage.on_account(_reading(request, "ListEvents"), work)

    @get("/changes", operation_id="StreamChanges", responses=REFUSALS)
    async def changes(
        self,
        request: ApiRequest,
        services: Services,
        since: Annotated[
            int | None, Parameter(ge=0, description="Version to continue after; absent: from now on.")
        ] = None,
    ) -> ServerSentEvent:
        """Every object that changes, once per change of its latest state; comments are heartbeats."""

        async def work() -> int:
            return services.database.read(objects.current_version) if since is None else since

        start = await services.usage.on_account(_reading(request, "StreamChanges"), work)
        return ServerSentEvent(_follow(services, start))


async def _follow(services: Services, seen: int) -> AsyncIterator[ServerSentEventMessage]:
    """Ends when the server stops; the client continues after the last version it saw."""
    yield ServerSentEventMessage(comment=f"changes after {seen}")
    while not services.stopping.is_set():
        version = await _changed_or_stopping(services, seen)
        if version <= seen:
            yield ServerSentEventMessage(comment="alive")
        while batch := services.database.read(lambda tx, seen=seen: objects.changes_since(tx, seen)):  # type: ignore[misc]
            for change in batch:
                seen = change.version
                yield ServerSentEventMessage(
                    event="change", id=str(change.version), data=msgspec.json.encode(change).decode()
                )
        seen = max(seen, version)


async def _changed_or_stopping(services: Services, seen: int) -> int:
    """The store's version after a change, a heartbeat's time, or the beginning of the server's end."""
    changed = asyncio.ensure_future(services.signal.wait(seen, HEARTBEAT_SECONDS))
    stopping = asyncio.ensure_future(services.stopping.wait())
    try:
        await asyncio.wait({changed, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return changed.result() if changed.done() else seen
    finally:
        changed.cancel()
        stopping.cancel()


def _reading(request: ApiRequest, operation: str) -> perform.Request:
    return perform.Request(request.user, operation, action="keystead:Read")
