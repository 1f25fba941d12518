"""Objects of every kind: ``GET /v1/{kind}``, and ``GET``, ``PUT``, ``DELETE`` of ``/v1/{kind}/{name}``.

A put is a plan of one document that is applied at once; a delete of a key schedules its deletion.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from litestar import Controller, Request, Response, delete, get, put
from litestar.params import Parameter
from litestar.status_codes import HTTP_304_NOT_MODIFIED

from controlplane.access.caller import Caller
from controlplane.api.reconciliation.bodies import decode
from controlplane.api.reconciliation.documented import DOCUMENT, REFUSALS, Documented
from controlplane.api.reconciliation.lookup import find, record, referred
from controlplane.api.reconciliation.plans import surroundings
from controlplane.api.reconciliation.preconditions import conditions_of, entity_tag
from controlplane.api.services import Services
from controlplane.errors import Blocked, InvalidInput, NotFound
from controlplane.planning import apply, planner
from controlplane.planning.live import Options
from controlplane.schema.documents import decode_document, received
from controlplane.schema.keys import RefusedUse
from controlplane.schema.keystores import STANDARD
from controlplane.schema.meta import AnyObject, Key, KeyStore, Kind
from controlplane.schema.plans import Action, ObjectPage, PlannedChange, PlanReason
from controlplane.store import keys, objects, people
from controlplane.store.database import Tx
from controlplane.usage import perform

ApiRequest = Request[Caller, Any, Any]

PLURALS: Final[Mapping[str, Kind]] = {
    "keys": Kind.KEY,
    "keystores": Kind.KEY_STORE,
    "principals": Kind.PRINCIPAL,
    "xksproxies": Kind.XKS_PROXY,
}


class PutOperation(Documented):
    body = DOCUMENT


class ObjectsController(Controller):
    """Read and write single objects."""

    path = "/"
    tags = ("objects",)

    @get("/{plural:str}", operation_id="ListObjects", responses=REFUSALS)
    async def list_all(
        self,
        request: ApiRequest,
        services: Services,
        plural: str,
        limit: Annotated[int, Parameter(ge=1, le=1000)] = 500,
        after: str = "",
        spec_set: Annotated[str | None, Parameter(query="specSet")] = None,
        ref: str | None = None,
    ) -> ObjectPage:
        """A page of objects by name. ``ref`` finds the one key that a key id, alias or ARN names."""
        kind = _kind(plural)

        async def work() -> ObjectPage:
            if ref is not None:
                return ObjectPage(items=(referred(services, kind, ref),), next=None)
            found = await services.database.scan(
                lambda tx: objects.page(tx, kind, after=after, limit=limit + 1, spec_set=spec_set)
            )
            page = tuple(found[:limit])
            return ObjectPage(items=page, next=page[-1].metadata.name if len(found) > limit else None)

        return await services.usage.on_account(_reading(request, f"List{kind}s"), work)

    @get("/{plural:str}/{name:str}", operation_id="GetObject", responses=REFUSALS)
    async def show(self, request: ApiRequest, services: Services, plural: str, name: str) -> Response[AnyObject | None]:
        """One object by name; a key also by its key id. ``If-None-Match`` with its entity tag is answered 304."""
        kind = _kind(plural)
        conditions = conditions_of(request.headers)

        async def work() -> AnyObject:
            return find(services, kind, name)

        found = await services.usage.on_account(_reading(request, f"Get{kind}"), work, f"{kind}/{name}")
        headers = {"etag": entity_tag(found), "cache-control": "no-cache"}
        if conditions.unchanged(found):
            return Response(None, status_code=HTTP_304_NOT_MODIFIED, headers=headers)
        return Response(found, headers=headers)

    @get("/{plural:str}/{name:str}/refused-uses", operation_id="ListRefusedUses", responses=REFUSALS)
    async def refused_uses(self, request: ApiRequest, services: Services, plural: str, name: str) -> list[RefusedUse]:
        """Uses that were refused because the key is pending deletion, newest first."""

        async def work() -> list[RefusedUse]:
            if _kind(plural) is not Kind.KEY:
                raise NotFound("only keys have refused uses")
            uid = find(services, Kind.KEY, name).metadata.uid
            return services.database.read(lambda tx: people.refused_uses(tx, uid))

        return await services.usage.on_account(_reading(request, "ListRefusedUses"), work, f"Key/{name}")

    @put("/{plural:str}/{name:str}", operation_id="PutObject", operation_class=PutOperation, responses=REFUSALS)
    async def put(self, request: ApiRequest, services: Services, plural: str, name: str) -> AnyObject:
        """Declare one object; its spec set stays. ``If-Match`` names the version that was read, ``If-None-Match: *``
        makes it only if it is not there. No ``ETag`` comes back: what is stored is more than what was sent (RFC 9110,
        9.3.4); the version is in the answer.
        """
        kind = _kind(plural)
        conditions = conditions_of(request.headers)
        body = await request.body()

        async def work() -> AnyObject:
            document = decode_document(decode(body, Any))
            if document.kind is not kind or document.name != name:
                raise InvalidInput(f"the document declares {document.kind} {document.name}, the path {kind} {name}")
            located = received([document])
            around = surroundings(services)

            def write(tx: Tx) -> AnyObject:
                present = objects.get_named(tx, kind, name)
                conditions.check(present, f"{kind} {name}")
                owner = (present.metadata.spec_set or "") if present else ""
                draft = planner.make_plan(tx, located, owner, around, Options(prune=False, replace=True))
                account, by = services.settings.account, request.user.principal
                apply.apply_draft(tx, draft, account=account, by=by, now=around.now)
                written = objects.get_named(tx, kind, name)
                assert written is not None
                return written

            return await services.database.write(write)

        asked = perform.Request(request.user, f"Put{kind}", action="keystead:Apply")
        return await services.usage.on_account(asked, work, f"{kind}/{name}")

    @delete("/{plural:str}/{name:str}", operation_id="DeleteObject", status_code=200, responses=REFUSALS)
    async def remove(self, request: ApiRequest, services: Services, plural: str, name: str) -> AnyObject:
        """Schedule a key's deletion with its declared window, or remove another object. Takes ``If-Match``."""
        kind = _kind(plural)
        conditions = conditions_of(request.headers)
        found = find(services, kind, name)
        if isinstance(found, Key):
            window, uid = found.spec.deletion.window_days, found.metadata.uid
            by, now = request.user.principal, services.clock.now()

            def schedule(tx: Tx) -> Key:
                conditions.check(objects.get(tx, uid), f"{kind} {name}")
                return keys.schedule_deletion(tx, uid, window_days=window, by=by, now=now)

            return await services.usage.on_key(
                perform.Request(request.user, "ScheduleKeyDeletion"),
                lambda: record(services, found),
                lambda _: services.database.write(schedule),
            )

        async def work() -> AnyObject:
            if kind is Kind.KEY_STORE and name == STANDARD:
                raise Blocked("the key store standard belongs to the server and stays")
            around = surroundings(services)

            def write(tx: Tx) -> AnyObject:
                present = objects.require(tx, found.metadata.uid)
                conditions.check(present, f"{kind} {name}")
                if isinstance(present, KeyStore) and objects.count(tx, Kind.KEY, key_store=name):
                    raise Blocked(f"keys live in key store {name}; it leaves when its last key has been destroyed")
                apply.remove(tx, _removal(present), request.user.principal, around.now)
                return present

            return await services.database.write(write)

        asked = perform.Request(request.user, f"Delete{kind}", action="keystead:Apply")
        return await services.usage.on_account(asked, work, f"{kind}/{name}")


def _removal(present: AnyObject) -> PlannedChange:
    return PlannedChange(
        action=Action.DELETE,
        kind=present.kind,
        name=present.metadata.name,
        uid=present.metadata.uid,
        reason=PlanReason.REMOVED_FROM_SET,
    )


def _kind(plural: str) -> Kind:
    kind = PLURALS.get(plural)
    if kind is None:
        raise NotFound(f"there is no kind {plural}; there are {', '.join(PLURALS)}")
    return kind


def _reading(request: ApiRequest, operation: str) -> perform.Request:
    return perform.Request(request.user, operation, action="keystead:Read")
