"""Carry out a plan: all of it in one transaction, or none.

Who calls it: the reconciliation API. Guarantees: a plan is refused when it has expired, was applied, has a blocked
change, or when anything it touches moved since it was made; deletions are scheduled, nothing is destroyed here.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import cast

import msgspec

from controlplane.domain import lifecycle
from controlplane.domain.names import principal_arn
from controlplane.domain.schedule import deletion_request
from controlplane.errors import AlreadyExists, Blocked, NotFound, StalePlan
from controlplane.planning.planner import Desire, Draft
from controlplane.schema.keys import DesiredKey
from controlplane.schema.keystores import DesiredKeyStore, KeyStoreStatus
from controlplane.schema.meta import CONNECTION_FINALIZER, SPEC_TYPES, AnyObject, Desired, Key, Kind
from controlplane.schema.plans import Action, Applied, AppliedObject, Plan, PlannedChange
from controlplane.schema.principals import PrincipalStatus
from controlplane.schema.xksproxies import DesiredXksProxy, XksProxyStatus
from controlplane.store import credentials, keys, objects, plans
from controlplane.store.database import Tx


class _StoredDesire(msgspec.Struct):
    kind: Kind
    name: str
    spec: msgspec.Raw


def keep(tx: Tx, draft: Draft) -> None:
    """Store a plan until it is applied or expires."""
    touched = {(change.kind, change.name) for change in draft.plan.changes}
    desires = [desire for desire in draft.desires if (desire.kind, desire.name) in touched]
    plan = draft.plan
    plans.put(
        tx,
        plans.StoredPlan(
            id=plan.id,
            spec_set=plan.spec_set,
            created_at=plan.created_at.timestamp(),
            expires_at=plan.expires_at.timestamp(),
            applied_at=None,
            plan=msgspec.json.encode(plan),
            desired=msgspec.json.encode(desires),
        ),
    )


def load(tx: Tx, plan_id: str) -> Plan:
    """A stored plan, or :class:`NotFound`."""
    stored = plans.get(tx, plan_id)
    if stored is None:
        raise NotFound(f"there is no plan {plan_id} on this server; plans are kept for a day after they expire")
    return msgspec.json.decode(stored.plan, type=Plan)


def apply_stored(tx: Tx, plan_id: str, *, account: str, by: str, now: datetime) -> Applied:
    """Apply a stored plan once."""
    plan = load(tx, plan_id)
    stored = plans.get(tx, plan_id)
    assert stored is not None
    if stored.applied_at is not None:
        raise StalePlan(f"plan {plan_id} was applied already; plan again to see what is left")
    if now >= plan.expires_at:
        raise StalePlan(f"plan {plan_id} expired at {plan.expires_at.isoformat()}; plan again")
    desired = {
        (each.kind, each.name): msgspec.json.decode(each.spec, type=SPEC_TYPES[each.kind])
        for each in msgspec.json.decode(stored.desired, type=list[_StoredDesire])
    }
    applied = carry_out(tx, plan, desired, account=account, by=by, now=now)
    plans.mark_applied(tx, plan_id, now)
    return applied


def apply_draft(tx: Tx, draft: Draft, *, account: str, by: str, now: datetime) -> Applied:
    """Apply a plan that was made in this transaction and shown to nobody (put of one object)."""
    desired = {(desire.kind, desire.name): desire.spec for desire in draft.desires}
    return carry_out(tx, draft.plan, desired, account=account, by=by, now=now)


def carry_out(
    tx: Tx,
    plan: Plan,
    desired: Mapping[tuple[Kind, str], Desired],
    *,
    account: str,
    by: str,
    now: datetime,
) -> Applied:
    """Write every change of the plan."""
    blocked = [change for change in plan.changes if change.action is Action.BLOCKED]
    if blocked:
        raise Blocked("; ".join(f"{change.kind} {change.name}: {change.message}" for change in blocked[:10]))
    live = dict(_fresh(tx, plan))
    for change in plan.changes:
        present, spec = live.get(change.name), desired.get((change.kind, change.name))
        if change.action is Action.UPDATE and isinstance(present, Key) and isinstance(spec, DesiredKey):
            # Aliases may move between keys of one plan: release them all before any is taken.
            objects.release_aliases(tx, present.metadata.uid, sorted(set(present.spec.aliases) - set(spec.aliases)))
    administrators = credentials.administrators(tx)
    written = []
    # Key stores first, so that keys find theirs, then replicas behind their primaries; removals last.
    for change in sorted(plan.changes, key=lambda change: _order(change, desired)):
        try:
            done = _write(tx, change, desired.get((change.kind, change.name)), plan.spec_set, account, by, now)
        except AlreadyExists as error:  # the names were looked at above, so this is an alias
            raise StalePlan(f"{error.message} since this plan; plan again") from None
        written.append(
            AppliedObject(
                kind=done.kind, name=done.metadata.name, uid=done.metadata.uid, generation=done.metadata.generation
            )
        )
    credentials.keep_an_administrator(administrators, credentials.administrators(tx))
    return Applied(plan_id=plan.id, spec_set=plan.spec_set, objects=tuple(written))


def _order(change: PlannedChange, desired: Mapping[tuple[Kind, str], Desired]) -> tuple[bool, bool, bool]:
    spec = desired.get((change.kind, change.name))
    removal = change.action in (Action.SCHEDULE_DELETION, Action.DELETE)
    replica = isinstance(spec, DesiredKey) and spec.replica_of is not None
    return removal, change.kind is not Kind.KEY_STORE, replica


def _fresh(tx: Tx, plan: Plan) -> Iterator[tuple[str, AnyObject]]:
    """The objects that a plan touches. Raises :class:`StalePlan` if one moved since the plan was made."""
    for change in plan.changes:
        present = objects.get_named(tx, change.kind, change.name)
        if change.action is Action.CREATE:
            if present is not None:
                raise StalePlan(f"{change.kind} {change.name} was made since this plan; plan again")
        elif present is None or present.metadata.uid != change.uid:
            raise StalePlan(f"{change.kind} {change.name} is gone since this plan; plan again")
        elif present.metadata.generation != change.generation or (present.metadata.spec_set or "") != plan.spec_set:
            raise StalePlan(f"{change.kind} {change.name} was changed since this plan; plan again")
        if present is not None and change.kind is Kind.KEY:
            yield change.name, present


def _write(
    tx: Tx,
    change: PlannedChange,
    spec: Desired | None,
    spec_set: str,
    account: str,
    by: str,
    now: datetime,
) -> AnyObject:
    if change.action in (Action.SCHEDULE_DELETION, Action.DELETE):
        if change.kind is Kind.KEY_STORE and objects.count(tx, Kind.KEY, key_store=change.name):
            raise StalePlan(f"a key was made in KeyStore {change.name} since this plan; plan again")
        return remove(tx, change, by, now)
    assert spec is not None
    if change.action is Action.UPDATE:
        assert change.uid is not None
        if isinstance(spec, DesiredKey):
            key = cast(Key, objects.require(tx, change.uid))
            return keys.put_spec(tx, key, spec, now, spec_set=spec_set or None)
        return objects.replace(tx, change.uid, now=now, spec=spec, spec_set=spec_set or None)
    desire = Desire(change.kind, change.name, spec)
    return _create(tx, desire, spec_set or None, account, now)


def _create(tx: Tx, desire: Desire, spec_set: str | None, account: str, now: datetime) -> AnyObject:
    spec = desire.spec
    if isinstance(spec, DesiredKey):
        store = objects.get_named(tx, Kind.KEY_STORE, spec.key_store)
        if store is None or store.metadata.deletion is not None:
            raise StalePlan(f"KeyStore {spec.key_store} of Key {desire.name} is gone since this plan; plan again")
        return keys.create(tx, desired=spec, account=account, now=now, name=desire.name, spec_set=spec_set)
    if isinstance(spec, DesiredKeyStore):
        return objects.insert(
            tx,
            now=now,
            kind=Kind.KEY_STORE,
            uid=str(uuid.uuid4()),
            name=desire.name,
            spec=spec,
            status=KeyStoreStatus(created_at=now),
            spec_set=spec_set,
            finalizers=(CONNECTION_FINALIZER,),
        )
    if isinstance(spec, DesiredXksProxy):
        return objects.insert(
            tx,
            now=now,
            kind=Kind.XKS_PROXY,
            uid=str(uuid.uuid4()),
            name=desire.name,
            spec=spec,
            status=XksProxyStatus(created_at=now),
            spec_set=spec_set,
        )
    return objects.insert(
        tx,
        now=now,
        kind=Kind.PRINCIPAL,
        uid=str(uuid.uuid4()),
        name=desire.name,
        spec=spec,
        status=PrincipalStatus(arn=principal_arn(account, spec.type, desire.name), created_at=now),
        spec_set=spec_set,
    )


def remove(tx: Tx, change: PlannedChange, by: str, now: datetime) -> AnyObject:
    """Take one object out: a key and a key store by a deletion request that the reconciler carries out."""
    uid = change.uid
    assert uid is not None
    if change.kind is Kind.KEY:
        assert change.window_days is not None
        key = cast(Key, objects.require(tx, uid))
        if refused := lifecycle.refusal("ScheduleKeyDeletion", keys.state(tx, key), key.status.arn):
            raise StalePlan(f"{refused.message.rstrip('.')} since this plan; plan again")
        return keys.schedule_deletion(tx, uid, window_days=change.window_days, by=by, now=now)
    if change.kind is Kind.KEY_STORE:
        request = msgspec.structs.replace(deletion_request(now, 7, by), due_at=now, window_days=0)
        return objects.replace(tx, uid, now=now, deletion=request)
    gone, administrators = objects.require(tx, uid), credentials.administrators(tx)
    objects.remove(tx, uid)
    credentials.keep_an_administrator(administrators, credentials.administrators(tx))
    return gone
