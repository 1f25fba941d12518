"""Who an object belongs to, changed by hand: adopted into a set, forgotten, and what a person found in a key store.

Who calls it: the reconciliation API, in its transactions. Guarantee: nothing here touches material; a key that is
forgotten while it has none is taken out altogether, because nothing of it would be left.
"""

from __future__ import annotations

from datetime import datetime
from typing import cast

from controlplane.domain.ownership import SET_PREFIX, set_manager
from controlplane.errors import AlreadyExists, Blocked, Conflict, OwnedElsewhere
from controlplane.schema.events import EventReason
from controlplane.schema.keys import DesiredKey, KeyState
from controlplane.schema.meta import AnyObject, Key
from controlplane.store import attempts, claims, events, keys, objects, renaming
from controlplane.store.attempts import Finding
from controlplane.store.database import Tx


def adopt(tx: Tx, uid: str, spec_set: str, name: str | None, *, by: str, now: datetime) -> AnyObject:
    """Give an object that no set owns to a set, under another name if one is given. It changes nothing else.

    Raises :class:`OwnedElsewhere` for one that a set owns, :class:`AlreadyExists` for a name that is taken.
    """
    present = objects.require(tx, uid)
    owner = present.metadata.spec_set
    if owner is not None:
        raise OwnedElsewhere(
            f"{present.kind} {present.metadata.name} belongs to spec set {owner} already"
            + ("" if owner == spec_set else f"; have it let go first: keystead forget {present.metadata.name}")
        )
    if present.metadata.deletion is not None:
        raise Conflict(f"{present.kind} {present.metadata.name} is pending deletion; cancel that first")
    if name is not None and name != present.metadata.name:
        present = renaming.rename(tx, present, name, now)
    adopted = objects.replace(tx, uid, now=now, spec_set=spec_set)
    claims.put(tx, uid, set_manager(spec_set), {}, generation=adopted.metadata.generation, by=by, now=now)
    events.record(tx, adopted, EventReason.ADOPTED, f"{by} gave it to spec set {spec_set}", now)
    return adopted


def adopt_material(
    tx: Tx, desired: DesiredKey, theirs: str, name: str, spec_set: str | None, *, account: str, by: str, now: datetime
) -> Key:
    """A key that takes over material which its key store calls ``theirs``; the reconciler carries it out."""
    if keys.taking_over(tx, desired.key_store, theirs):
        raise AlreadyExists(f"{theirs} of key store {desired.key_store} is being taken over by another key")
    key = keys.create(tx, desired=desired, account=account, now=now, name=name, spec_set=spec_set, adopts=theirs)
    if spec_set is not None:
        claims.put(tx, key.metadata.uid, set_manager(spec_set), {}, generation=1, by=by, now=now)
    return key


def forget(tx: Tx, uid: str, *, by: str, now: datetime) -> AnyObject:
    """Have every set let go of an object. It stays as it is; a key that is still being made leaves.

    Raises :class:`Blocked` for a key of which it is not known whether it has material.
    """
    present = objects.require(tx, uid)
    if isinstance(present, Key) and keys.state(tx, present) is KeyState.CREATING:
        if attempts.find_open(tx, uid) is not None:
            raise Blocked(
                f"{present.status.arn} is being made now, or it is not known whether it was; look again in a moment, "
                f"or say what became of it: keystead resolve {present.metadata.name} --adopt or --abandon"
            )
        events.record(tx, present, EventReason.FORGOTTEN, f"{by} took it out before it had material", now)
        objects.replace(tx, uid, now=now, finalizers=())
        objects.remove(tx, uid)
        return present
    for kept in claims.of(tx, uid):
        if kept.claim.manager.startswith(SET_PREFIX):
            claims.drop(tx, uid, kept.claim.manager)
    if present.metadata.spec_set is not None:
        message = f"{by} took it from spec set {present.metadata.spec_set}; it stays as it is"
        events.record(tx, present, EventReason.FORGOTTEN, message, now)
    return objects.replace(tx, uid, now=now, release=True)


def resolve(tx: Tx, uid: str, finding: Finding, *, by: str, now: datetime) -> Key:
    """Write down what a person found about a call whose outcome is not known; the reconciler acts on it.

    Raises :class:`Conflict` if there is no such call.
    """
    key = cast(Key, objects.require(tx, uid))
    attempt = attempts.find_open(tx, uid)
    if attempt is None:
        raise Conflict(f"no call for {key.status.arn} is open: there is nothing to resolve")
    attempts.found(tx, attempt.id, finding)
    what = "was made and is taken over" if finding is Finding.ADOPT else "was not made; it is made anew"
    events.record(tx, key, EventReason.RESOLVED, f"{by} says that {attempt.material} {what}", now)
    return key
