"""Kind ``KeyStore``: a declared key store, and what was seen of its connection."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from controlplane.schema.base import Frozen, Name
from controlplane.schema.conditions import Condition
from controlplane.schema.keys import KeySpec, KeyUsage, Management
from plugins.sdk import HealthLevel

STANDARD = "standard"
"""Name and type of the key store that every server has."""


TOO_FEW_MEMBERS = "InsufficientMembers"
"""A plugin's reason: so few devices of a cluster are active that no key can be made."""


class ConnectionState(StrEnum):
    """API reference: ``ConnectionStateType``."""

    CONNECTED = "CONNECTED"
    CONNECTING = "CONNECTING"
    DISCONNECTING = "DISCONNECTING"
    DISCONNECTED = "DISCONNECTED"
    FAILED = "FAILED"


class CustomKeyStoreSpec(Frozen):
    """What the KMS API says of a custom key store beyond what connects it.

    ``name`` is its friendly name there; without it, the object's own. The certificate is PEM.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] | None = None
    trust_anchor_certificate: Annotated[str, msgspec.Meta(min_length=1, max_length=5000)] | None = None


class DesiredKeyStore(Frozen):
    """``spec`` of a KeyStore. The options stand under the name of the type, or under ``options`` for other types.

    ``pkcs11`` may name a ``cluster`` of the server's settings, which then has the options that are not here.
    """

    type: Name
    connected: bool = True
    management: Management = Management.FULL
    pkcs11: dict[str, Any] | None = None
    xks: dict[str, Any] | None = None
    memory: dict[str, Any] | None = None
    options: dict[str, Any] | None = None
    custom_key_store: CustomKeyStoreSpec | None = None

    def plugin_options(self) -> dict[str, Any]:
        """The options for the plugin, wherever they stand."""
        named = getattr(self, self.type, None) if self.type in OPTION_FIELDS else None
        return named or self.options or {}


OPTION_FIELDS = ("pkcs11", "xks", "memory")


class ConnectionProblem(Frozen):
    """Why the last attempt to connect failed. ``reason`` is the plugin's CamelCase word."""

    reason: str
    message: str
    at: datetime


class MemberStatus(Frozen):
    """One device of a store over several."""

    name: str
    active: bool
    message: str = ""


class LatencyStatus(Frozen):
    """How long recent requests to a store took, in milliseconds, rounded up to a step so that it says little often."""

    p50: int
    p99: int
    limit: int
    """After so many a request is given up."""


class KeyStoreStatus(Frozen):
    """``status`` of a KeyStore: its connection and what the open store can hold."""

    created_at: datetime
    connection: ConnectionState = ConnectionState.DISCONNECTED
    observed_generation: int = 0
    key_specs: dict[KeySpec, tuple[KeyUsage, ...]] = msgspec.field(default_factory=dict)
    problem: ConnectionProblem | None = None
    members: tuple[MemberStatus, ...] = ()
    synchronised: bool | None = None
    """Whether a key that one member makes appears in the others by itself; absent if that is not known."""
    missing_to_create: int = 0
    """So many more members have to be active before keys can be made."""
    health: HealthLevel | None = None
    """As the last look found it; absent while it is declared as not connected."""
    certificate_expires_at: datetime | None = None
    certificate_days: int | None = None
    """Whole days until then, of the certificate of the store's server."""
    latency: LatencyStatus | None = None
    conditions: tuple[Condition, ...] = ()
