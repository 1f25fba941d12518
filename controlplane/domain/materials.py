"""The materials of one key over time, and of the keys that share them: which is current, which comes next.

Who calls it: the reconciler, inside the transactions that record material. Guarantees: at most one material is current;
one that was current once stays, so what it encrypted stays readable; a replica key shows every material as its primary
key does.

Source: KMS Developer Guide, "Rotate AWS KMS keys" and "Multi-Region keys: shared properties"; API reference,
``KeyMaterialState``.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from controlplane.domain.schedule import after_rotation
from controlplane.schema.keys import KeyStatus, MaterialState, MaterialStatus, Origin, RotationSpec, RotationType
from controlplane.schema.meta import Key


def is_replica(key: Key) -> bool:
    """Whether a key is a replica of a multi-Region primary key in another Region."""
    return key.status.primary_region is not None and key.status.primary_region != key.spec.region


def primary_of(related: Iterable[Key]) -> Key | None:
    """The primary among the keys that share a key id."""
    return next((key for key in related if key.status.primary_region == key.spec.region), None)


def state_of_new(status: KeyStatus) -> MaterialState:
    """What the next material of a primary key is: in use at once if it is the first, else waiting to be rotated to."""
    return MaterialState.CURRENT if status.current is None else MaterialState.PENDING_ROTATION


def missing(key: Key, source: Key) -> list[MaterialStatus]:
    """Materials of ``source`` that ``key``, its replica, does not have. Imported material is never replicated."""
    if source.spec.origin is Origin.EXTERNAL:
        return []
    held = {present.material_id for present in key.status.materials}
    left = [present for present in source.status.materials if present.material_id not in held]
    # The current one first: a replica must not be in use before it encrypts as its primary does.
    return sorted(left, key=lambda present: present.state is not MaterialState.CURRENT)


def rotated(status: KeyStatus, kind: RotationType, wanted: RotationSpec, now: datetime) -> KeyStatus:
    """The status once the pending material is current; unchanged if there is none."""
    if status.pending is None:
        return status
    return msgspec.structs.replace(
        status,
        materials=tuple(_turned(present, kind, now) for present in status.materials),
        rotation=after_rotation(status.rotation, kind, wanted, now),
    )


def mirrored(status: KeyStatus, source: KeyStatus) -> KeyStatus:
    """The status of a replica whose materials are in the states that its primary's have, and rotate when they do."""
    theirs = {present.material_id: present for present in source.materials}
    materials = []
    for present in status.materials:
        same = theirs.get(present.material_id)
        if same is not None:
            present = msgspec.structs.replace(  # noqa: PLW2901 - the same material, seen as the primary sees it
                present, state=same.state, rotated_at=same.rotated_at, rotation_type=same.rotation_type
            )
        materials.append(present)
    if not any(present.state is MaterialState.CURRENT for present in materials):
        # The primary has rotated on while this key could not follow: what it has stays in use until it can.
        return status
    return msgspec.structs.replace(status, materials=tuple(materials), rotation=source.rotation)


def _turned(present: MaterialStatus, kind: RotationType, now: datetime) -> MaterialStatus:
    if present.state is MaterialState.PENDING_ROTATION:
        return msgspec.structs.replace(present, state=MaterialState.CURRENT, rotated_at=now, rotation_type=kind)
    if present.state is MaterialState.CURRENT:
        return msgspec.structs.replace(present, state=MaterialState.NON_CURRENT)
    return present


def lost_words(key: Key, lost: MaterialStatus) -> str:
    """What is said of material that its key store no longer has."""
    return (
        f"key store {key.spec.key_store} no longer has material {lost.material_id}; nothing is made in its place, "
        "because that could not decrypt what it encrypted"
    )
