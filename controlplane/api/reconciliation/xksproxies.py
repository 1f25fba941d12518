"""``GET /v1/xksproxies/{name}/configuration``: the file that the AWS console imports, with the secret in it.

Reading it needs the permission ``keystead:GetXksConfiguration`` on ``XksProxy/NAME`` and is audited like everything.
"""

from __future__ import annotations

from typing import Annotated, Any, cast

from litestar import Controller, Request, get
from litestar.params import Parameter

from controlplane.access.caller import Caller
from controlplane.api.reconciliation.documented import REFUSALS
from controlplane.api.services import Services
from controlplane.api.xks.served import read_secret
from controlplane.errors import NotFound
from controlplane.schema.meta import Kind, XksProxy
from controlplane.schema.xksproxies import XksAuthenticationCredential, XksConfiguration
from controlplane.store import objects
from controlplane.usage import perform

ApiRequest = Request[Caller, Any, Any]


class XksProxiesController(Controller):
    """What only XKS proxies have."""

    path = "/{plural:str}/{name:str}"
    tags = ("xks",)

    @get("/configuration", operation_id="GetXksConfiguration", responses=REFUSALS)
    async def configuration(
        self,
        request: ApiRequest,
        services: Services,
        plural: str,
        name: str,
        access_key_id: Annotated[
            str | None, Parameter(query="accessKeyId", description="Which credential; absent: the newest declared.")
        ] = None,
    ) -> XksConfiguration:
        """URI path and credential, as a KMS is configured with them."""
        if plural != "xksproxies":
            raise NotFound(f"{plural} have no configuration, only xksproxies have")

        async def work() -> XksConfiguration:
            proxy = cast(
                "XksProxy | None", services.database.read(lambda tx: objects.get_named(tx, Kind.XKS_PROXY, name))
            )
            if proxy is None:
                raise NotFound(f"there is no XksProxy {name}")
            declared = proxy.spec.credentials
            found = next((each for each in declared if each.access_key_id == access_key_id), None)
            if access_key_id is None and declared:
                found = declared[-1]
            if found is None:
                raise NotFound(f"XksProxy {name} has no access key {access_key_id}")
            secret = read_secret(found, services.settings.directory).expose().decode("ascii")
            return XksConfiguration(proxy.spec.uri_path, XksAuthenticationCredential(found.access_key_id, secret))

        asked = perform.Request(request.user, "GetXksConfiguration", action="keystead:GetXksConfiguration")
        return await services.usage.on_account(asked, work, f"{Kind.XKS_PROXY}/{name}")
