"""Credentials of principals: ``/v1/principals/{name}/access-keys`` and ``/v1/principals/{name}/tokens``.

A secret is in the answer that makes it and in no other. Permissions are asked for ``Principal/NAME``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from litestar import Controller, Request, delete, get, post, put
from litestar.openapi.spec import OpenAPIType, Schema

from controlplane.access.caller import Caller
from controlplane.api.reconciliation.bodies import decode
from controlplane.api.reconciliation.documented import REFUSALS, Documented, body_of
from controlplane.api.services import Services
from controlplane.errors import NotFound
from controlplane.schema.credentials import (
    AccessKeyChange,
    AccessKeyInfo,
    IssuedAccessKey,
    IssuedToken,
    TokenInfo,
    TokenRequest,
)
from controlplane.schema.meta import Kind
from controlplane.store import credentials, objects
from controlplane.store.database import Tx
from controlplane.usage import perform

T = TypeVar("T")

ApiRequest = Request[Caller, Any, Any]


class SwitchOperation(Documented):
    body = body_of({"active": Schema(type=OpenAPIType.BOOLEAN)}, "active")


class TokenOperation(Documented):
    body = body_of(
        {
            "description": Schema(type=OpenAPIType.STRING, max_length=200),
            "expiresInDays": Schema(type=OpenAPIType.INTEGER, minimum=1, maximum=3650),
        }
    )
    body_required = False


class CredentialsController(Controller):
    """Issue, list, disable and take back."""

    path = "/{plural:str}/{name:str}"
    tags = ("credentials",)

    @post("/access-keys", operation_id="CreateAccessKey", responses=REFUSALS)
    async def create_access_key(
        self, request: ApiRequest, services: Services, plural: str, name: str
    ) -> IssuedAccessKey:
        """A new access key. Its secret is shown in this answer and never again."""
        _check(plural)

        asked = _asked(request, "CreateAccessKey")

        async def work() -> IssuedAccessKey:
            issued = await services.credentials.issue_access_key(name, services.clock.now())
            asked.details = {"accessKeyId": issued.access_key_id}
            return issued

        return await services.usage.on_account(asked, work, _resource(name))

    @get("/access-keys", operation_id="ListAccessKeys", responses=REFUSALS)
    async def list_access_keys(
        self, request: ApiRequest, services: Services, plural: str, name: str
    ) -> list[AccessKeyInfo]:
        """The access keys of a principal."""
        _check(plural)
        return await _read(request, services, "ListAccessKeys", name, credentials.access_keys)

    @put(
        "/access-keys/{access_key_id:str}",
        operation_id="UpdateAccessKey",
        operation_class=SwitchOperation,
        responses=REFUSALS,
    )
    async def switch_access_key(
        self, request: ApiRequest, services: Services, plural: str, name: str, access_key_id: str
    ) -> AccessKeyInfo:
        """Let an access key sign, or not. A disabled one works no more with the next request."""
        _check(plural)
        active = decode(await request.body(), AccessKeyChange).active

        def write(tx: Tx, uid: str) -> AccessKeyInfo:
            credentials.switch_access_key(tx, uid, access_key_id, active=active)
            return _access_key(tx, uid, access_key_id)

        details = {"accessKeyId": access_key_id, "active": active}
        return await _write(request, services, "UpdateAccessKey", name, write, details)

    @delete("/access-keys/{access_key_id:str}", operation_id="DeleteAccessKey", responses=REFUSALS, status_code=200)
    async def delete_access_key(
        self, request: ApiRequest, services: Services, plural: str, name: str, access_key_id: str
    ) -> AccessKeyInfo:
        """Take an access key away for ever; answers what it was."""
        _check(plural)

        def write(tx: Tx, uid: str) -> AccessKeyInfo:
            gone = _access_key(tx, uid, access_key_id)
            credentials.delete_access_key(tx, uid, access_key_id)
            return gone

        return await _write(request, services, "DeleteAccessKey", name, write, {"accessKeyId": access_key_id})

    @post("/tokens", operation_id="CreateToken", operation_class=TokenOperation, responses=REFUSALS)
    async def create_token(self, request: ApiRequest, services: Services, plural: str, name: str) -> IssuedToken:
        """A new bearer token. It is shown in this answer and never again."""
        _check(plural)
        body = await request.body()

        asked = _asked(request, "CreateToken")

        async def work() -> IssuedToken:
            wanted = decode(body, TokenRequest) if body else TokenRequest()
            issued = await services.credentials.issue_token(name, wanted, services.clock.now())
            asked.details = {"tokenId": issued.token_id}
            return issued

        return await services.usage.on_account(asked, work, _resource(name))

    @get("/tokens", operation_id="ListTokens", responses=REFUSALS)
    async def list_tokens(self, request: ApiRequest, services: Services, plural: str, name: str) -> list[TokenInfo]:
        """The bearer tokens of a principal."""
        _check(plural)
        return await _read(request, services, "ListTokens", name, credentials.tokens)

    @delete("/tokens/{token_id:str}", operation_id="RevokeToken", responses=REFUSALS, status_code=200)
    async def revoke_token(
        self, request: ApiRequest, services: Services, plural: str, name: str, token_id: str
    ) -> TokenInfo:
        """Take a bearer token away; answers what it was. It works no more with the next request."""
        _check(plural)

        def write(tx: Tx, uid: str) -> TokenInfo:
            held = (token for token in credentials.tokens(tx, uid) if token.token_id == token_id)
            gone = _found(next(held, None), f"token {token_id}")
            credentials.delete_token(tx, uid, token_id)
            return gone

        return await _write(request, services, "RevokeToken", name, write, {"tokenId": token_id})


def _check(plural: str) -> None:
    if plural != "principals":
        raise NotFound(f"{plural} have no credentials, only principals have")


def _resource(name: str) -> str:
    return f"{Kind.PRINCIPAL}/{name}"


def _asked(request: ApiRequest, operation: str) -> perform.Request:
    return perform.Request(request.user, operation, action=f"keystead:{operation}")


async def _read(request: ApiRequest, services: Services, operation: str, name: str, query: Callable[[Tx, str], T]) -> T:
    async def work() -> T:
        return services.database.read(lambda tx: query(tx, _uid(tx, name)))

    return await services.usage.on_account(_asked(request, operation), work, _resource(name))


async def _write(
    request: ApiRequest,
    services: Services,
    operation: str,
    name: str,
    write: Callable[[Tx, str], T],
    details: Mapping[str, Any],
) -> T:
    asked = _asked(request, operation)
    asked.details = details

    async def work() -> T:
        return await services.database.write(lambda tx: write(tx, _uid(tx, name)))

    return await services.usage.on_account(asked, work, _resource(name))


def _uid(tx: Tx, name: str) -> str:
    found = objects.get_named(tx, Kind.PRINCIPAL, name)
    if found is None:
        raise NotFound(f"there is no Principal {name}")
    return found.metadata.uid


def _access_key(tx: Tx, uid: str, access_key_id: str) -> AccessKeyInfo:
    held = (key for key in credentials.access_keys(tx, uid) if key.access_key_id == access_key_id)
    return _found(next(held, None), f"access key {access_key_id}")


def _found(value: T | None, what: str) -> T:
    if value is None:
        raise NotFound(f"there is no {what}")
    return value
