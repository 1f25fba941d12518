"""How a key comes to be in the store and how what is wanted of it changes; the only code that writes keys' desired
state.

Who calls it: the apply of a plan and the imperative doors, inside their transactions. Guarantee: whoever asks, a key is
born the same way (uid, key id, ARN, finalizer) and its deletion follows the same rules.
"""

from __future__ import annotations

import sqlite3
import uuid
from datetime import datetime
from typing import cast

import msgspec

from controlplane.domain.lifecycle import key_state
from controlplane.domain.names import key_arn, new_key_id
from controlplane.domain.schedule import deletion_due, deletion_request, due_words, rotation_schedule
from controlplane.errors import Blocked, InvalidState
from controlplane.schema.events import EventReason
from controlplane.schema.keys import DesiredKey, KeyState, KeyStatus, RotationSpec, RotationStatus
from controlplane.schema.keystores import ConnectionState
from controlplane.schema.meta import MATERIAL_FINALIZER, Key, KeyStore, Kind
from controlplane.store import attempts, events, objects, people


def create(
    tx: sqlite3.Connection,
    *,
    desired: DesiredKey,
    account: str,
    now: datetime,
    name: str | None = None,
    spec_set: str | None = None,
) -> Key:
    """A new key without material; the reconciler makes that. ``desired`` is complete (``domain.capabilities``).

    A key that was not declared is named by its key id. Raises :class:`AlreadyExists` for a name or alias that is taken.
    """
    assert desired.region is not None
    uid = str(uuid.uuid4())
    key_id = new_key_id(uid, multi_region=desired.multi_region)
    status = KeyStatus(
        key_id=key_id,
        arn=key_arn(desired.region, account, key_id),
        created_at=now,
        rotation=rotation_schedule(RotationSpec(), desired.rotation, RotationStatus(), now),
        primary_region=desired.region if desired.multi_region else None,
    )
    created = objects.insert(
        tx,
        now=now,
        kind=Kind.KEY,
        uid=uid,
        name=name or key_id,
        spec=desired,
        status=status,
        spec_set=spec_set,
        finalizers=(MATERIAL_FINALIZER,),
    )
    return cast(Key, created)


def state(tx: sqlite3.Connection, key: Key) -> KeyState:
    """The key's state in this transaction, for a caller that has no catalog."""
    store = cast("KeyStore | None", objects.get_named(tx, Kind.KEY_STORE, key.spec.key_store))
    return key_state(key, store.status.connection if store else ConnectionState.DISCONNECTED)


def change(tx: sqlite3.Connection, uid: str, now: datetime, **fields: object) -> Key:
    """Change fields of the desired state, by their Python names."""
    key = cast(Key, objects.require(tx, uid))
    return put_spec(tx, key, msgspec.structs.replace(key.spec, **fields), now)


def put_spec(tx: sqlite3.Connection, key: Key, spec: DesiredKey, now: datetime, *, spec_set: str | None = None) -> Key:
    """Give a key its new desired state, and what follows from it at once (when it rotates)."""
    rotation = rotation_schedule(key.spec.rotation, spec.rotation, key.status.rotation, now)
    status = msgspec.structs.replace(key.status, rotation=rotation)
    uid = key.metadata.uid
    return cast(Key, objects.replace(tx, uid, now=now, spec=spec, status=status, spec_set=spec_set))


def schedule_deletion(tx: sqlite3.Connection, uid: str, *, window_days: int, by: str, now: datetime) -> Key:
    """Start the waiting period. Raises :class:`Blocked` for a protected key, :class:`InvalidState` if it runs."""
    key = cast(Key, objects.require(tx, uid))
    if key.spec.deletion.protect:
        raise Blocked(
            f"{key.status.arn} is protected (deletion.protect: true); lift the protection by an apply of its own first"
        )
    if key.metadata.deletion is not None:
        raise InvalidState(f"{key.status.arn} is pending deletion.")
    people.forget_refused_uses(tx, uid)
    scheduled = cast(Key, objects.replace(tx, uid, now=now, deletion=deletion_request(now, window_days, by)))
    assert scheduled.metadata.deletion is not None
    message = f"{by} scheduled it for deletion; it is destroyed at {due_words(scheduled.metadata.deletion)}"
    events.record(tx, scheduled, EventReason.DELETION_SCHEDULED, message, now)
    return scheduled


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
