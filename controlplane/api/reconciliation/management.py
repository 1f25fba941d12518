"""Who manages an object: ``POST /v1/{kind}/{name}/manage/{verb}``, and material of a key store that becomes a key.

``adopt`` and ``forget`` decide which spec set an object belongs to, ``pause`` and ``resume`` whether anything is done
about it, ``protect`` keeps a key from deletion, ``resolve`` says what became of a call that nobody else can find out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import msgspec
from litestar import Controller, Request, post
from litestar.openapi.spec import OpenAPIType, Schema

from controlplane.access.caller import Caller
from controlplane.api.reconciliation.bodies import decode
from controlplane.api.reconciliation.documented import REFUSALS, Documented, body_of
from controlplane.api.reconciliation.lookup import find
from controlplane.api.reconciliation.objects import PLURALS
from controlplane.api.services import Services
from controlplane.domain import capabilities
from controlplane.domain.ownership import API
from controlplane.errors import Blocked, InvalidInput, NotFound, Unsupported
from controlplane.planning import management
from controlplane.schema.base import NAME_PATTERN, Name
from controlplane.schema.keys import DeletionSpec, DesiredKey, KeySpec, KeyUsage, Management
from controlplane.schema.keystores import STANDARD
from controlplane.schema.meta import AnyObject, Desired, Key, KeyStore, Kind
from controlplane.store import claims, keys, objects
from controlplane.store.attempts import Finding
from controlplane.store.database import Tx
from controlplane.usage import perform

ApiRequest = Request[Caller, Any, Any]

_NAME: Final = Schema(type=OpenAPIType.STRING, pattern=NAME_PATTERN)
VERBS: Final = ("adopt", "forget", "pause", "resume", "protect", "resolve")


class ManageBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """``specSet`` and ``name`` are for adopt, ``finding`` for resolve."""

    spec_set: Name | None = None
    name: Name | None = None
    finding: Finding | None = None


class MaterialBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Material that becomes a key: ``object`` is what its key store calls it."""

    object: str
    name: Name
    spec_set: Name | None = None
    key_spec: KeySpec = KeySpec.SYMMETRIC_DEFAULT
    key_usage: KeyUsage | None = None
    description: str = ""


class ManageOperation(Documented):
    body = body_of(
        {
            "specSet": _NAME,
            "name": _NAME,
            "finding": Schema(type=OpenAPIType.STRING, enum=[each.value for each in Finding]),
        }
    )
    body_required = False


class MaterialOperation(Documented):
    body = body_of(
        {
            "object": Schema(type=OpenAPIType.STRING, description="What the key store calls it: see `GET /v1/drift`."),
            "name": _NAME,
            "specSet": _NAME,
            "keySpec": Schema(type=OpenAPIType.STRING, enum=[each.value for each in KeySpec]),
            "keyUsage": Schema(type=OpenAPIType.STRING, enum=[each.value for each in KeyUsage]),
            "description": Schema(type=OpenAPIType.STRING),
        },
        "object",
        "name",
    )


class ManagementController(Controller):
    """Who manages what."""

    path = "/"
    tags = ("management",)

    @post(
        "/{plural:str}/{name:str}/material",
        operation_id="AdoptMaterial",
        operation_class=MaterialOperation,
        responses=REFUSALS,
    )
    async def adopt_material(self, request: ApiRequest, services: Services, plural: str, name: str) -> Key:
        """Make a key of material that is in a key store and that no key names. The reconciler takes it over."""
        if PLURALS.get(plural) is not Kind.KEY_STORE:
            raise NotFound("material is in keystores")
        asked = decode(await request.body(), MaterialBody)

        async def work() -> Key:
            store = find(services, Kind.KEY_STORE, name)
            assert isinstance(store, KeyStore)
            connection = services.calls.connections.get(name)
            can = connection.capabilities
            if can is None or not can.adoption or store.spec.type == STANDARD:
                raise Unsupported(f"key store {name} does not take over material")
            if asked.object not in await services.calls.list_material(name):
                raise NotFound(f"key store {name} holds nothing that it calls {asked.object}; see keystead drift")
            desired = DesiredKey(
                key_store=name, key_spec=asked.key_spec, key_usage=asked.key_usage, description=asked.description
            )
            settings = services.settings
            desired, misfits = capabilities.complete(
                desired, store.spec.type, store.status.key_specs or None, default_region=settings.region
            )
            if misfits:
                raise InvalidInput("; ".join(misfit.message for misfit in misfits))
            by, now = request.user.principal, services.clock.now()
            key = await services.database.write(
                lambda tx: management.adopt_material(
                    tx, desired, asked.object, asked.name, asked.spec_set, account=settings.account, by=by, now=now
                )
            )
            return await services.created(key.metadata.uid, by)

        to_do = perform.Request(request.user, "AdoptMaterial", action="keystead:Apply")
        return await services.usage.on_account(to_do, work, f"KeyStore/{name}")

    @post(
        "/{plural:str}/{name:str}/manage/{verb:str}",
        operation_id="Manage",
        operation_class=ManageOperation,
        responses=REFUSALS,
        status_code=200,
    )
    async def manage(self, request: ApiRequest, services: Services, plural: str, name: str, verb: str) -> AnyObject:
        """adopt, forget, pause, resume, protect (a key), or resolve (a key)."""
        kind = PLURALS.get(plural)
        if kind is None:
            raise NotFound(f"there is no kind {plural}; there are {', '.join(PLURALS)}")
        if verb not in VERBS:
            raise NotFound(f"there is no {verb}; there are {', '.join(VERBS)}")
        body = await request.body()
        asked = decode(body, ManageBody) if body else ManageBody()

        async def work() -> AnyObject:
            found = find(services, kind, name)
            if kind is Kind.KEY_STORE and found.metadata.name == STANDARD:
                raise Blocked("the key store standard belongs to the server and is managed by it alone")
            act = _act(verb, asked, found, by=request.user.principal, now=services.clock.now())
            done = await services.database.write(act)
            services.look_at(kind, found.metadata.uid)
            return done

        to_do = perform.Request(request.user, f"{verb.capitalize()}{kind}", action="keystead:Apply")
        return await services.usage.on_account(to_do, work, f"{kind}/{name}")


def _act(verb: str, asked: ManageBody, found: AnyObject, *, by: str, now: Any) -> Callable[[Tx], AnyObject]:
    uid = found.metadata.uid
    if verb == "adopt":
        if asked.spec_set is None:
            raise InvalidInput("say which spec set it is for: specSet")
        spec_set, renamed = asked.spec_set, asked.name
        return lambda tx: management.adopt(tx, uid, spec_set, renamed, by=by, now=now)
    if verb == "forget":
        return lambda tx: management.forget(tx, uid, by=by, now=now)
    if verb == "resolve":
        if asked.finding is None or not isinstance(found, Key):
            raise InvalidInput("say of a key what was found: finding is adopt or abandon")
        finding = asked.finding
        return lambda tx: management.resolve(tx, uid, finding, by=by, now=now)
    if verb == "protect":
        if not isinstance(found, Key):
            raise InvalidInput("only keys are protected")
        deletion: DeletionSpec = msgspec.structs.replace(found.spec.deletion, protect=True)
        return lambda tx: keys.change(tx, uid, now, manager=API, by=by, deletion=deletion)
    wanted: Mapping[str, Management] = {"pause": Management.PAUSED, "resume": Management.FULL}
    return lambda tx: _set_management(tx, uid, wanted[verb], by=by, now=now)


def _set_management(tx: Tx, uid: str, wanted: Management, *, by: str, now: Any) -> AnyObject:
    """Resumed, an object is managed as its spec set states, or fully."""
    present = objects.require(tx, uid)
    if wanted is Management.FULL:
        stated = [
            each.claim.leaves["management"]
            for each in claims.of(tx, uid)
            if each.claim.spec_set is not None and "management" in each.claim.leaves
        ]
        wanted = Management(stated[0]) if stated else wanted
    if isinstance(present, Key):
        return keys.change(tx, uid, now, manager=API, by=by, management=wanted)
    spec = cast(Desired, msgspec.structs.replace(present.spec, management=wanted))
    done = objects.replace(tx, uid, now=now, spec=spec)
    if present.metadata.spec_set is not None:
        claims.note(tx, uid, present.spec, done.spec, manager=API, by=by, now=now)
    return done
