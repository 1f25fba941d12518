"""Kind ``KeyStore``: a declared key store, and what was seen of its connection."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from controlplane.schema.base import Frozen, Name
from controlplane.schema.conditions import Condition
from controlplane.schema.keys import KeySpec, KeyUsage, Management

STANDARD = "standard"
"""Name and type of the key store that every server has."""


class ConnectionState(StrEnum):
    """API reference: ``ConnectionStateType``."""

    CONNECTED = "CONNECTED"
    CONNECTING = "CONNECTING"
    DISCONNECTING = "DISCONNECTING"
    DISCONNECTED = "DISCONNECTED"
    FAILED = "FAILED"


class DesiredKeyStore(Frozen):
    """``spec`` of a KeyStore. The options stand under the name of the type, or under ``options`` for other types."""

    type: Name
    connected: bool = True
    management: Management = Management.FULL
    pkcs11: dict[str, Any] | None = None
    xks: dict[str, Any] | None = None
    memory: dict[str, Any] | None = None
    options: dict[str, Any] | None = None

    def plugin_options(self) -> dict[str, Any]:
        """The options for the plugin, wherever they stand."""
        named = getattr(self, self.type, None) if self.type in OPTION_FIELDS else None
        return named or self.options or {}


OPTION_FIELDS = ("pkcs11", "xks", "memory")


class KeyStoreStatus(Frozen):
    """``status`` of a KeyStore: its connection and what the open store can hold."""

    created_at: datetime
    connection: ConnectionState = ConnectionState.DISCONNECTED
    observed_generation: int = 0
    key_specs: dict[KeySpec, tuple[KeyUsage, ...]] = msgspec.field(default_factory=dict)
    conditions: tuple[Condition, ...] = ()
