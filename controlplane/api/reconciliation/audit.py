"""``GET /v1/audit``: the audit journal, by key, principal, operation, outcome and time."""

from __future__ import annotations

import asyncio
import threading
from datetime import datetime
from typing import Annotated, Any, Final

from litestar import Controller, Request, get
from litestar.params import Parameter

from controlplane.access.caller import Caller
from controlplane.api.reconciliation.documented import REFUSALS
from controlplane.api.reconciliation.lookup import keys_named
from controlplane.api.services import Services
from controlplane.audit.checkpoints import Checkpoints, pem
from controlplane.audit.reading import Query
from controlplane.audit.records import AuditPage, Decision, VerifyResult
from controlplane.domain.names import principal_arn
from controlplane.errors import InvalidInput, LimitExceeded, StoreUnavailable
from controlplane.schema.principals import PrincipalType
from controlplane.usage import perform
from controlplane.usage.strangers import UNAUTHENTICATED

ApiRequest = Request[Caller, Any, Any]

_CHECKING: Final = threading.Lock()
"""A check reads every file, so one at a time."""
READ_AUDIT: Final = "keystead:ReadAudit"
"""A permission of its own: the journal shows every principal's requests and encryption contexts."""


class AuditController(Controller):
    """Who did what."""

    path = "/"
    tags = ("audit",)

    @get("/audit", operation_id="ListAudit", responses=REFUSALS)
    async def records(
        self,
        request: ApiRequest,
        services: Services,
        key: Annotated[
            str | None, Parameter(description="Name, key id, alias or ARN of a key; of one that is gone its ARN.")
        ] = None,
        principal: Annotated[str | None, Parameter(description="Name or ARN of a principal.")] = None,
        operation: Annotated[list[str] | None, Parameter(description="Any of these; may be repeated.")] = None,
        decision: Decision | None = None,
        error: Annotated[str | None, Parameter(description="Code of the error that was answered.")] = None,
        request_id: Annotated[str | None, Parameter(query="requestId")] = None,
        since: datetime | None = None,
        until: Annotated[datetime | None, Parameter(description="Exclusive.")] = None,
        oldest_first: Annotated[bool, Parameter(query="oldestFirst")] = False,
        limit: Annotated[int, Parameter(ge=1, le=1000)] = 100,
        marker: Annotated[str | None, Parameter(description="The `next` of the page before.")] = None,
    ) -> AuditPage:
        """A page of records, newest first. Ask for the next one until `next` is null, also after an empty page."""

        async def work() -> AuditPage:
            wanted = Query(
                resources=_resources(services, key) if key is not None else (),
                principals=_principals(services, principal) if principal is not None else (),
                operations=tuple(operation or ()),
                decision=decision,
                error=error,
                request_id=request_id,
                since=_aware(since, "since"),
                until=_aware(until, "until"),
            )
            return await asyncio.to_thread(
                services.trail.query, wanted, limit=limit, marker=marker, newest_first=not oldest_first
            )

        return await services.usage.on_account(perform.Request(request.user, "ListAudit", action=READ_AUDIT), work)

    @get("/audit/verification", operation_id="VerifyAudit", responses=REFUSALS)
    async def verification(self, request: ApiRequest, services: Services) -> VerifyResult:
        """What a check of the journal's files finds, by this server about itself: it tells of damage, not of a server
        that lies. ``keystead audit verify`` reads the files without it."""

        async def work() -> VerifyResult:
            return await asyncio.to_thread(_verified, services)

        return await services.usage.on_account(perform.Request(request.user, "VerifyAudit", action=READ_AUDIT), work)

    @get("/audit/checkpoints", operation_id="ListAuditCheckpoints", responses=REFUSALS)
    async def checkpoints(self, request: ApiRequest, services: Services) -> Checkpoints:
        """Where the journal stands, signed: one checkpoint of each chain, made now for the chain of the process that
        answers. Kept elsewhere, they show if records are taken from the journal's end, or if it is made anew."""

        async def work() -> Checkpoints:
            try:
                await services.checkpointer.now()
                found = await asyncio.to_thread(services.trail.checkpoints)
            except OSError as error:
                raise StoreUnavailable(f"a checkpoint cannot be written: {error.strerror}") from None
            return Checkpoints(pem(services.checkpointer.public_key), tuple(found))

        asked = perform.Request(request.user, "ListAuditCheckpoints", action=READ_AUDIT)
        return await services.usage.on_account(asked, work)


def _verified(services: Services) -> VerifyResult:
    if not _CHECKING.acquire(blocking=False):
        raise LimitExceeded("the journal is being checked already; try again in a moment")
    try:
        return services.trail.verify()
    finally:
        _CHECKING.release()


def _resources(services: Services, text: str) -> tuple[str, ...]:
    """What records about a key name as their resource: its ARN, or the path under which this API was asked for it."""
    named = keys_named(services, text)
    found = {each.status.arn for each in named} | {f"Key/{each.metadata.name}" for each in named}
    return tuple(sorted(found | {text}))


def _principals(services: Services, text: str) -> tuple[str, ...]:
    """A name stands for a user or a role, also of one that is gone, or for those who could not authenticate."""
    if text.startswith("arn:") or ":" in text:
        return (text,)
    if text == UNAUTHENTICATED:
        return (text,)
    return tuple(principal_arn(services.settings.account, kind, text) for kind in PrincipalType)


def _aware(moment: datetime | None, name: str) -> datetime | None:
    if moment is not None and moment.tzinfo is None:
        raise InvalidInput(f"{name} needs its offset from UTC, such as 2026-01-31T12:00:00Z")
    return moment
