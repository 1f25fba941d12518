"""CreateCustomKeyStore, DescribeCustomKeyStores, UpdateCustomKeyStore, DeleteCustomKeyStore, ConnectCustomKeyStore,
DisconnectCustomKeyStore: what is the same for every type of custom key store.

A custom key store is a KeyStore object, whoever declared it; what differs by type is a :class:`CustomType`, and a new
type is a line in ``TYPES``. Connecting is desired state: these operations write it and answer, the reconciler does it.

Source of the rules: the AWS KMS API reference of each operation and of CustomKeyStoresListEntry.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from controlplane.access.caller import Caller
from controlplane.api.kms import cloud_hsm, external_key_store
from controlplane.api.kms.custom_types import Changes, CustomType
from controlplane.api.kms.keys import custom_key_store, read_marker, seconds, write_marker
from controlplane.api.kms.shapes import custom_key_stores as shapes
from controlplane.api.kms.shapes.enums import ConnectionErrorCodeType, ConnectionStateType, CustomKeyStoreType
from controlplane.api.services import Services
from controlplane.domain import capabilities
from controlplane.domain.names import custom_key_store_id
from controlplane.errors import (
    InvalidInput,
    InvalidKeyStoreState,
    KeyStoreHasKeys,
    KeyStoreNameInUse,
    KeyStoreNotFound,
)
from controlplane.schema.keys import Origin
from controlplane.schema.keystores import ConnectionState, CustomKeyStoreSpec
from controlplane.schema.meta import KeyStore, Kind
from controlplane.store import keystores, objects
from controlplane.store.database import Tx
from controlplane.usage.perform import Request

STORES_IN_A_PAGE: Final = 100

TYPES: Mapping[CustomKeyStoreType, CustomType] = {
    each.type: each for each in (cloud_hsm.CloudHsm(), external_key_store.ExternalKeyStore())
}
"""The types of custom key store that can be made over the API."""


async def create_custom_key_store(
    at: Services, caller: Caller, request: shapes.CreateCustomKeyStoreRequest
) -> shapes.CreateCustomKeyStoreResponse:
    kind = request.custom_key_store_type or CustomKeyStoreType.AWS_CLOUDHSM
    custom_type = TYPES[kind]
    _check_members(request, kind)
    uid = str(uuid.uuid4())
    store_id = custom_key_store_id(uid)

    async def work() -> shapes.CreateCustomKeyStoreResponse:
        at.database.read(lambda tx: _check_name(tx, request.custom_key_store_name))
        new = await custom_type.create(at, request, uid)
        about = new.spec.custom_key_store or CustomKeyStoreSpec()
        about = msgspec.structs.replace(about, name=request.custom_key_store_name)
        spec = msgspec.structs.replace(new.spec, custom_key_store=about)
        now, connect = at.clock.now(), at.settings.custom_key_stores.auto_connect

        def write(tx: Tx) -> None:
            _check_name(tx, request.custom_key_store_name)
            custom_type.check(tx, at, new.spec, None)
            keystores.create(tx, name=store_id, spec=spec, now=now, uid=uid)
            keystores.put_secrets(tx, uid, new.secrets)
            if connect:
                keystores.connect(tx, uid, now, by=caller.principal)

        await at.database.write(write)
        if connect:  # or a client that makes a key next, as Terraform does, would be refused
            await at.connection_tried(uid)
        return shapes.CreateCustomKeyStoreResponse(custom_key_store_id=store_id)

    return await at.usage.on_account(Request(caller, "CreateCustomKeyStore"), work)


async def describe_custom_key_stores(
    at: Services, caller: Caller, request: shapes.DescribeCustomKeyStoresRequest
) -> shapes.DescribeCustomKeyStoresResponse:
    async def work() -> shapes.DescribeCustomKeyStoresResponse:
        by_id, by_name = request.custom_key_store_id, request.custom_key_store_name
        if by_id is not None and by_name is not None:
            raise InvalidInput("Specify either CustomKeyStoreId or CustomKeyStoreName, but not both.")
        if by_id is not None:
            return _listed(at, [custom_key_store(at, by_id)])
        stores = at.database.read(lambda tx: list(keystores.custom(tx)))
        if by_name is not None:
            found = [store for store in stores if friendly_name(store) == by_name]
            if not found:
                raise KeyStoreNotFound(f"Custom key store {by_name} does not exist.")
            return _listed(at, found)
        after, limit = read_marker(request.marker), request.limit or STORES_IN_A_PAGE
        rest = [store for store in stores if store.metadata.name > after]
        return _listed(at, rest[:limit], more=len(rest) > limit)

    return await at.usage.on_account(Request(caller, "DescribeCustomKeyStores"), work)


async def update_custom_key_store(
    at: Services, caller: Caller, request: shapes.UpdateCustomKeyStoreRequest
) -> shapes.UpdateCustomKeyStoreResponse:
    async def work() -> shapes.UpdateCustomKeyStoreResponse:
        store = custom_key_store(at, request.custom_key_store_id)
        _check_members(request, type_of(store).type)
        changes = await type_of(store).update(at, store, request)

        def write(tx: Tx) -> None:
            present = _require(tx, store)
            _check_updatable(present, changes)
            about = present.spec.custom_key_store or CustomKeyStoreSpec()
            if request.new_custom_key_store_name is not None:
                _check_name(tx, request.new_custom_key_store_name, present)
                about = msgspec.structs.replace(about, name=request.new_custom_key_store_name)
            spec = msgspec.structs.replace(changes.apply(present.spec), custom_key_store=about)
            type_of(store).check(tx, at, spec, present)
            if changes.secrets:
                keystores.put_secrets(tx, present.metadata.uid, changes.secrets)
            keystores.put_spec(tx, present, spec, at.clock.now(), by=caller.principal)

        await at.database.write(write)
        return shapes.UpdateCustomKeyStoreResponse()

    return await at.usage.on_account(Request(caller, "UpdateCustomKeyStore"), work)


async def delete_custom_key_store(
    at: Services, caller: Caller, request: shapes.DeleteCustomKeyStoreRequest
) -> shapes.DeleteCustomKeyStoreResponse:
    async def work() -> shapes.DeleteCustomKeyStoreResponse:
        store = custom_key_store(at, request.custom_key_store_id)

        def write(tx: Tx) -> None:
            present = _require(tx, store)
            keys = objects.count(tx, Kind.KEY, key_store=present.metadata.name)
            if keys:
                raise KeyStoreHasKeys(
                    f"Custom key store {request.custom_key_store_id} contains {keys} KMS keys, keys that are pending "
                    "deletion among them."
                )
            _check_disconnected(present, "deleted")
            keystores.remove(tx, present.metadata.uid, at.clock.now())

        await at.database.write(write)
        return shapes.DeleteCustomKeyStoreResponse()

    return await at.usage.on_account(Request(caller, "DeleteCustomKeyStore"), work)


async def connect_custom_key_store(
    at: Services, caller: Caller, request: shapes.ConnectCustomKeyStoreRequest
) -> shapes.ConnectCustomKeyStoreResponse:
    async def work() -> shapes.ConnectCustomKeyStoreResponse:
        store = custom_key_store(at, request.custom_key_store_id)

        def write(tx: Tx) -> None:
            present = _require(tx, store)
            state = present.status.connection
            if state in (ConnectionState.DISCONNECTING, ConnectionState.FAILED):
                raise InvalidKeyStoreState(
                    f"Custom key store {request.custom_key_store_id} is {state}: disconnect it before you connect it."
                )
            type_of(present).check_connectable(at, present)
            keystores.connect(tx, present.metadata.uid, at.clock.now(), by=caller.principal)

        await at.database.write(write)
        return shapes.ConnectCustomKeyStoreResponse()

    return await at.usage.on_account(Request(caller, "ConnectCustomKeyStore"), work)


async def disconnect_custom_key_store(
    at: Services, caller: Caller, request: shapes.DisconnectCustomKeyStoreRequest
) -> shapes.DisconnectCustomKeyStoreResponse:
    async def work() -> shapes.DisconnectCustomKeyStoreResponse:
        store = custom_key_store(at, request.custom_key_store_id)

        def write(tx: Tx) -> None:
            present = _require(tx, store)
            state = present.status.connection
            if state in (ConnectionState.DISCONNECTING, ConnectionState.DISCONNECTED):
                raise InvalidKeyStoreState(f"Custom key store {request.custom_key_store_id} is {state} already.")
            keystores.disconnect(tx, present.metadata.uid, at.clock.now(), by=caller.principal)

        await at.database.write(write)
        return shapes.DisconnectCustomKeyStoreResponse()

    return await at.usage.on_account(Request(caller, "DisconnectCustomKeyStore"), work)


# ---- shared ----------------------------------------------------------------------------------------------------------


def friendly_name(store: KeyStore) -> str:
    """CustomKeyStoreName: the one that the API was given, or the name of the object."""
    about = store.spec.custom_key_store
    return store.metadata.name if about is None or about.name is None else about.name


def type_of(store: KeyStore) -> CustomType:
    """What the API says and does for this key store's type."""
    external = Origin.EXTERNAL_KEY_STORE in capabilities.rules_for(store.spec.type).origins
    return TYPES[CustomKeyStoreType.EXTERNAL_KEY_STORE if external else CustomKeyStoreType.AWS_CLOUDHSM]


# ---- inside ----------------------------------------------------------------------------------------------------------


def _check_members(request: msgspec.Struct, kind: CustomKeyStoreType) -> None:
    """Raise for members that belong to the other type of custom key store."""
    for owner, members in _MEMBERS.items():
        for member in members:
            if owner is not kind and getattr(request, member, None) is not None:
                name = next(each.encode_name for each in msgspec.structs.fields(request) if each.name == member)
                raise InvalidInput(f"{name} is for custom key stores of type {owner} only, not of type {kind}.")


_MEMBERS: Final[Mapping[CustomKeyStoreType, tuple[str, ...]]] = {
    CustomKeyStoreType.AWS_CLOUDHSM: ("cloud_hsm_cluster_id", "key_store_password", "trust_anchor_certificate"),
    CustomKeyStoreType.EXTERNAL_KEY_STORE: (
        "xks_proxy_uri_endpoint",
        "xks_proxy_uri_path",
        "xks_proxy_vpc_endpoint_service_name",
        "xks_proxy_vpc_endpoint_service_owner",
        "xks_proxy_authentication_credential",
        "xks_proxy_connectivity",
    ),
}


def _listed(at: Services, stores: list[KeyStore], *, more: bool = False) -> shapes.DescribeCustomKeyStoresResponse:
    return shapes.DescribeCustomKeyStoresResponse(
        custom_key_stores=[_entry(at, store) for store in stores],
        truncated=more,
        next_marker=write_marker(stores[-1].metadata.name) if more else None,
    )


def _entry(at: Services, store: KeyStore) -> shapes.CustomKeyStoresListEntry:
    custom_type = type_of(store)
    members: dict[str, Any] = custom_type.describe(at, store)
    code = None
    if store.status.connection is ConnectionState.FAILED and store.status.problem is not None:
        code = custom_type.error_codes.get(store.status.problem.reason, ConnectionErrorCodeType.INTERNAL_ERROR)
    return shapes.CustomKeyStoresListEntry(
        custom_key_store_id=custom_key_store_id(store.metadata.uid),
        custom_key_store_name=friendly_name(store),
        connection_state=ConnectionStateType(store.status.connection),
        connection_error_code=code,
        creation_date=seconds(store.metadata.created_at),
        custom_key_store_type=custom_type.type,
        **members,
    )


def _require(tx: Tx, store: KeyStore) -> KeyStore:
    """The store as it is in this transaction."""
    present = objects.get(tx, store.metadata.uid)
    if not isinstance(present, KeyStore):
        raise KeyStoreNotFound(f"Custom key store {custom_key_store_id(store.metadata.uid)} does not exist.")
    return present


def _check_name(tx: Tx, name: str, store: KeyStore | None = None) -> None:
    for other in keystores.custom(tx):
        if friendly_name(other) == name and (store is None or other.metadata.uid != store.metadata.uid):
            raise KeyStoreNameInUse(f"The custom key store name {name} is in use.")


def _check_updatable(store: KeyStore, changes: Changes) -> None:
    state = store.status.connection
    if changes.needs_disconnected:
        _check_disconnected(store, "changed in more than its name")
    elif state not in (ConnectionState.CONNECTED, ConnectionState.DISCONNECTED):
        raise InvalidKeyStoreState(
            f"Custom key store {custom_key_store_id(store.metadata.uid)} is {state}: try again in a moment."
        )


def _check_disconnected(store: KeyStore, what: str) -> None:
    state = store.status.connection
    if state is not ConnectionState.DISCONNECTED:
        store_id = custom_key_store_id(store.metadata.uid)
        raise InvalidKeyStoreState(f"Custom key store {store_id} is {state}: disconnect it before it is {what}.")
