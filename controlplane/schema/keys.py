"""Kind ``Key``: what a user declares about a KMS key, and what the reconciler has seen of it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec

from controlplane.schema.base import Alias, ExternalKeyId, Frozen, Name, Region
from controlplane.schema.conditions import Condition
from plugins.sdk.vocabulary import Algorithm, KeySpec, KeyUsage, MessageType

__all__ = [
    "Algorithm",
    "DeletionSpec",
    "DesiredKey",
    "ExpirySpec",
    "ImportState",
    "ImportWorkflow",
    "ImportedMaterial",
    "KeySpec",
    "KeyState",
    "KeyStatus",
    "KeyUsage",
    "Management",
    "MaterialEnd",
    "MaterialState",
    "MaterialStatus",
    "MessageType",
    "Origin",
    "PolicySource",
    "RefusedUse",
    "RotationSpec",
    "RotationStatus",
    "RotationType",
]


class Origin(StrEnum):
    """Where key material comes from (API reference: ``OriginType``)."""

    AWS_KMS = "AWS_KMS"
    EXTERNAL = "EXTERNAL"
    AWS_CLOUDHSM = "AWS_CLOUDHSM"
    EXTERNAL_KEY_STORE = "EXTERNAL_KEY_STORE"


class KeyState(StrEnum):
    """State of a KMS key (API reference: ``KeyState``)."""

    CREATING = "Creating"
    ENABLED = "Enabled"
    DISABLED = "Disabled"
    PENDING_DELETION = "PendingDeletion"
    PENDING_IMPORT = "PendingImport"
    PENDING_REPLICA_DELETION = "PendingReplicaDeletion"
    UNAVAILABLE = "Unavailable"
    UPDATING = "Updating"


class Management(StrEnum):
    """How far a spec set and the reconciler may go with an object."""

    FULL = "full"
    """Made, corrected, and deleted when it leaves its set."""
    OBSERVE = "observe"
    """Compared only: drift is reported; nothing is written and nothing deleted."""
    ADOPT = "adopt"
    """As ``full``, and an object that no set owns is taken over."""
    KEEP_ON_DELETE = "keep-on-delete"
    """As ``full``, and left as it is when it leaves its set."""
    PAUSED = "paused"
    """Left alone until somebody says otherwise: no field is put back, and of a key nothing is made and nothing
    destroyed. What is in use stays so: a key store connected, a proxy served."""


class PolicySource(Frozen):
    """A key policy: its text, or in a spec file the path of a file that the command line reads."""

    document: Annotated[str, msgspec.Meta(min_length=1, max_length=131_072)] | None = None
    from_file: str | None = None


class RotationSpec(Frozen):
    """Automatic rotation (API reference: EnableKeyRotation)."""

    enabled: bool = False
    period_days: Annotated[int, msgspec.Meta(ge=90, le=2560)] = 365


class DeletionSpec(Frozen):
    """What happens when the key leaves its spec set: the window, and whether deletion is allowed at all."""

    window_days: Annotated[int, msgspec.Meta(ge=7, le=30)] = 30
    protect: bool = False


class ExpirySpec(Frozen):
    """When imported material expires: at a moment, or some days after each import. With neither, it does not.

    It bounds every import: one that asks for a later end, or for none, gets this one. A change holds from the next
    import on (API reference, ImportKeyMaterial: the expiry of present material changes by importing it again).
    """

    valid_to: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    valid_days: Annotated[int, msgspec.Meta(ge=1, le=365)] | None = None


class DesiredKey(Frozen):
    """``spec`` of a Key. Absent ``keyUsage`` and ``origin`` follow from the key spec and the key store."""

    key_store: Name = "standard"
    region: Region | None = None
    key_spec: KeySpec = KeySpec.SYMMETRIC_DEFAULT
    key_usage: KeyUsage | None = None
    origin: Origin | None = None
    xks_key_id: ExternalKeyId | None = None
    """The external key that this key stands for; of keys in external key stores, and required there."""
    description: Annotated[str, msgspec.Meta(max_length=8192)] = ""
    enabled: bool = True
    multi_region: bool = False
    replica_of: Name | None = None
    """The name of the multi-Region primary key that this key replicates into its Region."""
    aliases: tuple[Alias, ...] = ()
    tags: dict[
        Annotated[str, msgspec.Meta(min_length=1, max_length=128)], Annotated[str, msgspec.Meta(max_length=256)]
    ] = msgspec.field(default_factory=dict)
    policy: PolicySource | None = None
    rotation: RotationSpec = RotationSpec()
    expiry: ExpirySpec = ExpirySpec()
    deletion: DeletionSpec = DeletionSpec()
    management: Management = Management.FULL


class MaterialState(StrEnum):
    """State of one key material (API reference: ``KeyMaterialState``)."""

    CURRENT = "CURRENT"
    NON_CURRENT = "NON_CURRENT"
    PENDING_ROTATION = "PENDING_ROTATION"
    """It exists and the next rotation makes it current; nothing was encrypted under it yet."""
    PENDING_MULTI_REGION_IMPORT_AND_ROTATION = "PENDING_MULTI_REGION_IMPORT_AND_ROTATION"


class RotationType(StrEnum):
    """What made a material current (API reference: ``RotationType``)."""

    AUTOMATIC = "AUTOMATIC"
    ON_DEMAND = "ON_DEMAND"


class ImportState(StrEnum):
    """Whether imported material is here (API reference: ``ImportState``)."""

    IMPORTED = "IMPORTED"
    PENDING_IMPORT = "PENDING_IMPORT"
    """It expired, was deleted, or is still to come: importing the same material makes the key whole again."""


class MaterialEnd(StrEnum):
    """Why imported material is no longer here."""

    EXPIRED = "Expired"
    DELETED = "Deleted"


class ImportedMaterial(Frozen):
    """What a key keeps of material that was imported, also while the material itself is gone.

    ``valid_to`` is when it expires, in whole seconds, absent if it does not; ``ended_at`` and ``end`` say when and why
    it last went.
    """

    state: ImportState
    imported_at: datetime | None = None
    valid_to: datetime | None = None
    description: str = ""
    ended_at: datetime | None = None
    end: MaterialEnd | None = None
    warned_at: datetime | None = None
    """When people were told that it expires soon."""


class MaterialStatus(Frozen):
    """One key material of a key. ``name`` is its external name in the key store, chosen before it existed.

    ``rotated_at`` and ``rotation_type`` say when and how it became current; the first material has neither.
    """

    material_id: str
    name: str
    state: MaterialState
    created_at: datetime
    public_key: bytes | None = None
    rotated_at: datetime | None = None
    rotation_type: RotationType | None = None
    imported: ImportedMaterial | None = None
    """Of keys of origin EXTERNAL only."""

    @property
    def present(self) -> bool:
        """Whether the key store has it now, as far as the key knows."""
        return self.imported is None or self.imported.state is ImportState.IMPORTED


class ImportWorkflow(Frozen):
    """The newest import of a key that got somewhere: when its parameters were issued, when what was uploaded.

    ``wrapped_at`` is what the uploader says of its own side; the server sees no wrapping.
    """

    parameters_issued_at: datetime
    parameters_valid_to: datetime
    wrapped_at: datetime | None = None
    uploaded_at: datetime | None = None
    imported_at: datetime | None = None
    material_id: str | None = None


class RotationStatus(Frozen):
    """When material rotates. ``next_at`` is the due time of automatic rotation, absent while that is off.

    ``requested_at`` is set from RotateKeyOnDemand until that rotation is complete; ``on_demand`` counts those made in
    the life of the key.
    """

    next_at: datetime | None = None
    requested_at: datetime | None = None
    on_demand: int = 0


class RefusedUse(Frozen):
    """Uses that were refused because the key is pending deletion, by one principal with one operation."""

    principal: str
    operation: str
    count: int
    last_at: datetime


class KeyStatus(Frozen):
    """``status`` of a Key. Its key state is not here: that is derived (``domain.lifecycle``)."""

    key_id: str
    arn: str
    created_at: datetime
    observed_generation: int = 0
    materials: tuple[MaterialStatus, ...] = ()
    rotation: RotationStatus = RotationStatus()
    primary_region: Region | None = None
    """Of a multi-Region key: where its primary key is. A key elsewhere is a replica."""
    importing: ImportWorkflow | None = None
    adopts: str | None = None
    """Of a key that takes over material: what the key store calls it."""
    conditions: tuple[Condition, ...] = ()

    @property
    def current(self) -> MaterialStatus | None:
        """The material that encrypts now."""
        for material in self.materials:  # a loop, because every request asks: a generator takes three times as long
            if material.state is MaterialState.CURRENT:
                return material
        return None

    @property
    def pending(self) -> MaterialStatus | None:
        """The material that the next rotation makes current, if there is one."""
        return next((material for material in self.materials if material.state is MaterialState.PENDING_ROTATION), None)
