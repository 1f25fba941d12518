"""What a type of custom key store adds to the operations that all have in common (``custom_key_stores``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from controlplane.api.kms.shapes import custom_key_stores as shapes
from controlplane.api.kms.shapes.enums import ConnectionErrorCodeType, CustomKeyStoreType
from controlplane.api.services import Services
from controlplane.schema.keystores import DesiredKeyStore
from controlplane.schema.meta import KeyStore
from controlplane.store.database import Tx


class NewStore(msgspec.Struct, frozen=True):
    """What a create request declares. ``secrets`` are sealed, by the names under which the options ask for them."""

    spec: DesiredKeyStore
    secrets: Mapping[str, bytes]


class Changes(msgspec.Struct, frozen=True):
    """What an update request changes beside the name. ``apply`` is called on the desired state as it is then."""

    apply: Callable[[DesiredKeyStore], DesiredKeyStore]
    secrets: Mapping[str, bytes]
    needs_disconnected: bool


class CustomType(Protocol):
    """One type of custom key store."""

    type: CustomKeyStoreType
    error_codes: Mapping[str, ConnectionErrorCodeType]
    """Why a connection failed, by the plugin's reason; ``INTERNAL_ERROR`` for any other."""

    async def create(self, at: Services, request: shapes.CreateCustomKeyStoreRequest, uid: str) -> NewStore:
        """What the request declares, for a store that will have this uid. Raises what is wrong with it."""

    async def update(self, at: Services, store: KeyStore, request: shapes.UpdateCustomKeyStoreRequest) -> Changes:
        """What the request changes."""

    def check(self, tx: Tx, at: Services, spec: DesiredKeyStore, store: KeyStore | None) -> None:
        """Raise if the desired state gets in the way of another store (``store``: the one that it is for)."""

    def check_connectable(self, at: Services, store: KeyStore) -> None:
        """Raise what AWS says at once when a connection is asked for; everything else shows in the state later."""

    def describe(self, at: Services, store: KeyStore) -> dict[str, Any]:
        """Members of CustomKeyStoresListEntry that only this type has, by their Python names."""
