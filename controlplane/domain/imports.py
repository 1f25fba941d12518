"""Imported material: who may bring what, what it becomes on the key, when it expires.

Who calls it: ``usage.imports`` and ``store.imported`` for imports and deletions, the reconciler for what falls due,
reports for the steps. Guarantees: material that encrypted once stays named by its key for ever, whether it is here or
not, so the same material can be brought back and nothing else can take its place; nothing expires before its time, nor
at all while the clock stands before the moment of its import.

Source: AWS KMS API reference, GetParametersForImport, ImportKeyMaterial, DeleteImportedKeyMaterial,
``RotationsListEntry``; KMS Developer Guide, "Importing key material".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Final

import msgspec

from controlplane.domain.materials import is_replica, mirrored
from controlplane.errors import IncorrectKeyMaterial, InvalidInput, InvalidState, Unsupported
from controlplane.schema.imports import ImportType, Step, StepName, StepState
from controlplane.schema.keys import (
    ImportedMaterial,
    ImportState,
    KeySpec,
    KeyStatus,
    MaterialEnd,
    MaterialState,
    MaterialStatus,
    Origin,
)
from controlplane.schema.meta import Key
from plugins.sdk.vocabulary import KEY_SPECS, Family, WrappingAlgorithm, WrappingSpec

PARAMETERS_LIFETIME: Final = timedelta(hours=24)
MAX_VALIDITY: Final = timedelta(days=365)
EXPIRES_SOON: Final = timedelta(days=7)
"""People are told this long ahead, or at once if the material lives for less."""

_PENDING: Final = frozenset({MaterialState.PENDING_ROTATION, MaterialState.PENDING_MULTI_REGION_IMPORT_AND_ROTATION})
"""States of material under which nothing was encrypted yet: it can go and be forgotten."""


class Asked(msgspec.Struct, frozen=True):
    """What an importer says about the material, besides the material. ``valid_to`` None: it does not expire."""

    valid_to: datetime | None = None
    import_type: ImportType | None = None
    material_id: str | None = None
    description: str | None = None


def waits(key: Key) -> bool:
    """Whether somebody has to import material before the key can be used."""
    materials = key.status.materials
    return key.spec.origin is Origin.EXTERNAL and not (materials and all(each.present for each in materials))


def waiting_words(key: Key) -> str:
    """What a key waits for, for sentences."""
    gone = next(
        (each.imported for each in key.status.materials if each.imported is not None and not each.present), None
    )
    if gone is None or gone.end is None or gone.ended_at is None:
        return "waiting for material"
    how = "expired" if gone.end is MaterialEnd.EXPIRED else "was deleted"
    return f"waiting for material that {how} at {gone.ended_at.isoformat(timespec='seconds')}"


# ---- before anything is unwrapped ------------------------------------------------------------------------------------


def check_origin(key: Key) -> None:
    """Raise :class:`Unsupported` unless the key's material comes from outside."""
    if key.spec.origin is not Origin.EXTERNAL:
        raise Unsupported(f"{key.status.arn} origin is {key.spec.origin} which is not valid for this operation.")


def check_wrapping(key_spec: KeySpec, spec: WrappingSpec, algorithm: WrappingAlgorithm) -> None:
    """Raise :class:`Unsupported` for a way in that this material does not fit through."""
    if algorithm.hybrid:
        return
    family = KEY_SPECS[key_spec].family
    if family is Family.RSA:
        raise Unsupported(
            f"Wrapping algorithm {algorithm} cannot wrap {key_spec} key material; "
            "use RSA_AES_KEY_WRAP_SHA_256 or RSA_AES_KEY_WRAP_SHA_1."
        )
    if key_spec is KeySpec.ECC_NIST_P521 and spec is WrappingSpec.RSA_2048:
        raise Unsupported(
            f"Wrapping key spec {spec} with {algorithm} cannot wrap {key_spec} key material; "
            "use a longer wrapping key or an RSA_AES_KEY_WRAP algorithm."
        )


def check_asked(key: Key, asked: Asked) -> None:
    """Raise for what contradicts itself, or does not apply to the kind of key."""
    symmetric = key.spec.key_spec is KeySpec.SYMMETRIC_DEFAULT
    for name, given in (
        ("ImportType", asked.import_type),
        ("KeyMaterialDescription", asked.description),
        ("KeyMaterialId", asked.material_id),
    ):
        if given is not None and not symmetric:
            raise Unsupported(f"{name} is only supported for symmetric encryption KMS keys.")
    if asked.material_id is not None and asked.import_type is ImportType.NEW_KEY_MATERIAL:
        raise InvalidInput("KeyMaterialId cannot be specified when ImportType is NEW_KEY_MATERIAL.")


def expiry_of(key: Key, asked: datetime | None, now: datetime) -> datetime | None:
    """When material that is imported now expires, in whole seconds: as asked, within what the key declares.

    Raises :class:`InvalidInput` for a moment that is not within the next 365 days.
    """
    if asked is not None:
        asked = asked.replace(microsecond=0)
        if asked <= now:
            raise InvalidInput("ValidTo must be in the future.")
        if asked > now + MAX_VALIDITY:
            raise InvalidInput(f"ValidTo must be at most {MAX_VALIDITY.days} days in the future.")
    declared = key.spec.expiry
    limits = [asked] if asked is not None else []
    if declared.valid_days is not None:
        limits.append((now + timedelta(days=declared.valid_days)).replace(microsecond=0))
    if declared.valid_to is not None:
        if declared.valid_to <= now:
            raise InvalidInput(
                f"{key.metadata.name} declares expiry.validTo {declared.valid_to.isoformat()}, which has passed: "
                "declare a later one first"
            )
        limits.append(declared.valid_to.replace(microsecond=0))
    return min(limits, default=None)


# ---- what an import makes of a key -----------------------------------------------------------------------------------


def accepted(
    key: Key, related: Iterable[Key], asked: Asked, *, material: MaterialStatus, now: datetime
) -> tuple[KeyStatus, MaterialStatus | None]:
    """The status with ``material`` in it, and what it takes the place of.

    ``related`` are the keys that share the key id, ``material`` is what the key store made, with its name in it.
    Raises :class:`IncorrectKeyMaterial` or :class:`InvalidState` if this key does not take this material now.
    """
    check_asked(key, asked)
    status = key.status
    primary = _primary(key, related)
    known = {present.material_id: present for present in status.materials}
    kind = asked.import_type or _default_type(key, status)
    material_id = material.material_id
    if asked.material_id is not None and asked.material_id != material_id:
        raise IncorrectKeyMaterial(f"The key material has the ID {material_id}, not {asked.material_id}.")
    if kind is ImportType.NEW_KEY_MATERIAL:
        if is_replica(key):
            raise Unsupported(f"New key material is imported into the primary key first, {primary.status.arn}.")
        if material_id in known:
            raise IncorrectKeyMaterial(f"The key material is already associated with {status.arn}.")
        waiting = next((present for present in status.materials if present.state in _PENDING), None)
        if waiting is not None:
            raise InvalidState(
                f"New key material (id: {material_id}) cannot be imported into KMS key {status.arn}, because another "
                f"key material (id: {waiting.material_id}) is pending rotation."
            )
        state = _state_of_new(key, related)
        replaced = None
    else:
        replaced = known.get(material_id)
        theirs = replaced or next((m for m in primary.status.materials if m.material_id == material_id), None)
        if theirs is None:
            raise IncorrectKeyMaterial(f"The key material is not the one that was imported into {status.arn} before.")
        state = theirs.state
    before = replaced.imported if replaced is not None else None
    description = asked.description if asked.description is not None else before.description if before else ""
    new = msgspec.structs.replace(
        material if replaced is None else replaced,
        name=material.name,
        state=state,
        public_key=material.public_key,
        created_at=replaced.created_at if replaced is not None else now,
        imported=ImportedMaterial(
            state=ImportState.IMPORTED,
            imported_at=now,
            valid_to=asked.valid_to,
            description=description,
            ended_at=before.ended_at if before else None,
            end=before.end if before else None,
        ),
    )
    if replaced is None:
        materials = (*status.materials, new)
    else:
        materials = tuple(new if present is replaced else present for present in status.materials)
    return msgspec.structs.replace(status, materials=materials), replaced


def _default_type(key: Key, status: KeyStatus) -> ImportType:
    if status.materials or is_replica(key):
        return ImportType.EXISTING_KEY_MATERIAL
    return ImportType.NEW_KEY_MATERIAL


def _state_of_new(key: Key, related: Iterable[Key]) -> MaterialState:
    if key.status.current is None:
        return MaterialState.CURRENT
    if any(is_replica(other) for other in related):
        return MaterialState.PENDING_MULTI_REGION_IMPORT_AND_ROTATION
    return MaterialState.PENDING_ROTATION


def _primary(key: Key, related: Iterable[Key]) -> Key:
    return next((other for other in related if other.status.primary_region == other.spec.region), key)


# ---- the keys of a multi-Region key ----------------------------------------------------------------------------------


def settled(primary: Key, replicas: Collection[Key]) -> KeyStatus:
    """The primary's status once its next material is in every replica: it can be rotated to from then on."""
    status = primary.status
    arriving = MaterialState.PENDING_MULTI_REGION_IMPORT_AND_ROTATION
    waiting = next((present for present in status.materials if present.state is arriving), None)
    if waiting is None or not all(_has(replica, waiting.material_id) for replica in replicas):
        return status
    ready = msgspec.structs.replace(waiting, state=MaterialState.PENDING_ROTATION)
    return msgspec.structs.replace(
        status, materials=tuple(ready if present is waiting else present for present in status.materials)
    )


def shared(status: KeyStatus, primary: KeyStatus) -> KeyStatus:
    """A replica's status that names every material of its primary that ever encrypted, in the primary's states.

    What a replica does not have yet it shows as pending import; what the primary gave up before it was ever in use is
    gone from the replica, too.
    """
    theirs = {present.material_id: present for present in primary.materials}
    kept = [present for present in status.materials if present.material_id in theirs or present.state not in _PENDING]
    held = {present.material_id for present in kept}
    kept += [
        msgspec.structs.replace(
            present, name="", public_key=present.public_key, imported=ImportedMaterial(state=ImportState.PENDING_IMPORT)
        )
        for present in primary.materials
        if present.material_id not in held and present.state not in _PENDING
    ]
    order = {material_id: number for number, material_id in enumerate(theirs)}
    kept.sort(key=lambda present: order.get(present.material_id, len(order)))
    return mirrored(msgspec.structs.replace(status, materials=tuple(kept)), primary)


def _has(key: Key, material_id: str) -> bool:
    return any(present.material_id == material_id and present.present for present in key.status.materials)


# ---- its end ---------------------------------------------------------------------------------------------------------


def chosen(key: Key, material_id: str | None) -> MaterialStatus | None:
    """The material that DeleteImportedKeyMaterial means: the named or the current one. None if there is none."""
    if material_id is None:
        return key.status.current
    return next((present for present in key.status.materials if present.material_id == material_id), None)


def without(status: KeyStatus, gone: MaterialStatus, end: MaterialEnd, now: datetime) -> KeyStatus:
    """The status after one material is gone: named as pending import, or forgotten if it never encrypted anything."""
    if gone.state in _PENDING:
        materials = tuple(present for present in status.materials if present is not gone)
        return msgspec.structs.replace(status, materials=materials)
    assert gone.imported is not None
    imported = msgspec.structs.replace(
        gone.imported, state=ImportState.PENDING_IMPORT, valid_to=None, ended_at=now, end=end, warned_at=None
    )
    ended = msgspec.structs.replace(gone, imported=imported)
    return msgspec.structs.replace(
        status, materials=tuple(ended if present is gone else present for present in status.materials)
    )


def expired(status: KeyStatus, now: datetime) -> list[MaterialStatus]:
    """Materials whose time has come."""
    return [present for present in _expiring(status) if _valid_to(present) <= now]


def to_warn_of(status: KeyStatus, now: datetime) -> list[MaterialStatus]:
    """Materials that expire soon, of which nobody was told yet."""
    return [present for present in _expiring(status) if _warn_at(present) is not None and now >= _warning(present)]


def next_due(status: KeyStatus) -> datetime | None:
    """When the next thing falls due: an expiry, or the warning of one."""
    moments = [_warn_at(present) or _valid_to(present) for present in _expiring(status)]
    return min(moments, default=None)


def earliest_expiry(status: KeyStatus) -> datetime | None:
    """``ValidTo`` of DescribeKey: the first expiry of material that is in use or was."""
    return min((_valid_to(present) for present in _expiring(status) if present.state not in _PENDING), default=None)


def _expiring(status: KeyStatus) -> list[MaterialStatus]:
    return [
        present
        for present in status.materials
        if present.imported is not None and present.present and present.imported.valid_to is not None
    ]


def _valid_to(present: MaterialStatus) -> datetime:
    assert present.imported is not None
    assert present.imported.valid_to is not None
    return present.imported.valid_to


def _warning(present: MaterialStatus) -> datetime:
    return _valid_to(present) - EXPIRES_SOON


def _warn_at(present: MaterialStatus) -> datetime | None:
    assert present.imported is not None
    return _warning(present) if present.imported.warned_at is None else None


# ---- the import as steps that one can see ----------------------------------------------------------------------------


def steps(status: KeyStatus, now: datetime) -> tuple[Step, ...]:
    """How far the import of a key is. Empty for a key into which nobody ever imported."""
    workflow = status.importing
    if workflow is None:
        return ()
    made: list[Step] = [Step(step=StepName.PARAMETERS_ISSUED, state=StepState.DONE, at=workflow.parameters_issued_at)]
    lapsed = workflow.imported_at is None and now >= workflow.parameters_valid_to
    next_step = StepState.LAPSED if lapsed else StepState.WAITING
    for name, at in (
        (StepName.WRAPPED, workflow.wrapped_at),
        (StepName.UPLOADED, workflow.uploaded_at),
        (StepName.IMPORTED, workflow.imported_at),
    ):
        done = at is not None or workflow.imported_at is not None
        made.append(Step(step=name, state=StepState.DONE if done else next_step, at=at))
        if not done and next_step is StepState.WAITING:
            next_step = StepState.AHEAD
    present = next((each for each in status.materials if each.material_id == workflow.material_id), None)
    imported = present.imported if present is not None else None
    if workflow.imported_at is None or imported is None:
        return tuple(made)
    if imported.state is ImportState.PENDING_IMPORT:
        if imported.end is MaterialEnd.EXPIRED:
            made.append(Step(step=StepName.EXPIRED, state=StepState.DONE, at=imported.ended_at))
    elif imported.valid_to is not None:
        soon = imported.valid_to - EXPIRES_SOON
        made.append(
            Step(
                step=StepName.EXPIRING,
                state=StepState.DONE if now >= soon else StepState.WAITING,
                at=max(soon, imported.imported_at or soon),
            )
        )
        made.append(Step(step=StepName.EXPIRED, state=StepState.AHEAD, at=imported.valid_to))
    return tuple(made)
