"""Looking over many keys: rows of a list, counts, what needs a person, what a caller may do.

What the reconciliation API answers to ``GET /v1/search/{kind}``, ``/v1/summary``, ``/v1/access``,
``/v1/keys/{name}/about`` and ``/v1/{kind}/{name}/actions``. A row is what a list shows of a key; the whole key, its
policy included, is one request further.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from controlplane.schema.base import Frozen
from controlplane.schema.grants import Grant
from controlplane.schema.keys import KeySpec, KeyState, Origin, RefusedUse
from controlplane.schema.meta import AnyObject, DeletionRequest, Kind


class KeySort(StrEnum):
    """What a list of keys is sorted by; keys that are equal in it are sorted by name."""

    NAME = "name"
    STATE = "state"
    SPEC = "spec"
    STORE = "store"
    CREATED = "created"
    DUE = "due"
    """When its deletion is due; keys that stay come last."""
    EXPIRES = "expires"
    """When imported material expires; keys whose material does not come last."""
    CONDITION = "condition"


class KeyRow(Frozen, omit_defaults=False):
    """One key in a list. ``condition`` is ``Synced``, ``Reconciling`` or the reason why it is not as declared.

    ``refused`` counts the uses that were refused since its deletion was scheduled.
    """

    name: str
    uid: str
    key_id: str
    region: str
    state: KeyState
    condition: str
    condition_message: str
    key_spec: KeySpec
    key_store: str
    origin: Origin
    created_at: datetime
    version: int
    aliases: tuple[str, ...] = ()
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    spec_set: str | None = None
    protected: bool = False
    paused: bool = False
    deletion: DeletionRequest | None = None
    expires_at: datetime | None = None
    """When its imported material expires."""
    refused: int = 0
    refused_last_at: datetime | None = None


class KeyRows(Frozen, omit_defaults=False):
    """A window of a list: ``items`` begin at ``offset`` of the ``matching`` ones among ``total``.

    ``version`` is that of the store when it was read: the change feed goes on after it.
    """

    items: tuple[KeyRow, ...]
    offset: int
    matching: int
    total: int
    version: int


class ObjectSort(StrEnum):
    """What a list of other objects is sorted by; those that are equal in it, or do not have it, are sorted by name."""

    NAME = "name"
    TYPE = "type"
    CREATED = "created"
    CONDITION = "condition"
    CONNECTION = "connection"
    """Of key stores, like the next two: in the order of :class:`~controlplane.schema.keystores.ConnectionState`."""
    HEALTH = "health"
    KEYS = "keys"


class ObjectRows(Frozen, omit_defaults=False):
    """A window of a list of key stores, principals or XKS proxies, as :class:`KeyRows` is of keys."""

    items: tuple[AnyObject, ...]
    offset: int
    matching: int
    total: int
    version: int
    keys: dict[str, int]
    """Of key stores: how many keys live in each of ``items``."""


class AttentionReason(StrEnum):
    """Why a person has to look."""

    OUTCOME_UNKNOWN = "OutcomeUnknown"
    """A call to a key store got no answer, and the store cannot be asked what became of it."""
    NOT_AS_DECLARED = "NotAsDeclared"
    """The reconciler cannot bring it about."""
    USED_WHILE_PENDING_DELETION = "UsedWhilePendingDeletion"
    MATERIAL_EXPIRES_SOON = "MaterialExpiresSoon"
    STORE_NOT_CONNECTED = "StoreNotConnected"
    STORE_UNHEALTHY = "StoreUnhealthy"


class Attention(Frozen, omit_defaults=False):
    """One thing that needs a person. ``at`` is since when, or for an expiry until when."""

    reason: AttentionReason
    kind: Kind
    name: str
    message: str
    at: datetime | None = None


class UseRates(Frozen, omit_defaults=False):
    """Uses of keys by this server process, oldest first, one number for each ``seconds``; the last is not over yet."""

    seconds: int
    allowed: tuple[int, ...]
    refused: tuple[int, ...]
    """Denied, refused by the key's state, or failed."""


class Summary(Frozen, omit_defaults=False):
    """Everything at a glance."""

    version: int
    time: datetime
    keys: int
    states: dict[KeyState, int]
    stores: dict[str, int]
    """Keys by key store."""
    attention: tuple[Attention, ...]
    """The first ones, most urgent first."""
    attention_total: int
    attention_counts: dict[AttentionReason, int]
    """How many there are of each reason; those of which there is none are left out."""
    rates: UseRates


class Verdict(Frozen, omit_defaults=False):
    """Whether an action would be allowed now. ``why`` says why not."""

    action: str
    allowed: bool
    why: str = ""


class LastUse(Frozen):
    """The last successful cryptographic operation with a key."""

    operation: str
    at: datetime


class Related(Frozen):
    """A key that shares a key id: the primary key or a replica of a multi-Region key."""

    name: str
    region: str
    primary: bool
    state: KeyState


class KeyAbout(Frozen, omit_defaults=False):
    """What goes with a key and is not part of it."""

    state: KeyState
    actions: tuple[Verdict, ...]
    refused: tuple[RefusedUse, ...]
    grants: tuple[Grant, ...]
    """The first ones, by when they were made."""
    grants_more: bool
    related: tuple[Related, ...]
    last_use: LastUse | None


class Access(Frozen, omit_defaults=False):
    """Who the caller is, and what it may do on the account."""

    principal: str
    account: str
    may: tuple[Verdict, ...]
