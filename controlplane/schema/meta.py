"""Metadata that every object carries, and the objects: declared documents with what the server adds."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from controlplane.schema.base import Frozen, Name
from controlplane.schema.keys import DesiredKey, KeyStatus
from controlplane.schema.keystores import DesiredKeyStore, KeyStoreStatus
from controlplane.schema.principals import DesiredPrincipal, PrincipalStatus
from controlplane.schema.xksproxies import DesiredXksProxy, XksProxyStatus

MATERIAL_FINALIZER = "keystead/material"
"""Held by a key until its material is destroyed in its key store."""
CONNECTION_FINALIZER = "keystead/connection"
"""Held by a key store until it is disconnected."""


class Kind(StrEnum):
    KEY = "Key"
    KEY_STORE = "KeyStore"
    PRINCIPAL = "Principal"
    XKS_PROXY = "XksProxy"


class DeletionRequest(Frozen):
    """Deletion was asked for. Nothing is destroyed before ``due_at`` by the server's clock.

    A multi-Region primary key has no ``due_at`` while it has replicas: its window begins when the last one is gone.
    """

    requested_at: datetime
    window_days: int
    requested_by: str
    due_at: datetime | None = None
    spec_set: str | None = None
    """The set that it left; absent if somebody asked for the deletion of an object that is still declared."""


class Metadata(Frozen):
    """``generation`` rises when the spec changes; ``resource_version`` with every write, over all objects."""

    name: Name
    uid: str
    generation: int
    resource_version: int
    created_at: datetime
    spec_set: str | None = None
    finalizers: tuple[str, ...] = ()
    deletion: DeletionRequest | None = None


class Key(Frozen, tag="Key", tag_field="kind"):
    """A KMS key as the server holds it and the reconciliation API shows it."""

    kind: ClassVar[Kind] = Kind.KEY
    metadata: Metadata
    spec: DesiredKey
    status: KeyStatus


class KeyStore(Frozen, tag="KeyStore", tag_field="kind"):
    """A key store as the server holds it."""

    kind: ClassVar[Kind] = Kind.KEY_STORE
    metadata: Metadata
    spec: DesiredKeyStore
    status: KeyStoreStatus


class Principal(Frozen, tag="Principal", tag_field="kind"):
    """A principal as the server holds it."""

    kind: ClassVar[Kind] = Kind.PRINCIPAL
    metadata: Metadata
    spec: DesiredPrincipal
    status: PrincipalStatus


class XksProxy(Frozen, tag="XksProxy", tag_field="kind"):
    """An XKS proxy as the server holds it."""

    kind: ClassVar[Kind] = Kind.XKS_PROXY
    metadata: Metadata
    spec: DesiredXksProxy
    status: XksProxyStatus


AnyObject = Key | KeyStore | Principal | XksProxy
Desired = DesiredKey | DesiredKeyStore | DesiredPrincipal | DesiredXksProxy
Status = KeyStatus | KeyStoreStatus | PrincipalStatus | XksProxyStatus

SPEC_TYPES: dict[Kind, type[Desired]] = {
    Kind.KEY: DesiredKey,
    Kind.KEY_STORE: DesiredKeyStore,
    Kind.PRINCIPAL: DesiredPrincipal,
    Kind.XKS_PROXY: DesiredXksProxy,
}
STATUS_TYPES: dict[Kind, type[Status]] = {
    Kind.KEY: KeyStatus,
    Kind.KEY_STORE: KeyStoreStatus,
    Kind.PRINCIPAL: PrincipalStatus,
    Kind.XKS_PROXY: XksProxyStatus,
}

OBJECT_TYPES: dict[Kind, type[AnyObject]] = {
    Kind.KEY: Key,
    Kind.KEY_STORE: KeyStore,
    Kind.PRINCIPAL: Principal,
    Kind.XKS_PROXY: XksProxy,
}
