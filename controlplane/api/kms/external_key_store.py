"""Custom key stores of type EXTERNAL_KEY_STORE: an endpoint, a path and a credential name a proxy; the settings say how
it is reached.

The credential is kept sealed, under a new name each time, so that a change of it is a change of the options and the
connection in use goes on until the one with the new credential is open. A proxy with a public endpoint is asked for its
health before anything is written; one behind a VPC endpoint service only once it is connected to, as in AWS.

Source of the rules: the AWS KMS API reference and the exceptions of the service model.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from controlplane.api.kms.custom_types import Changes, NewStore
from controlplane.api.kms.external_keys import FAILURES
from controlplane.api.kms.shapes import custom_key_stores as shapes
from controlplane.api.kms.shapes.enums import ConnectionErrorCodeType, CustomKeyStoreType, XksProxyConnectivityType
from controlplane.api.services import Services
from controlplane.errors import (
    InvalidInput,
    KeyStoreFailure,
    ProxyEndpointInUse,
    ProxyServiceInUse,
    ProxyServiceNotFound,
    ProxyServiceUnsuitable,
    ProxyUnsuitable,
    ProxyUriInUse,
)
from controlplane.keystores import declared
from controlplane.schema.keystores import ConnectionState, DesiredKeyStore
from controlplane.schema.meta import KeyStore
from controlplane.store import keystores
from controlplane.store.database import Tx
from plugins.sdk import SecretBytes
from plugins.sdk.external import is_numbered

_Code = ConnectionErrorCodeType
_Connectivity = XksProxyConnectivityType

_PATH_END: Final = "/kms/xks/v1"


class ExternalKeyStore:
    """EXTERNAL_KEY_STORE."""

    type = CustomKeyStoreType.EXTERNAL_KEY_STORE
    error_codes: Mapping[str, ConnectionErrorCodeType] = {
        **{fault.value: row.code for fault, row in FAILURES.items()},
        declared.SERVICE_NOT_FOUND: _Code.XKS_VPC_ENDPOINT_SERVICE_NOT_FOUND,
        declared.SERVICE_UNSUITABLE: _Code.XKS_VPC_ENDPOINT_SERVICE_INVALID_CONFIGURATION,
        "Misconfigured": _Code.XKS_PROXY_INVALID_CONFIGURATION,
        "Deadline": _Code.XKS_PROXY_TIMED_OUT,
    }

    async def create(self, at: Services, request: shapes.CreateCustomKeyStoreRequest, uid: str) -> NewStore:
        connectivity, credential = request.xks_proxy_connectivity, request.xks_proxy_authentication_credential
        endpoint, path = request.xks_proxy_uri_endpoint, request.xks_proxy_uri_path
        if connectivity is None or credential is None or endpoint is None or path is None:
            raise InvalidInput(
                "XksProxyConnectivity, XksProxyAuthenticationCredential, XksProxyUriEndpoint and XksProxyUriPath are "
                f"required for a custom key store of type {self.type}."
            )
        _check_named(endpoint)
        options: dict[str, Any] = {"uriEndpoint": endpoint, "uriPath": path, "region": at.settings.region}
        if connectivity is _Connectivity.VPC_ENDPOINT_SERVICE:
            options[declared.CONNECTION] = _required(request.xks_proxy_vpc_endpoint_service_name)
        elif request.xks_proxy_vpc_endpoint_service_name is not None:
            raise _ONLY_WITH_SERVICE
        _check_owner(at, options, request.xks_proxy_vpc_endpoint_service_owner)
        name, options["credential"] = _fresh(credential.access_key_id)
        secret = SecretBytes(credential.raw_secret_access_key.encode())
        at.database.read(lambda tx: self._check_unique(tx, options, None))
        ask = declared.CONNECTION not in options
        await _check_proxy(at, request.custom_key_store_name, options, {name: secret}, ask=ask)
        sealed = await at.key_store_secrets.seal(uid, name, secret)
        return NewStore(DesiredKeyStore(type=declared.XKS, connected=False, xks=options), {name: sealed})

    async def update(self, at: Services, store: KeyStore, request: shapes.UpdateCustomKeyStoreRequest) -> Changes:
        before = store.spec.plugin_options()
        changed = _changed(before, request)
        _check_named(changed.get("uriEndpoint", ""))
        removed = {declared.CONNECTION} - changed.keys() if _leaves_service(before, request) else set()
        name, given = "", {}
        if request.xks_proxy_authentication_credential is not None:
            credential = request.xks_proxy_authentication_credential
            name, changed["credential"] = _fresh(credential.access_key_id)
            given = {name: SecretBytes(credential.raw_secret_access_key.encode())}

        def applied(options: Mapping[str, Any]) -> dict[str, Any]:
            return {each: value for each, value in {**options, **changed}.items() if each not in removed}

        after = applied(before)
        _check_owner(at, after, request.xks_proxy_vpc_endpoint_service_owner)
        needs_disconnected = bool(removed or changed.keys() & {"uriEndpoint", declared.CONNECTION})
        connected = store.status.connection is ConnectionState.CONNECTED
        if changed or removed:
            at.database.read(lambda tx: self._check_unique(tx, after, store))
            # What is refused for the state of the store anyway is not asked about first.
            ask = not needs_disconnected if connected else declared.CONNECTION not in after
            await _check_proxy(at, store.metadata.name, after, given, ask=ask)
        uid = store.metadata.uid
        sealed = {each: await at.key_store_secrets.seal(uid, each, secret) for each, secret in given.items()}

        def apply(spec: DesiredKeyStore) -> DesiredKeyStore:
            return msgspec.structs.replace(spec, xks=applied(spec.plugin_options()), options=None)

        return Changes(apply, sealed, needs_disconnected=needs_disconnected)

    def check(self, tx: Tx, at: Services, spec: DesiredKeyStore, store: KeyStore | None) -> None:  # noqa: ARG002
        self._check_unique(tx, spec.plugin_options(), store)

    def check_connectable(self, at: Services, store: KeyStore) -> None:
        """Whatever keeps it from its proxy shows in the state, as in AWS."""

    def describe(self, at: Services, store: KeyStore) -> dict[str, Any]:
        options = store.spec.plugin_options()
        service = options.get(declared.CONNECTION)
        told = shapes.XksProxyConfigurationType(
            connectivity=_Connectivity.PUBLIC_ENDPOINT if service is None else _Connectivity.VPC_ENDPOINT_SERVICE,
            access_key_id=options.get("credential", {}).get("accessKeyId", ""),
            uri_endpoint=options.get("uriEndpoint", ""),
            uri_path=options.get("uriPath", ""),
            vpc_endpoint_service_name=service,
            vpc_endpoint_service_owner=None if service is None else _owner(at, service),
        )
        return {"xks_proxy_configuration": told}

    def _check_unique(self, tx: Tx, wanted: Mapping[str, Any], store: KeyStore | None) -> None:
        host, path, service = declared.host_of(wanted), wanted.get("uriPath"), wanted.get(declared.CONNECTION)
        for other in keystores.custom(tx):
            if other.spec.type != declared.XKS or (store is not None and other.metadata.uid == store.metadata.uid):
                continue
            held = other.spec.plugin_options()
            theirs = held.get(declared.CONNECTION)
            if service is not None and service == theirs:
                raise ProxyServiceInUse(f"Another external key store uses the VPC endpoint service {service}.")
            if declared.host_of(held) != host:
                continue
            if held.get("uriPath") == path:
                raise ProxyUriInUse(f"Another external key store uses the proxy at {host} with the path {path}.")
            if service is not None or theirs is not None:
                raise ProxyEndpointInUse(
                    f"Another external key store uses the endpoint {host}; only key stores with public endpoints share "
                    "one, with different paths."
                )


# ---- inside ----------------------------------------------------------------------------------------------------------


_ONLY_WITH_SERVICE: Final = InvalidInput(
    f"XksProxyVpcEndpointServiceName is for an XksProxyConnectivity of {_Connectivity.VPC_ENDPOINT_SERVICE} only."
)


def _check_named(endpoint: str) -> None:
    """A server is named, never numbered (specification of the proxy API, "API operations")."""
    if is_numbered(endpoint.removeprefix("https://")):
        raise InvalidInput(
            "XksProxyUriEndpoint must have a domain name, not an IP address: the one that the proxy's certificate is "
            "for. The settings of the server say at which address it is reached (xksConnections)."
        )


def _required(service: str | None) -> str:
    if service is None:
        raise InvalidInput(
            f"XksProxyVpcEndpointServiceName is required for an XksProxyConnectivity of "
            f"{_Connectivity.VPC_ENDPOINT_SERVICE}."
        )
    return service


def _leaves_service(before: Mapping[str, Any], request: shapes.UpdateCustomKeyStoreRequest) -> bool:
    return declared.CONNECTION in before and request.xks_proxy_connectivity is _Connectivity.PUBLIC_ENDPOINT


def _changed(before: Mapping[str, Any], request: shapes.UpdateCustomKeyStoreRequest) -> dict[str, Any]:
    """Options that an update request gives another value, the credential aside."""
    asked: dict[str, Any] = {
        "uriEndpoint": request.xks_proxy_uri_endpoint,
        "uriPath": request.xks_proxy_uri_path,
        declared.CONNECTION: request.xks_proxy_vpc_endpoint_service_name,
    }
    had, wanted = declared.CONNECTION in before, request.xks_proxy_connectivity
    through_service = had if wanted is None else wanted is _Connectivity.VPC_ENDPOINT_SERVICE
    if not through_service and asked[declared.CONNECTION] is not None:
        raise _ONLY_WITH_SERVICE
    if through_service and not had:
        _required(asked[declared.CONNECTION])
    if through_service != had and asked["uriEndpoint"] is None:
        raise InvalidInput("An update of XksProxyConnectivity needs an XksProxyUriEndpoint, too.")
    return {name: value for name, value in asked.items() if value is not None and value != before.get(name)}


def _fresh(access_key_id: str) -> tuple[str, dict[str, Any]]:
    """A name for a secret, and a credential that is kept under it."""
    name = f"credential-{secrets.token_hex(4)}"
    return name, {"accessKeyId": access_key_id, "secret": {"fromStore": name}}


def _owner(at: Services, service: str) -> str:
    connection = at.settings.xks_connections.get(service)
    return at.settings.account if connection is None or connection.owner is None else connection.owner


def _check_owner(at: Services, options: Mapping[str, Any], owner: str | None) -> None:
    """An owner is a claim about the service; the settings know."""
    service = options.get(declared.CONNECTION)
    if owner is None:
        return
    if service is None:
        raise InvalidInput(
            f"XksProxyVpcEndpointServiceOwner is for an XksProxyConnectivity of {_Connectivity.VPC_ENDPOINT_SERVICE} "
            "only."
        )
    if service in at.settings.xks_connections and owner != _owner(at, service):
        raise ProxyServiceNotFound(f"Account {owner} has no VPC endpoint service {service}.")


async def _check_proxy(
    at: Services, name: str, options: dict[str, Any], given: Mapping[str, SecretBytes], *, ask: bool
) -> None:
    """See that a proxy can be connected to as the options say; ``ask`` it, too. Raises what is wrong."""
    if not str(options["uriPath"]).endswith(_PATH_END):
        raise InvalidInput(f"XksProxyUriPath has to end with {_PATH_END}.")
    try:
        reached = declared.connection_options(options, at.settings)
        complete = {**reached, **declared.options_without(options, declared.CONNECTION)}
        connection = at.calls.connections.prepare(name, declared.XKS, complete, given)
        if ask:
            await at.calls.try_out(connection)
    except KeyStoreFailure as error:
        if error.detail == declared.SERVICE_NOT_FOUND:
            raise ProxyServiceNotFound(error.message) from None
        if error.detail == declared.SERVICE_UNSUITABLE:
            raise ProxyServiceUnsuitable(error.message) from None
        if error.reason == "Misconfigured" and not error.cause:
            raise ProxyUnsuitable(error.message) from None
        raise
