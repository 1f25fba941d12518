"""``GET /v1/drift``: what is not as spec sets state it, and what key stores hold that no key names. Writes nothing."""

from __future__ import annotations

from typing import Annotated, Any, Final

from litestar import Controller, Request, get
from litestar.params import Parameter

from controlplane.access.caller import Caller
from controlplane.api.reconciliation.documented import REFUSALS
from controlplane.api.services import Services
from controlplane.domain.names import MATERIAL_NAME_PREFIX, SYSTEM_NAME_PREFIX
from controlplane.errors import KeysteadError
from controlplane.planning.drift import compare
from controlplane.schema.drift import DriftReason, DriftReport, ObjectDrift
from controlplane.schema.meta import Key, Kind
from controlplane.store import attempts, claims, objects
from controlplane.store.database import Tx
from controlplane.usage import perform

ApiRequest = Request[Caller, Any, Any]

LIMIT: Final = 1_000


class DriftController(Controller):
    """What drifted."""

    path = "/"
    tags = ("drift",)

    @get("/drift", operation_id="GetDrift", responses=REFUSALS)
    async def drift(
        self,
        request: ApiRequest,
        services: Services,
        spec_set: Annotated[str | None, Parameter(query="specSet", description="Only what this set states.")] = None,
        limit: Annotated[int, Parameter(ge=1, le=10_000)] = LIMIT,
    ) -> DriftReport:
        """Everything that has drifted, by kind and name. Without a set also material that no key names."""

        async def work() -> DriftReport:
            def read(tx: Tx) -> list[ObjectDrift]:
                found = (compare(tx, objects.require(tx, uid)) for uid in claims.drifting(tx, spec_set, limit + 1))
                return [each for each in found if each is not None]

            items = await services.database.snapshot(read)
            unreachable: list[str] = []
            if spec_set is None:
                strangers, unreachable = await _strangers(services)
                items += strangers
            return DriftReport(items=tuple(items[:limit]), truncated=len(items) > limit, unreachable=tuple(unreachable))

        asked = perform.Request(request.user, "GetDrift", action="keystead:Read")
        return await services.usage.on_account(asked, work)


async def _strangers(services: Services) -> tuple[list[ObjectDrift], list[str]]:
    """Material in key stores that no key names, and the stores that could not be looked into."""
    found: list[ObjectDrift] = []
    unreachable: list[str] = []
    for store in services.calls.connections.names():
        connection = services.calls.connections.find(store)
        if connection is None or connection.capabilities is None or not connection.capabilities.lists_material:
            continue
        try:
            names = await services.calls.list_material(store)
        except KeysteadError:
            unreachable.append(store)
            continue
        known = await services.database.snapshot(lambda tx, names=names: _known(tx, names))  # type: ignore[misc]
        for name in sorted(set(names) - known):
            if name.startswith(SYSTEM_NAME_PREFIX):
                continue
            ours = name.startswith(MATERIAL_NAME_PREFIX)
            what = (
                "left over from a key that is gone"
                if ours
                else f"take it over with: keystead adopt --key-store {store} {name} --as NAME"
            )
            found.append(
                ObjectDrift(
                    kind=Kind.KEY_STORE,
                    name=store,
                    reason=DriftReason.NOT_MANAGED,
                    message=f"{name} is in it and no key names it; {what}",
                )
            )
    return found, unreachable


def _known(tx: Tx, names: list[str]) -> set[str]:
    """The names that belong to a key here, or to a call that is under way."""
    known = {each.material for each in attempts.all_open(tx)}
    for name in names:
        uid = name.removeprefix(MATERIAL_NAME_PREFIX).partition(":")[0]
        present = objects.get(tx, uid) if name.startswith(MATERIAL_NAME_PREFIX) else None
        if isinstance(present, Key) and any(each.name == name for each in present.status.materials):
            known.add(name)
    return known
