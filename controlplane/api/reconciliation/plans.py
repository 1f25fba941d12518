"""``POST /v1/plans``, ``GET /v1/plans/{id}``, ``POST /v1/plans/{id}/apply``, ``GET /v1/spec-sets/{name}/progress``."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, get, post
from litestar.openapi.spec import OpenAPIType, Schema
from litestar.params import Parameter

from controlplane.access.caller import Caller
from controlplane.api.reconciliation.documented import DOCUMENT, REFUSALS, Documented, body_of
from controlplane.api.services import Services
from controlplane.errors import InvalidInput, InvalidSpec, Problem
from controlplane.planning import apply, exporting, planner
from controlplane.planning.live import Options, Surroundings
from controlplane.schema.base import NAME_PATTERN, Name
from controlplane.schema.conditions import ConditionType, find_condition
from controlplane.schema.documents import Located, decode_documents, received, written_specs
from controlplane.schema.meta import AnyObject, Kind
from controlplane.schema.plans import Applied, ExportPage, ObjectProblem, Plan, Progress, SpecSets
from controlplane.store import objects
from controlplane.store.database import Tx
from controlplane.usage import perform

MAX_BODY = 256 * 1_048_576
"""A plan of 100,000 keys is some 40 MB of JSON."""

ApiRequest = Request[Caller, Any, Any]


class PlanRequest(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Body of ``POST /v1/plans``; the documents are decoded apart, so that every mistake is told with its place."""

    spec_set: Name
    documents: msgspec.Raw
    take_ownership: bool = False
    targets: tuple[str, ...] = ()


class PlanOperation(Documented):
    body = body_of(
        {
            "specSet": Schema(type=OpenAPIType.STRING, pattern=NAME_PATTERN),
            "documents": Schema(type=OpenAPIType.ARRAY, items=DOCUMENT),
            "takeOwnership": Schema(
                type=OpenAPIType.BOOLEAN, description="Take fields that another manager states, and objects of nobody."
            ),
            "targets": Schema(
                type=OpenAPIType.ARRAY,
                items=Schema(type=OpenAPIType.STRING),
                description="Kind/NAME: plan these and what they need, and leave out all else.",
            ),
        },
        "specSet",
        "documents",
    )


class PlansController(Controller):
    """Plan and apply."""

    path = "/"
    tags = ("plans",)

    @post(
        "/plans",
        operation_id="MakePlan",
        operation_class=PlanOperation,
        responses=REFUSALS,
        request_max_body_size=MAX_BODY,
    )
    async def make(self, request: ApiRequest, services: Services) -> Plan:
        """Compare documents with live objects. Changes nothing; the plan is kept so that it can be applied."""
        body = await request.body()

        async def work() -> Plan:
            asked, located = _decode(body)
            await services.usage.last_uses.write()  # what the plan says of last uses is up to this moment
            around = surroundings(services)

            options = Options(take_ownership=asked.take_ownership, targets=asked.targets)
            # Compared outside of the writer's transaction, or a plan of 100,000 keys would hold up every write.
            draft = await services.database.snapshot(
                lambda tx: planner.make_plan(tx, located, asked.spec_set, around, options)
            )
            await services.database.write(lambda tx: apply.keep(tx, draft))
            return draft.plan

        return await services.usage.on_account(_asked(request, "MakePlan", "keystead:Plan"), work)

    @get("/plans/{plan_id:str}", operation_id="GetPlan", responses=REFUSALS)
    async def show(self, request: ApiRequest, services: Services, plan_id: str) -> Plan:
        """A plan that was made before."""

        async def work() -> Plan:
            return services.database.read(lambda tx: apply.load(tx, plan_id))

        return await services.usage.on_account(_asked(request, "GetPlan", "keystead:Read"), work)

    @post("/plans/{plan_id:str}/apply", operation_id="ApplyPlan", status_code=200, responses=REFUSALS)
    async def apply(self, request: ApiRequest, services: Services, plan_id: str) -> Applied:
        """Write a plan's desired state, all of it or nothing; the reconciler goes on from there.

        ``keystead:Apply`` is asked for each object that the plan changes, as ``Key/payments``.
        """
        caller = request.user

        async def work() -> Applied:
            return await services.database.write(
                lambda tx: apply.apply_stored(
                    tx, plan_id, account=services.settings.account, by=caller.principal, now=services.clock.now()
                )
            )

        spec_set, names = await services.database.scan(lambda tx: apply.touched(tx, plan_id))
        asked = _asked(request, "ApplyPlan", "keystead:Apply")
        return await services.usage.on_objects(asked, names, work, f"SpecSet/{spec_set}")

    @get("/spec-sets/{spec_set:str}/progress", operation_id="GetProgress", responses=REFUSALS)
    async def progress(self, request: ApiRequest, services: Services, spec_set: str) -> Progress:
        """How many objects of a spec set are not yet as declared, and why the first of them are not."""

        async def work() -> Progress:
            def read(tx: Tx) -> Progress:
                pending, some = objects.unsynced(tx, spec_set)
                return Progress(
                    spec_set=spec_set,
                    total=objects.count_set(tx, spec_set),
                    pending=pending,
                    problems=tuple(problem for each in some if (problem := _problem(each)) is not None),
                )

            return await services.database.scan(read)

        return await services.usage.on_account(_asked(request, "GetProgress", "keystead:Read"), work)

    @get("/spec-sets", operation_id="ListSpecSets", responses=REFUSALS)
    async def sets(self, request: ApiRequest, services: Services) -> SpecSets:
        """The names of all spec sets."""

        async def work() -> SpecSets:
            return SpecSets(tuple(await services.database.scan(exporting.sets)))

        return await services.usage.on_account(_asked(request, "ListSpecSets", "keystead:Read"), work)

    @get("/documents", operation_id="ExportDocuments", responses=REFUSALS)
    async def documents(
        self,
        request: ApiRequest,
        services: Services,
        kind: Kind,
        spec_set: Annotated[
            str | None, Parameter(query="specSet", description="Without it: the objects that no set owns.")
        ] = None,
        limit: Annotated[int, Parameter(ge=1, le=1000)] = 500,
        after: str = "",
    ) -> ExportPage:
        """Live objects as documents: what the set states of them, with the values that they have now. A plan of all of
        them in the same set is empty."""

        async def work() -> ExportPage:
            found, further = await services.database.scan(
                lambda tx: exporting.page(tx, kind, spec_set, after=after, limit=limit)
            )
            return ExportPage(tuple(found), further)

        return await services.usage.on_account(_asked(request, "ExportDocuments", "keystead:Read"), work)


def surroundings(services: Services) -> Surroundings:
    """What this server's plans are made against."""
    return Surroundings(
        server_id=services.server_id,
        account=services.settings.account,
        default_region=services.settings.region,
        regions=services.settings.regions,
        now=services.clock.now(),
        plan_id=str(uuid.uuid4()),
    )


def _asked(request: ApiRequest, operation: str, action: str) -> perform.Request:
    return perform.Request(request.user, operation, action=action)


def _decode(body: bytes) -> tuple[PlanRequest, list[Located]]:
    try:
        asked = msgspec.json.decode(body, type=PlanRequest)
    except msgspec.ValidationError as error:
        raise InvalidSpec([Problem(f"the body of POST /v1/plans is wrong: {error}")]) from None
    except (msgspec.DecodeError, RecursionError):
        raise InvalidInput("the body is not valid JSON") from None
    documents = decode_documents(asked.documents)
    return asked, received(documents, written_specs(asked.documents))


def _problem(pending: AnyObject) -> ObjectProblem | None:
    synced = find_condition(pending.status.conditions, ConditionType.SYNCED)
    if synced is None or synced.observed_generation < pending.metadata.generation:
        return None
    return ObjectProblem(
        kind=Kind(pending.kind), name=pending.metadata.name, reason=synced.reason.value, message=synced.message
    )
