"""How a key comes to be in the store and how what is wanted of it changes; the only code that writes keys' desired
state.

Who calls it: the apply of a plan and the imperative doors, inside their transactions. Guarantee: whoever asks, a key is
born the same way (uid, key id, ARN, finalizer) and its deletion follows the same rules.
"""

from __future__ import annotations

import sqlite3
import uuid
from datetime import datetime, timedelta
from typing import cast

import msgspec

from controlplane.domain.capabilities import rotates
from controlplane.domain.imports import shared
from controlplane.domain.lifecycle import key_state
from controlplane.domain.materials import is_replica, primary_of
from controlplane.domain.names import key_arn, new_key_id
from controlplane.domain.ownership import KMS
from controlplane.domain.schedule import deletion_due, deletion_request, due_words, rotates_soon, rotation_schedule
from controlplane.errors import (
    AlreadyExists,
    Blocked,
    Conflict,
    InvalidState,
    KeyStoreNotFound,
    LimitExceeded,
    NotFound,
    Unsupported,
)
from controlplane.schema.events import EventReason
from controlplane.schema.keys import DesiredKey, KeyState, KeyStatus, Origin, RotationSpec, RotationStatus
from controlplane.schema.keystores import STANDARD, ConnectionState
from controlplane.schema.meta import MATERIAL_FINALIZER, DeletionRequest, Key, KeyStore, Kind, XksProxy
from controlplane.store import attempts, claims, events, externalkeys, objects, people
from plugins.sdk import CallInfo

MAX_ROTATIONS_ON_DEMAND = 25
"""In the life of a key (KMS Developer Guide, "Quotas")."""


def create(
    tx: sqlite3.Connection,
    *,
    desired: DesiredKey,
    account: str,
    now: datetime,
    name: str | None = None,
    spec_set: str | None = None,
    adopts: str | None = None,
    asked: CallInfo | None = None,
) -> Key:
    """A new key without material; the reconciler makes that, or takes over what its key store calls ``adopts``.
    ``desired`` is complete (``domain.capabilities``).

    A key that was not declared is named by its key id. Raises :class:`AlreadyExists` for a name or alias that is taken,
    and for an external key that stands for another key, :class:`KeyStoreNotFound` for a key store that has gone, or is
    going: nothing could be made in it, and it could not go while the key is there.
    """
    assert desired.region is not None
    if desired.key_store != STANDARD:  # which never leaves
        store = objects.get_named(tx, Kind.KEY_STORE, desired.key_store)
        if store is None or store.metadata.deletion is not None:
            raise KeyStoreNotFound(f"key store {desired.key_store} is not there any more")
    uid = str(uuid.uuid4())
    if desired.replica_of is None:
        key_id = new_key_id(uid, multi_region=desired.multi_region)
        primary_region = desired.region if desired.multi_region else None
        to_import = None
        rotation = rotation_schedule(RotationSpec(), desired.rotation, RotationStatus(), now)
    else:
        primary = _replicable(tx, desired.replica_of)
        key_id = primary.status.key_id
        primary_region = primary.status.primary_region
        rotation = primary.status.rotation
        if objects.get_key(tx, desired.region, key_id) is not None:
            raise AlreadyExists(f"{key_arn(desired.region, account, key_id)} already exists")
        to_import = primary.status if primary.spec.origin is Origin.EXTERNAL else None
    status = KeyStatus(
        key_id=key_id,
        arn=key_arn(desired.region, account, key_id),
        created_at=now,
        rotation=rotation,
        primary_region=primary_region,
        adopts=adopts,
    )
    if to_import is not None:
        status = shared(status, to_import)
    created = objects.insert(
        tx,
        now=now,
        kind=Kind.KEY,
        uid=uid,
        name=name or (key_id if desired.replica_of is None else f"{key_id}.{desired.region}"),
        spec=desired,
        status=status,
        spec_set=spec_set,
        finalizers=(MATERIAL_FINALIZER,),
    )
    if desired.xks_key_id is not None:
        externalkeys.take(tx, key_store=desired.key_store, external_id=desired.xks_key_id, uid=uid, asked=asked)
    return cast(Key, created)


def taking_over(tx: sqlite3.Connection, key_store: str, theirs: str) -> bool:
    """Whether a key of the store is about to take over what the store calls ``theirs``."""
    told = f'"adopts":{msgspec.json.encode(theirs).decode()}'
    rows = tx.execute(
        f"SELECT {objects.COLUMNS} FROM objects WHERE key_store = ? AND instr(CAST(status AS TEXT), ?)",
        (key_store, told),
    )
    found = [cast(Key, objects.decode(row)) for row in rows]
    return any(key.status.adopts == theirs and not key.status.materials for key in found)


def state(tx: sqlite3.Connection, key: Key) -> KeyState:
    """The key's state in this transaction, for a caller that has no catalog."""
    store = cast("KeyStore | None", objects.get_named(tx, Kind.KEY_STORE, key.spec.key_store))
    return key_state(key, store.status.connection if store else ConnectionState.DISCONNECTED)


def _replicable(tx: sqlite3.Connection, name: str) -> Key:
    """The multi-Region primary key of this name. Raises if there is none, or none that can be replicated."""
    primary = cast("Key | None", objects.get_named(tx, Kind.KEY, name))
    if primary is None:
        raise NotFound(f"there is no Key {name} to replicate")
    if not primary.spec.multi_region or is_replica(primary):
        raise Unsupported(f"{primary.status.arn} is not a multi-Region primary key.")
    if primary.metadata.deletion is not None:
        raise InvalidState(f"{primary.status.arn} is pending deletion.")
    return primary


def change(
    tx: sqlite3.Connection, uid: str, now: datetime, *, manager: str = KMS, by: str = "", **fields: object
) -> Key:
    """Change fields of the desired state, by their Python names, through the API that ``manager`` is.

    If the key is a spec set's, the API holds the fields from then on (``domain.ownership``).
    """
    key = cast(Key, objects.require(tx, uid))
    changed = put_spec(tx, key, msgspec.structs.replace(key.spec, **fields), now)
    if key.metadata.spec_set is not None:
        claims.note(tx, uid, key.spec, changed.spec, manager=manager, by=by, now=now)
    return changed


def put_spec(tx: sqlite3.Connection, key: Key, spec: DesiredKey, now: datetime, *, spec_set: str | None = None) -> Key:
    """Give a key its new desired state, and what follows from it at once (when it and its replicas rotate)."""
    uid = key.metadata.uid
    if is_replica(key):
        return cast(Key, objects.replace(tx, uid, now=now, spec=spec, spec_set=spec_set))
    rotation = rotation_schedule(key.spec.rotation, spec.rotation, key.status.rotation, now)
    status = msgspec.structs.replace(key.status, rotation=rotation)
    if rotation != key.status.rotation:
        _share_rotation(tx, key, rotation, now)
    return cast(Key, objects.replace(tx, uid, now=now, spec=spec, status=status, spec_set=spec_set))


def rename(tx: sqlite3.Connection, key: Key, name: str, now: datetime) -> Key:
    """Give a key another name. Its uid, key id and ARN stay; what names it (replicas, XKS proxies) follows."""
    former = key.metadata.name
    renamed = cast(Key, objects.replace(tx, key.metadata.uid, now=now, name=name))
    for other in objects.related_keys(tx, key.status.key_id):
        if other.spec.replica_of == former:
            spec = msgspec.structs.replace(other.spec, replica_of=name)
            objects.replace(tx, other.metadata.uid, now=now, spec=spec)
    for proxy in objects.page(tx, Kind.XKS_PROXY):
        if isinstance(proxy, XksProxy) and any(each.key == former for each in proxy.spec.keys.values()):
            exposed = {
                external: msgspec.structs.replace(each, key=name) if each.key == former else each
                for external, each in proxy.spec.keys.items()
            }
            objects.replace(tx, proxy.metadata.uid, now=now, spec=msgspec.structs.replace(proxy.spec, keys=exposed))
    return renamed


def check_rotates(key: Key, *, automatic: bool = False) -> None:
    """Raise :class:`Unsupported` unless keys of this kind rotate on demand, or automatically."""
    if not rotates(key.spec, on_demand=not automatic):
        raise Unsupported(
            f"{key.status.arn} has key spec {key.spec.key_spec} and origin {key.spec.origin}, "
            "for which this operation is not supported."
        )


def check_rotates_itself(key: Key, *, automatic: bool = False) -> None:
    """The same, and that it is no replica: those follow their primary key."""
    check_rotates(key, automatic=automatic)
    if is_replica(key):
        raise Unsupported(
            f"{key.status.arn} is a replica key: it rotates with its primary key in {key.status.primary_region}."
        )


def request_rotation(tx: sqlite3.Connection, uid: str, now: datetime) -> Key:
    """Ask for a rotation now; the reconciler carries it out (API reference: RotateKeyOnDemand).

    Raises :class:`Conflict` while one is under way or an automatic one is about to be, :class:`LimitExceeded` after 25
    of them, :class:`InvalidState` for a key whose next material has to be imported first.
    """
    key = cast(Key, objects.require(tx, uid))
    check_rotates_itself(key)
    rotation = key.status.rotation
    if rotation.requested_at is not None:
        raise Conflict(f"An on-demand rotation of {key.status.arn} is in progress.")
    if rotates_soon(rotation, now):
        raise Conflict(f"An automatic rotation of {key.status.arn} is in progress, or begins in the next 20 minutes.")
    if rotation.on_demand >= MAX_ROTATIONS_ON_DEMAND:
        raise LimitExceeded(
            "The on-demand rotations limit has been reached for the given keyId. No more on-demand rotations can be "
            f"performed for this key: {key.status.arn}"
        )
    if key.spec.origin is Origin.EXTERNAL and key.status.pending is None:
        raise InvalidState(f"{key.status.arn} has no key material pending rotation: import new key material first.")
    rotation = msgspec.structs.replace(rotation, requested_at=now)
    _share_rotation(tx, key, rotation, now)
    status = msgspec.structs.replace(key.status, rotation=rotation)
    return cast(Key, objects.replace(tx, uid, now=now, status=status, requested=True))


def move_primary(tx: sqlite3.Connection, uid: str, region: str, now: datetime) -> Key:
    """Make the replica key in ``region`` the primary key; the former primary becomes a replica. The new primary.

    What primary keys alone decide (rotation) goes with it. Source: API reference, UpdatePrimaryRegion.
    Raises :class:`NotFound` if there is no replica in ``region``.
    """
    former = cast(Key, objects.require(tx, uid))
    related = objects.related_keys(tx, former.status.key_id)
    chosen = next((key for key in related if key.spec.region == region), None)
    if chosen is None:
        raise NotFound(f"{former.status.arn} has no replica key in {region}.")
    if chosen.metadata.deletion is not None:
        raise InvalidState(f"{chosen.status.arn} is pending deletion.")
    if chosen.status.current is None and chosen.spec.origin is not Origin.EXTERNAL:
        raise InvalidState(f"{chosen.status.arn} is creating.")
    for key in related:
        is_chosen = key.metadata.uid == chosen.metadata.uid
        spec = msgspec.structs.replace(
            key.spec,
            replica_of=None if is_chosen else chosen.metadata.name,
            rotation=former.spec.rotation if is_chosen else RotationSpec(),
        )
        status = msgspec.structs.replace(key.status, primary_region=region)
        objects.replace(tx, key.metadata.uid, now=now, spec=spec, status=status)
    message = f"it is the primary key now; {former.status.arn} is a replica of it"
    events.record(tx, chosen, EventReason.PRIMARY_MOVED, message, now)
    return cast(Key, objects.require(tx, chosen.metadata.uid))


def make_primary(tx: sqlite3.Connection, uid: str, now: datetime) -> Key:
    """The same, asked of the replica key. Raises :class:`Unsupported` for a key that is none."""
    key = cast(Key, objects.require(tx, uid))
    primary = primary_of(objects.related_keys(tx, key.status.key_id))
    if not is_replica(key) or primary is None:
        raise Unsupported(f"{key.status.arn} is not a multi-Region replica key.")
    return move_primary(tx, primary.metadata.uid, key.spec.region or "", now)


def release_primary(tx: sqlite3.Connection, key_id: str, now: datetime) -> None:
    """After a key is gone: let the window of its primary begin, if that waited for its last replica."""
    related = objects.related_keys(tx, key_id)
    if len(related) != 1 or is_replica(related[0]):
        return
    waiting = related[0].metadata.deletion
    if waiting is not None and waiting.due_at is None:
        begun = msgspec.structs.replace(waiting, due_at=now + timedelta(days=waiting.window_days))
        objects.replace(tx, related[0].metadata.uid, now=now, deletion=begun)


def _share_rotation(tx: sqlite3.Connection, primary: Key, rotation: RotationStatus, now: datetime) -> None:
    """Replica keys show when their primary key rotates."""
    for replica in objects.related_keys(tx, primary.status.key_id) if primary.spec.multi_region else ():
        if is_replica(replica):
            status = msgspec.structs.replace(replica.status, rotation=rotation)
            objects.replace(tx, replica.metadata.uid, now=now, status=status)


def schedule_deletion(
    tx: sqlite3.Connection, uid: str, *, window_days: int, by: str, now: datetime, spec_set: str | None = None
) -> Key:
    """Start the waiting period; ``spec_set`` if it is because the key left its set.

    Raises :class:`Blocked` for a protected key, :class:`InvalidState` if it runs.
    """
    key = cast(Key, objects.require(tx, uid))
    if key.spec.deletion.protect:
        raise Blocked(
            f"{key.status.arn} is protected (deletion.protect: true); lift the protection by an apply of its own first"
        )
    if key.metadata.deletion is not None:
        raise InvalidState(f"{key.status.arn} is pending deletion.")
    people.forget_refused_uses(tx, uid)
    waits = not is_replica(key) and len(objects.related_keys(tx, key.status.key_id)) > 1
    request = deletion_request(now, window_days, by, waits_for_replicas=waits)
    request = msgspec.structs.replace(request, spec_set=spec_set)
    scheduled = cast(Key, objects.replace(tx, uid, now=now, deletion=request))
    assert scheduled.metadata.deletion is not None
    message = f"{by} scheduled it for deletion; it is destroyed {due_words(scheduled.metadata.deletion)}"
    events.record(tx, scheduled, EventReason.DELETION_SCHEDULED, message, now)
    return scheduled


def withdraw(tx: sqlite3.Connection, uid: str, *, by: str, now: datetime) -> Key | None:
    """Take back a key that ``by`` asked for and was told failed. The key, unchanged, if it has been made after all.

    Where nothing was made, the key is gone with this transaction. Where its key store may have made something (a call
    is under way, or its outcome is not known), the key is due for deletion at once: the reconciler finds out, destroys
    what there is and removes the key, so nothing is left in the device that nobody knows of. A key that was to take
    over what is in the device stays then: that is not ours to destroy.
    """
    key = cast("Key | None", objects.get(tx, uid))
    if key is None or key.status.materials:
        return key
    if attempts.find_open(tx, uid) is None:
        take_out(tx, key, now)
    elif key.status.adopts is None and key.metadata.deletion is None:
        due = DeletionRequest(requested_at=now, due_at=now, window_days=0, requested_by=by)
        objects.replace(tx, uid, now=now, deletion=due)
    return None


def take_out(tx: sqlite3.Connection, key: Key, now: datetime) -> None:
    """Remove a key that has no material any more, or has none yet."""
    uid = key.metadata.uid
    left = tuple(name for name in key.metadata.finalizers if name != MATERIAL_FINALIZER)
    objects.replace(tx, uid, now=now, finalizers=left)
    objects.remove(tx, uid)
    release_primary(tx, key.status.key_id, now)


def cancel_deletion(tx: sqlite3.Connection, uid: str, *, by: str, now: datetime) -> Key:
    """End the waiting period; the key is disabled afterwards (API reference: CancelKeyDeletion).

    Raises :class:`InvalidState` if none runs, or if it has passed: destruction may have begun then.
    """
    key = cast(Key, objects.require(tx, uid))
    if key.metadata.deletion is None:
        raise InvalidState(f"{key.status.arn} is not pending deletion.")
    # The attempt is asked too: the moment at which the caller asked may lie before the one at which destruction began.
    if deletion_due(key.metadata.deletion, now) or attempts.destruction_began(tx, uid):
        raise InvalidState(f"{key.status.arn} is being destroyed: its waiting period has passed.")
    people.forget_refused_uses(tx, uid)
    events.record(tx, key, EventReason.DELETION_CANCELLED, f"{by} cancelled its deletion; it is disabled", now)
    spec = msgspec.structs.replace(key.spec, enabled=False)
    return cast(Key, objects.replace(tx, uid, now=now, spec=spec, deletion=None))
