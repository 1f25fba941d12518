"""Imports of material: the parameters that were issued, and what imports and ends of material make of a key.

Who calls it: ``usage.imports`` for the doors, the reconciler for what falls due. Guarantees: of an import token only
the digest is kept; the sealed half of a wrapping key goes when its token expires; a key token, what the key says of it
and the event are one transaction, so no crash leaves a key that names material which is not there, or the reverse.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable
from datetime import datetime
from typing import Final, cast

import msgspec

from controlplane.domain import imports
from controlplane.domain.imports import Asked
from controlplane.domain.lifecycle import gate
from controlplane.domain.materials import is_replica, primary_of
from controlplane.errors import LimitExceeded
from controlplane.schema.events import EventReason
from controlplane.schema.imports import PastImport, WrappingAlgorithm, WrappingSpec
from controlplane.schema.keys import ImportWorkflow, KeyStatus, MaterialEnd, MaterialState, MaterialStatus
from controlplane.schema.meta import Key
from controlplane.store import events, keys, material, objects
from controlplane.store.objects import moment
from plugins.sdk import Imported

MAX_OPEN: Final = 100
"""Parameters of one key that are valid at a time: each keeps some kilobytes."""
MAX_KEPT: Final = 20
"""Parameters of one key that are remembered after they have expired."""


class Parameters(msgspec.Struct, frozen=True):
    """One set of parameters as stored. ``sealed`` is None once they have expired; times in seconds since the epoch."""

    id: int
    uid: str
    wrapping_spec: WrappingSpec
    algorithm: WrappingAlgorithm
    sealed: bytes | None
    issued_at: float
    valid_to: float


# ---- parameters ------------------------------------------------------------------------------------------------------


def issue(
    tx: sqlite3.Connection,
    uid: str,
    *,
    token: bytes,
    spec: WrappingSpec,
    algorithm: WrappingAlgorithm,
    sealed: bytes,
    by: str,
    now: datetime,
    valid_to: datetime,
) -> Key:
    """Keep parameters that were just made. Raises :class:`LimitExceeded` for a key that has very many already."""
    key = _gated(tx, uid, "GetParametersForImport")
    forget_expired(tx, now)
    waiting = "SELECT count(*) FROM imports WHERE uid = ? AND sealed IS NOT NULL"
    if tx.execute(waiting, (uid,)).fetchone()[0] >= MAX_OPEN:
        raise LimitExceeded(f"{key.status.arn} has {MAX_OPEN} import tokens that are valid; use one, or wait.")
    tx.execute(
        """INSERT INTO imports (uid, token, wrapping_spec, algorithm, sealed, issued_by, issued_at, valid_to)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?)""",
        (uid, _digest(token), spec.value, algorithm.value, sealed, by, now.timestamp(), valid_to.timestamp()),
    )
    message = f"{by} asked for import parameters: {spec}, {algorithm}, valid until {valid_to.isoformat()}"
    events.record(tx, key, EventReason.IMPORT_PARAMETERS_ISSUED, message, now)
    status = key.status
    if status.importing is None or status.importing.imported_at is not None or _lapsed(status.importing, now):
        workflow = ImportWorkflow(parameters_issued_at=now, parameters_valid_to=valid_to)
        status = msgspec.structs.replace(status, importing=workflow)
    return cast(Key, objects.replace(tx, uid, now=now, status=status))


def find(tx: sqlite3.Connection, token: bytes) -> Parameters | None:
    """The parameters that a token stands for."""
    row = tx.execute(
        "SELECT id, uid, wrapping_spec, algorithm, sealed, issued_at, valid_to FROM imports WHERE token = ?",
        (_digest(token),),
    ).fetchone()
    if row is None:
        return None
    return Parameters(row[0], row[1], WrappingSpec(row[2]), WrappingAlgorithm(row[3]), row[4], row[5], row[6])


def refuse(tx: sqlite3.Connection, key: Key, parameters: Parameters, why: str, now: datetime) -> None:
    """Remember that an upload was refused. The key itself stays untouched."""
    tx.execute(
        "UPDATE imports SET uploaded_at = ?, refusal = ? WHERE id = ?", (now.timestamp(), why[:500], parameters.id)
    )
    events.record(tx, key, EventReason.IMPORT_REFUSED, f"an import was refused: {why}", now)


def forget_expired(tx: sqlite3.Connection, now: datetime) -> int:
    """Destroy the sealed halves of wrapping keys whose tokens have expired; how many."""
    gone = tx.execute(
        "UPDATE imports SET sealed = NULL WHERE sealed IS NOT NULL AND valid_to <= ?", (now.timestamp(),)
    ).rowcount
    if gone:
        material.note_deletion(tx, material.SYSTEM)
        tx.execute(
            """DELETE FROM imports WHERE sealed IS NULL AND id <= (
                 SELECT newer.id FROM imports newer WHERE newer.uid = imports.uid AND newer.sealed IS NULL
                 ORDER BY newer.id DESC LIMIT 1 OFFSET ?)""",
            (MAX_KEPT,),
        )
    return gone


def past(tx: sqlite3.Connection, uid: str) -> list[PastImport]:
    """Parameters of a key and what became of them, newest first."""
    rows = tx.execute(
        """SELECT issued_by, issued_at, valid_to, wrapping_spec, algorithm, uploaded_at, imported_at, material_id,
           refusal FROM imports WHERE uid = ? ORDER BY id DESC LIMIT ?""",
        (uid, MAX_OPEN),
    )
    return [
        PastImport(
            issued_by=row[0],
            issued_at=moment(row[1]),
            valid_to=moment(row[2]),
            wrapping_key_spec=WrappingSpec(row[3]),
            wrapping_algorithm=WrappingAlgorithm(row[4]),
            uploaded_at=None if row[5] is None else moment(row[5]),
            imported_at=None if row[6] is None else moment(row[6]),
            material_id=row[7],
            refusal=row[8],
        )
        for row in rows
    ]


# ---- material --------------------------------------------------------------------------------------------------------


def accept(
    tx: sqlite3.Connection,
    uid: str,
    *,
    parameters: Parameters,
    imported: Imported,
    name: str,
    asked: Asked,
    by: str,
    now: datetime,
    wrapped_at: datetime | None = None,
) -> tuple[Key, str | None]:
    """Give a key the material that its key store unwrapped. The key, and the name of the token that it replaced.

    Raises what ``domain.imports.accepted`` raises, and :class:`InvalidState` if the key's state changed meanwhile.
    """
    key = _gated(tx, uid, "ImportKeyMaterial")
    related = _related(tx, key)
    new = MaterialStatus(
        material_id=imported.material_id,
        name=name,
        state=MaterialState.CURRENT,
        created_at=now,
        public_key=imported.material.public_key,
    )
    status, replaced = imports.accepted(key, related, asked, material=new, now=now)
    assert imported.material.token is not None
    material.put_token(tx, name=name, uid=uid, token=imported.material.token)
    if replaced is not None and replaced.name:
        material.delete_token(tx, replaced.name)
    tx.execute(
        "UPDATE imports SET uploaded_at = ?1, imported_at = ?1, material_id = ?2, refusal = NULL WHERE id = ?3",
        (now.timestamp(), imported.material_id, parameters.id),
    )
    workflow = ImportWorkflow(
        parameters_issued_at=moment(parameters.issued_at),
        parameters_valid_to=moment(parameters.valid_to),
        wrapped_at=wrapped_at,
        uploaded_at=now,
        imported_at=now,
        material_id=imported.material_id,
    )
    status = msgspec.structs.replace(status, importing=workflow)
    until = f"expires at {asked.valid_to.isoformat()}" if asked.valid_to is not None else "does not expire"
    what = "material" if replaced is None else "the same material again"
    message = f"{by} imported {what}, {imported.material_id[:12]}…; it {until}"
    events.record(tx, key, EventReason.MATERIAL_IMPORTED, message, now)
    key = _put(tx, key, status, related, now)
    return key, replaced.name or None if replaced is not None else None


def end(tx: sqlite3.Connection, uid: str, material_id: str | None, *, by: str, now: datetime) -> list[MaterialStatus]:
    """Delete one imported material (API reference: DeleteImportedKeyMaterial), of replicas too if it was never in use.

    What is gone, with the names of its tokens; empty if it was not here.
    """
    key = _gated(tx, uid, "DeleteImportedKeyMaterial")
    gone = imports.chosen(key, material_id)
    if gone is None or not gone.present:
        return []
    message = f"{by} deleted the imported material {gone.material_id[:12]}…"
    return _end(tx, key, [gone], MaterialEnd.DELETED, EventReason.MATERIAL_DELETED, message, now)


def expire(tx: sqlite3.Connection, uid: str, now: datetime) -> list[MaterialStatus]:
    """Let go of what has expired by now. What is gone."""
    key = cast("Key | None", objects.get(tx, uid))
    if key is None:
        return []
    gone = imports.expired(key.status, now)
    message = f"imported material expired; import the same material again to make {key.metadata.name} usable"
    return _end(tx, key, gone, MaterialEnd.EXPIRED, EventReason.MATERIAL_EXPIRED, message, now) if gone else []


def warn(tx: sqlite3.Connection, uid: str, now: datetime) -> None:
    """Tell people once of material that expires soon."""
    key = cast("Key | None", objects.get(tx, uid))
    if key is None:
        return
    soon = {present.material_id for present in imports.to_warn_of(key.status, now)}
    materials = []
    for present in key.status.materials:
        if present.material_id in soon and present.imported is not None:
            assert present.imported.valid_to is not None
            message = (
                f"imported material {present.material_id[:12]}… expires at {present.imported.valid_to.isoformat()}; "
                "importing it again sets a later end"
            )
            events.record(tx, key, EventReason.MATERIAL_EXPIRES_SOON, message, now)
            told = msgspec.structs.replace(present.imported, warned_at=now)
            materials.append(msgspec.structs.replace(present, imported=told))
        else:
            materials.append(present)
    objects.replace(tx, uid, now=now, status=msgspec.structs.replace(key.status, materials=tuple(materials)))


# ---- inside ----------------------------------------------------------------------------------------------------------


def _gated(tx: sqlite3.Connection, uid: str, operation: str) -> Key:
    """The key as it is in this transaction, if its state still allows the operation."""
    key = cast(Key, objects.require(tx, uid))
    imports.check_origin(key)
    gate(operation, keys.state(tx, key), key.status.arn)
    return key


def _related(tx: sqlite3.Connection, key: Key) -> list[Key]:
    if not key.spec.multi_region:
        return [key]
    return [each for each in objects.related_keys(tx, key.status.key_id) if each.metadata.deletion is None]


def _end(
    tx: sqlite3.Connection,
    key: Key,
    gone: Iterable[MaterialStatus],
    how: MaterialEnd,
    reason: EventReason,
    message: str,
    now: datetime,
) -> list[MaterialStatus]:
    status, left = key.status, []
    for each in gone:
        material.delete_token(tx, each.name)
        status = imports.without(status, each, how, now)
        left.append(each)
    events.record(tx, key, reason, message, now)
    related = _related(tx, key)
    if not is_replica(key):
        # What a primary gives up before it was ever in use leaves its replicas, too.
        kept = {each.material_id for each in status.materials}
        for replica in related:
            for theirs in replica.status.materials:
                if is_replica(replica) and theirs.name and theirs.material_id not in kept:
                    material.delete_token(tx, theirs.name)
                    left.append(theirs)
    _put(tx, key, status, related, now)
    return left


def _put(tx: sqlite3.Connection, key: Key, status: KeyStatus, related: Iterable[Key], now: datetime) -> Key:
    """Write a key's status, and what follows from it for the keys that share its key id."""
    uid = key.metadata.uid
    written = cast(Key, objects.replace(tx, uid, now=now, status=status, requested=True))
    if not key.spec.multi_region:
        return written
    present = {each.metadata.uid: each for each in related} | {uid: written}
    primary = primary_of(present.values())
    if primary is None:
        return written
    replicas = [each for each in present.values() if is_replica(each)]
    settled = imports.settled(primary, replicas)
    objects.replace(tx, primary.metadata.uid, now=now, status=settled)
    for replica in replicas:
        objects.replace(tx, replica.metadata.uid, now=now, status=imports.shared(replica.status, settled))
    return cast(Key, objects.require(tx, uid))


def _lapsed(workflow: ImportWorkflow, now: datetime) -> bool:
    return now >= workflow.parameters_valid_to


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
