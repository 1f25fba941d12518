"""Plans: what an apply would do, as a documented and versioned format. Text is rendered from it (``report``).

``FORMAT_VERSION`` rises in its first number when a reader of the old format would misunderstand the new one. Reasons
are a closed, public enumeration.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from controlplane.schema.base import Frozen
from controlplane.schema.keys import KeyState
from controlplane.schema.meta import AnyObject, Kind

FORMAT_VERSION: Final = "1.2"


class Action(StrEnum):
    """What happens to one object. ``blocked`` happens to none: the plan cannot be applied until it is resolved."""

    CREATE = "create"
    UPDATE = "update"
    SCHEDULE_DELETION = "scheduleDeletion"
    DELETE = "delete"
    ADOPT = "adopt"
    """It exists, and the set takes it over; it changes where it is not as declared."""
    FORGET = "forget"
    """It stays as it is and the set lets go of it."""
    BLOCKED = "blocked"


class PlanReason(StrEnum):
    """Why."""

    DECLARED = "Declared"
    SPEC_CHANGED = "SpecChanged"
    OWNERSHIP_CHANGED = "OwnershipChanged"
    """Its fields have the declared values; who states them changes."""
    MOVED = "Moved"
    ADOPTED = "Adopted"
    RELEASED = "Released"
    """The set states no field of it any more; another one owns it."""
    REMOVED_FROM_SET = "RemovedFromSet"
    IMMUTABLE_FIELD = "ImmutableField"
    PROTECTED = "Protected"
    PROTECTION_LIFTED_APART = "ProtectionLiftedApart"
    OWNED_ELSEWHERE = "OwnedElsewhere"
    FIELD_OWNED = "FieldOwned"
    """Another manager states a field otherwise."""
    SHARED = "Shared"
    """Another spec set states fields of it."""
    NOTHING_TO_ADOPT = "NothingToAdopt"
    PENDING_DELETION = "PendingDeletion"
    KEY_STATE = "KeyState"
    """The state of the key does not allow it: see the table of ``domain.lifecycle``."""
    KEYS_IN_STORE = "KeysInStore"
    ALIAS_TAKEN = "AliasTaken"
    STORE_NOT_FOUND = "StoreNotFound"
    LAST_ADMINISTRATOR = "LastAdministrator"


class PlanWarning(StrEnum):
    """What a person should look at before applying. It blocks nothing."""

    USED_RECENTLY = "UsedRecently"
    """A key that would be scheduled for deletion or disabled was used in the last 24 hours."""
    POLICY_LOCKOUT = "PolicyLockout"
    """Under its new policy no declared principal could change the key's policy over the KMS API."""
    STORE_DISCONNECTED = "StoreDisconnected"
    """A key store with live keys would be disconnected: nobody could use them."""
    ARN_CHANGES = "ArnChanges"
    """A principal or proxy would be renamed: policies and grants that speak of its former ARN no longer mean it."""


class Warned(Frozen):
    """One warning of a change."""

    warning: PlanWarning
    message: str


class Waiting(Frozen):
    """An object of the set that waits for something that no apply can bring. It is a state and no change."""

    kind: Kind
    name: str
    state: KeyState
    message: str


class FieldPlan(Frozen):
    """One field of a change. ``known`` is false for what the server decides while applying (the key id)."""

    path: str
    before: Any = None
    after: Any = None
    known: bool = True
    sensitive: bool = False
    """Before and after are masked; that they differ is still shown."""
    immutable: str | None = None


class PlannedChange(Frozen):
    """One object that is not as declared. ``generation`` is the one it was compared with; 0 for a new object.

    ``owner`` is the spec set that owned it then.
    """

    action: Action
    kind: Kind
    name: str
    reason: PlanReason
    message: str = ""
    uid: str | None = None
    generation: int = 0
    owner: str | None = None
    fields: tuple[FieldPlan, ...] = ()
    unchanged_fields: int = 0
    window_days: int | None = None
    warnings: tuple[Warned, ...] = ()


class Counts(Frozen, omit_defaults=False):
    """Changes by action, and objects that are as declared."""

    create: int = 0
    update: int = 0
    schedule_deletion: int = 0
    delete: int = 0
    adopt: int = 0
    forget: int = 0
    blocked: int = 0
    unchanged: int = 0


class Plan(Frozen, omit_defaults=False):
    """An answer of ``POST /v1/plans``. It is kept on the server until ``expires_at``."""

    format_version: str
    id: str
    server_id: str
    spec_set: str
    created_at: datetime
    expires_at: datetime
    changes: tuple[PlannedChange, ...]
    counts: Counts
    waiting: tuple[Waiting, ...] = ()
    targets: tuple[str, ...] = ()
    """If there are any, the plan is of these objects and what they need; all else was left out."""
    takes_ownership: bool = False

    @property
    def empty(self) -> bool:
        """Whether everything is as declared."""
        return not self.changes


class AppliedObject(Frozen):
    """One object that an apply wrote."""

    kind: Kind
    name: str
    uid: str
    generation: int


class Applied(Frozen, omit_defaults=False):
    """An answer of ``POST /v1/plans/{id}/apply``: desired state is durable; the reconciler goes on from here."""

    plan_id: str
    spec_set: str
    objects: tuple[AppliedObject, ...]


class ObjectProblem(Frozen):
    """An object that the reconciler has not brought to its present spec, and why, as far as it is known."""

    kind: Kind
    name: str
    reason: str
    message: str


class Progress(Frozen, omit_defaults=False):
    """How far the reconciler is with a spec set."""

    spec_set: str
    total: int
    pending: int
    problems: tuple[ObjectProblem, ...]


class ObjectPage(Frozen, omit_defaults=False):
    """A page of objects by name. ``next`` is the ``after`` of the next page, or None at the end."""

    items: tuple[AnyObject, ...]
    next: str | None


class ExportPage(Frozen, omit_defaults=False):
    """A page of documents of one kind by name. ``next`` is the ``after`` of the next page, or None at the end."""

    documents: tuple[dict[str, Any], ...]
    next: str | None


class SpecSets(Frozen, omit_defaults=False):
    """Every spec set that owns an object or states a field of one."""

    names: tuple[str, ...]


class ServerInfo(Frozen, omit_defaults=False):
    """Who answers."""

    server_id: str
    version: str
    account: str
    region: str
    regions: tuple[str, ...]
    key_store_types: tuple[str, ...]
    time: datetime
