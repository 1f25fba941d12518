"""Actions: ``POST /v1/keys/{name}/actions/{action}``, and ``.../actions/reconcile`` of every other kind.

On keys the same operations, gate and permissions as over the KMS API.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from litestar import Controller, Request, post
from litestar.openapi.spec import OpenAPIType, Schema

from controlplane.access.caller import Caller
from controlplane.api.reconciliation.bodies import decode
from controlplane.api.reconciliation.documented import REFUSALS, Documented, body_of
from controlplane.api.reconciliation.lookup import find, record
from controlplane.api.reconciliation.objects import PLURALS
from controlplane.api.services import Services
from controlplane.domain.materials import is_replica
from controlplane.domain.ownership import API
from controlplane.domain.schedule import MAX_WINDOW_DAYS, MIN_WINDOW_DAYS
from controlplane.errors import NotFound
from controlplane.schema.meta import AnyObject, Key, Kind
from controlplane.store import keys
from controlplane.store.catalog import KeyRecord
from controlplane.usage import perform

ApiRequest = Request[Caller, Any, Any]


class ActionBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """``windowDays`` is for schedule-deletion; absent, the key's declared window holds."""

    window_days: int | None = None


OPERATIONS: Final[Mapping[str, str]] = {
    "enable": "EnableKey",
    "disable": "DisableKey",
    "schedule-deletion": "ScheduleKeyDeletion",
    "cancel-deletion": "CancelKeyDeletion",
    "rotate": "RotateKeyOnDemand",
    "make-primary": "UpdatePrimaryRegion",
    "reconcile": "DescribeKey",
}


class ActionOperation(Documented):
    body = body_of(
        {
            "windowDays": Schema(
                type=OpenAPIType.INTEGER,
                minimum=MIN_WINDOW_DAYS,
                maximum=MAX_WINDOW_DAYS,
                description="For schedule-deletion; absent, the key's declared window holds.",
            )
        }
    )
    body_required = False


class ActionsController(Controller):
    """What an operator does with one object."""

    path = "/"
    tags = ("keys",)

    @post(
        "/{plural:str}/{name:str}/actions/{action:str}",
        operation_id="ActOnKey",
        operation_class=ActionOperation,
        responses=REFUSALS,
        status_code=200,
    )
    async def act(self, request: ApiRequest, services: Services, plural: str, name: str, action: str) -> AnyObject:
        """enable, disable, rotate, make-primary, schedule-deletion, cancel-deletion, or reconcile (look at it now).

        Objects of other kinds than keys can be reconciled only.
        """
        operation = OPERATIONS.get(action)
        kind = PLURALS.get(plural)
        if kind is None:
            raise NotFound(f"there is no kind {plural}; there are {', '.join(PLURALS)}")
        if kind is not Kind.KEY:
            return await _reconcile(request, services, kind, name, action)
        if operation is None:
            raise NotFound(f"there is no action {action}; there are {', '.join(OPERATIONS)}")
        body = await request.body()
        data = decode(body, ActionBody | None) if body else None  # type: ignore[arg-type]
        found = find(services, Kind.KEY, name)
        assert isinstance(found, Key)
        caller = request.user

        async def work(at: KeyRecord) -> Key:
            uid, now = at.key.metadata.uid, services.clock.now()
            changes: Mapping[str, Callable[[Any], Key]] = {
                "enable": lambda tx: keys.change(tx, uid, now, manager=API, by=caller.principal, enabled=True),
                "disable": lambda tx: keys.change(tx, uid, now, manager=API, by=caller.principal, enabled=False),
                "schedule-deletion": lambda tx: keys.schedule_deletion(
                    tx, uid, window_days=_window(data, at.key), by=caller.principal, now=now
                ),
                "cancel-deletion": lambda tx: keys.cancel_deletion(tx, uid, by=caller.principal, now=now),
                "rotate": lambda tx: keys.request_rotation(tx, uid, now),
                "make-primary": lambda tx: keys.make_primary(tx, uid, now),
            }
            if action == "make-primary" and is_replica(at.key):
                former = services.catalog.key(at.key.status.primary_region or "", at.key.status.key_id)
                services.usage.require(perform.Request(caller, operation), former)
            if action == "reconcile":
                services.look_at(Kind.KEY, uid)
                return at.key
            return await services.database.write(changes[action])

        return await services.usage.on_key(perform.Request(caller, operation), lambda: record(services, found), work)


async def _reconcile(request: ApiRequest, services: Services, kind: Kind, name: str, action: str) -> AnyObject:
    if action != "reconcile":
        raise NotFound(f"there is no action {action} on a {kind}; there is reconcile")

    async def work() -> AnyObject:
        found = find(services, kind, name)
        services.look_at(kind, found.metadata.uid)
        return found

    asked = perform.Request(request.user, f"Reconcile{kind}", action="keystead:Apply")
    return await services.usage.on_account(asked, work, f"{kind}/{name}")


def _window(data: ActionBody | None, key: Key) -> int:
    asked = data.window_days if data is not None else None
    return key.spec.deletion.window_days if asked is None else asked
