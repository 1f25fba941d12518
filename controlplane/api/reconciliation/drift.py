"""``GET /v1/drift``: what is not as spec sets state it, what key stores have lost, and what they hold beside keys.

Writes nothing. Where a key store can list its material, it is asked now; elsewhere a loss is told once the reconciler
has looked.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final, cast

from litestar import Controller, Request, get
from litestar.params import Parameter

from controlplane.access.caller import Caller
from controlplane.api.reconciliation.documented import REFUSALS
from controlplane.api.services import Services
from controlplane.domain.materials import lost_words
from controlplane.domain.names import MATERIAL_NAME_PREFIX, SYSTEM_NAME_PREFIX
from controlplane.domain.schedule import deletion_due
from controlplane.errors import KeysteadError
from controlplane.planning.drift import compare
from controlplane.schema.drift import DriftReason, DriftReport, ObjectDrift
from controlplane.schema.meta import Key, Kind
from controlplane.store import attempts, claims, objects
from controlplane.store.catalog import reference
from controlplane.store.database import Tx
from controlplane.usage import perform

ApiRequest = Request[Caller, Any, Any]

LIMIT: Final = 1_000
MISSING_AT_ONCE: Final = 200
"""Materials that a store is asked for one by one because its list does not have them."""


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
            lost, strangers, unreachable = await _looked(services, spec_set)
            told = {each.uid for each in items if each.reason is DriftReason.MATERIAL_LOST}
            items += [each for each in lost if each.uid not in told]
            if spec_set is None:
                items += strangers
            return DriftReport(items=tuple(items[:limit]), truncated=len(items) > limit, unreachable=tuple(unreachable))

        asked = perform.Request(request.user, "GetDrift", action="keystead:Read")
        return await services.usage.on_account(asked, work)


async def _looked(services: Services, spec_set: str | None) -> tuple[list[ObjectDrift], list[ObjectDrift], list[str]]:
    """Keys (of a set) whose material is gone from its store, material in stores that no key names, and the stores that
    could not be looked into."""
    lost: list[ObjectDrift] = []
    found: list[ObjectDrift] = []
    unreachable: list[str] = []
    for store in services.calls.connections.names():
        connection = services.calls.connections.find(store)
        if connection is None or connection.capabilities is None or not connection.capabilities.lists_material:
            continue
        # Read ahead of the list: what is made meanwhile is not missed.
        keys = await services.database.snapshot(partial(_keys, store=store, spec_set=spec_set))
        try:
            names = await services.calls.list_material(store)
            lost += await _lost(services, keys, set(names))
        except KeysteadError:
            unreachable.append(store)
            continue
        known = await services.database.snapshot(partial(_known, names=names))
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
    return lost, found, unreachable


def _keys(tx: Tx, store: str, spec_set: str | None) -> list[Key]:
    found = [cast(Key, objects.require(tx, uid)) for uid in objects.uids(tx, Kind.KEY, key_store=store)]
    return [key for key in found if spec_set is None or key.metadata.spec_set == spec_set]


async def _lost(services: Services, keys: list[Key], names: set[str]) -> list[ObjectDrift]:
    """Keys whose material is not in the list of their store, nor found when the store is asked for it."""
    missing = [(key, each) for key in keys for each in key.status.materials if each.present and each.name not in names]
    found = []
    for key, each in missing[:MISSING_AT_ONCE]:
        if await services.calls.observe(key.spec.key_store, reference(key, each.name, each.material_id)) is not None:
            continue
        now = cast("Key | None", services.database.read(partial(objects.get, uid=key.metadata.uid)))
        if now is None or each not in now.status.materials or deletion_due(now.metadata.deletion, services.clock.now()):
            continue
        found.append(
            ObjectDrift(
                kind=Kind.KEY,
                name=now.metadata.name,
                uid=now.metadata.uid,
                spec_set=now.metadata.spec_set,
                management=now.spec.management,
                reason=DriftReason.MATERIAL_LOST,
                message=lost_words(now, each),
            )
        )
    return found


def _known(tx: Tx, names: list[str]) -> set[str]:
    """The names that belong to a key here, or to a call that is under way."""
    known = {each.material for each in attempts.all_open(tx)}
    for name in names:
        uid = name.removeprefix(MATERIAL_NAME_PREFIX).partition(":")[0]
        present = objects.get(tx, uid) if name.startswith(MATERIAL_NAME_PREFIX) else None
        if isinstance(present, Key) and any(each.name == name for each in present.status.materials):
            known.add(name)
    return known
