"""``POST /v1/keystores/{name}/probe``: try a key store that is in use, with material of the probe's own.

It needs the permission ``keystead:ProbeKeyStore`` on ``KeyStore/NAME`` and is audited, whatever it finds.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, post
from litestar.openapi.spec import OpenAPIType, Schema

from controlplane.access.caller import Caller
from controlplane.api.reconciliation.bodies import decode
from controlplane.api.reconciliation.documented import REFUSALS, Documented, body_of
from controlplane.api.reconciliation.lookup import find
from controlplane.api.reconciliation.objects import PLURALS
from controlplane.api.services import Services
from controlplane.errors import NotFound
from controlplane.schema.meta import KeyStore, Kind
from controlplane.schema.probes import ProbeReport
from controlplane.usage import perform
from controlplane.usage.probing import Probes

ApiRequest = Request[Caller, Any, Any]

PROBE = "keystead:ProbeKeyStore"


class ProbeBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """``externalKey`` may be used for the probe, in a store of external keys. It is not changed."""

    external_key: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None


class ProbeOperation(Documented):
    body = body_of(
        {
            "externalKey": Schema(
                type=OpenAPIType.STRING,
                min_length=1,
                max_length=128,
                description="Of a store of external keys: one that may encrypt and decrypt a message of the probe.",
            )
        }
    )
    body_required = False


class ProbesController(Controller):
    """Probes of key stores."""

    path = "/{plural:str}/{name:str}"
    tags = ("keystores",)

    @post(
        "/probe",
        operation_id="ProbeKeyStore",
        operation_class=ProbeOperation,
        responses=REFUSALS,
        status_code=200,
    )
    async def probe(self, request: ApiRequest, services: Services, plural: str, name: str) -> ProbeReport:
        """Try what a key store promises: its health, and material that is made for the probe and destroyed after it."""
        if PLURALS.get(plural) is not Kind.KEY_STORE:
            raise NotFound("only keystores are probed")
        body = await request.body()
        asked = decode(body, ProbeBody) if body else ProbeBody()

        async def work() -> ProbeReport:
            store = find(services, Kind.KEY_STORE, name)
            assert isinstance(store, KeyStore)
            probes = Probes(services.database, services.calls, services.clock)
            settings = services.settings
            return await probes.run(
                store, region=settings.region, account=settings.account, external_key=asked.external_key
            )

        to_do = perform.Request(request.user, "ProbeKeyStore", action=PROBE)
        return await services.usage.on_account(to_do, work, f"KeyStore/{name}")
