"""Carry out a plan: all of it in one transaction, or none.

Who calls it: the reconciliation API. Guarantees: a plan is refused when it has expired, was applied, has a blocked
change, or when anything it touches moved since it was made; deletions are scheduled, nothing is destroyed here.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final, Protocol, cast

import msgspec

from controlplane.domain import lifecycle
from controlplane.domain.names import principal_arn
from controlplane.domain.ownership import API, merged, set_manager
from controlplane.domain.schedule import deletion_request
from controlplane.errors import AlreadyExists, Blocked, KeyStoreNotFound, NotFound, StalePlan
from controlplane.planning.planner import Desire, Draft
from controlplane.schema.keys import DesiredKey, Management
from controlplane.schema.keystores import DesiredKeyStore
from controlplane.schema.meta import SPEC_TYPES, AnyObject, Key, Kind
from controlplane.schema.plans import Action, Applied, AppliedObject, Plan, PlannedChange, PlanReason
from controlplane.schema.principals import PrincipalStatus
from controlplane.schema.xksproxies import DesiredXksProxy, XksProxyStatus
from controlplane.store import claims, credentials, keys, keystores, objects, plans, renaming
from controlplane.store.database import Tx
from plugins.sdk import CallInfo


class Desires(Protocol):
    """What objects are to be."""

    def get(self, of: tuple[Kind, str], /) -> Desire | None: ...


class _StoredDesire(msgspec.Struct):
    kind: Kind
    name: str
    spec: msgspec.Raw
    stated: msgspec.Raw


class _Change(msgspec.Struct, frozen=True, rename="camel"):
    """A change as a plan was stored with it, but for its fields, which an apply does not need: at 100,000 keys they
    are most of the memory.
    """

    action: Action
    kind: Kind
    name: str
    reason: PlanReason
    message: str = ""
    uid: str | None = None
    generation: int = 0
    owner: str | None = None
    window_days: int | None = None


class _StoredChanges(msgspec.Struct, frozen=True, rename="camel"):
    id: str
    spec_set: str
    expires_at: datetime
    changes: tuple[_Change, ...]
    takes_ownership: bool = False


AnyChange = PlannedChange | _Change

# Made here and not when they are first used: msgspec learns a type when it makes its decoder, and two threads that do
# so at once end the process.
_decode_plan = msgspec.json.Decoder(Plan).decode
_decode_changes = msgspec.json.Decoder(_StoredChanges).decode
_decode_desires = msgspec.json.Decoder(list[_StoredDesire]).decode
_decode_stated = msgspec.json.Decoder(dict[str, Any]).decode
_DECODE_SPEC: Final = {kind: msgspec.json.Decoder(spec).decode for kind, spec in SPEC_TYPES.items()}


class _Kept:
    """Desires of a stored plan, each decoded when it is asked for."""

    def __init__(self, stored: bytes) -> None:
        self._kept = {(each.kind, each.name): each for each in _decode_desires(stored)}

    def get(self, of: tuple[Kind, str], /) -> Desire | None:
        kept = self._kept.get(of)
        if kept is None:
            return None
        return Desire(kept.kind, kept.name, _DECODE_SPEC[kept.kind](kept.spec), _decode_stated(kept.stated))


class _Author(msgspec.Struct, frozen=True):
    """Who writes: for the set ``spec_set`` (none: for nobody, through the API), and which principal."""

    account: str
    spec_set: str | None
    claims: bool
    takes: bool
    by: str
    now: datetime


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
    return _decode_plan(_stored(tx, plan_id).plan)


def touched(tx: Tx, plan_id: str) -> tuple[str, list[str]]:
    """The spec set of a stored plan, and what it changes as ``Kind/NAME``. Raises :class:`NotFound`."""
    plan = _decode_changes(_stored(tx, plan_id).plan)
    return plan.spec_set, [f"{change.kind}/{change.name}" for change in plan.changes]


def apply_stored(tx: Tx, plan_id: str, *, account: str, by: str, now: datetime) -> Applied:
    """Apply a stored plan once."""
    stored = _stored(tx, plan_id)
    plan = _decode_changes(stored.plan)
    if stored.applied_at is not None:
        raise StalePlan(f"plan {plan_id} was applied already; plan again to see what is left")
    if now >= plan.expires_at:
        raise StalePlan(f"plan {plan_id} expired at {plan.expires_at.isoformat()}; plan again")
    author = _Author(account, plan.spec_set or None, claims=True, takes=plan.takes_ownership, by=by, now=now)
    written = _carry_out(tx, plan.changes, _Kept(stored.desired), author)
    plans.mark_applied(tx, plan_id, now)
    return Applied(plan_id=plan.id, spec_set=plan.spec_set, objects=written)


def apply_draft(tx: Tx, draft: Draft, *, account: str, by: str, now: datetime) -> Applied:
    """Apply a plan that was made in this transaction and shown to nobody (put of one object)."""
    desired = {(desire.kind, desire.name): desire for desire in draft.desires}
    author = _Author(account, draft.plan.spec_set or None, claims=False, takes=False, by=by, now=now)
    written = _carry_out(tx, draft.plan.changes, desired, author)
    return Applied(plan_id=draft.plan.id, spec_set=draft.plan.spec_set, objects=written)


def _stored(tx: Tx, plan_id: str) -> plans.StoredPlan:
    stored = plans.get(tx, plan_id)
    if stored is None:
        raise NotFound(f"there is no plan {plan_id} on this server; plans are kept for a day after they expire")
    return stored


def _carry_out(tx: Tx, changes: Sequence[AnyChange], desired: Desires, author: _Author) -> tuple[AppliedObject, ...]:
    """Write every change of a plan."""
    blocked = [change for change in changes if change.action is Action.BLOCKED]
    if blocked:
        raise Blocked("; ".join(f"{change.kind} {change.name}: {change.message}" for change in blocked[:10]))
    for change, present in _fresh(tx, changes):
        desire = desired.get((change.kind, change.name)) if isinstance(present, Key) else None
        if isinstance(present, Key) and desire is not None and isinstance(desire.spec, DesiredKey):
            # Aliases may move between keys of one plan: release them all before any is taken.
            let_go = sorted(set(present.spec.aliases) - set(desire.spec.aliases))
            objects.release_aliases(tx, present.metadata.uid, let_go)
    administrators = credentials.administrators(tx)
    written = []
    # Key stores first, so that keys find theirs, then replicas behind their primaries; removals last.
    for change in sorted(changes, key=lambda change: _order(change, desired)):
        try:
            done = _write(tx, change, desired.get((change.kind, change.name)), author)
        except AlreadyExists as error:  # the names were looked at above, so this is an alias
            raise StalePlan(f"{error.message} since this plan; plan again") from None
        written.append(
            AppliedObject(
                kind=done.kind, name=done.metadata.name, uid=done.metadata.uid, generation=done.metadata.generation
            )
        )
    credentials.keep_an_administrator(administrators, credentials.administrators(tx))
    return tuple(written)


def _order(change: AnyChange, desired: Desires) -> tuple[bool, bool, bool]:
    desire = desired.get((change.kind, change.name))
    removal = change.action in (Action.SCHEDULE_DELETION, Action.DELETE, Action.FORGET)
    replica = desire is not None and isinstance(desire.spec, DesiredKey) and desire.spec.replica_of is not None
    return removal, change.kind is not Kind.KEY_STORE, replica


def _fresh(tx: Tx, changes: Sequence[AnyChange]) -> Iterator[tuple[AnyChange, AnyObject]]:
    """The objects that a plan touches. Raises :class:`StalePlan` if one moved since the plan was made."""
    for change in changes:
        if change.uid is None:
            if objects.get_named(tx, change.kind, change.name) is not None:
                raise StalePlan(f"{change.kind} {change.name} was made since this plan; plan again")
            continue
        present = objects.get(tx, change.uid)
        if present is None:
            raise StalePlan(f"{change.kind} {change.name} is gone since this plan; plan again")
        if (present.metadata.generation, present.metadata.spec_set) != (change.generation, change.owner):
            raise StalePlan(f"{change.kind} {change.name} was changed since this plan; plan again")
        yield change, present


def _write(tx: Tx, change: AnyChange, desire: Desire | None, author: _Author) -> AnyObject:
    now = author.now
    if change.action in (Action.SCHEDULE_DELETION, Action.DELETE):
        if change.kind is Kind.KEY_STORE and objects.count(tx, Kind.KEY, key_store=change.name):
            raise StalePlan(f"a key was made in KeyStore {change.name} since this plan; plan again")
        return remove(tx, change, author.by, now, spec_set=author.spec_set)
    if change.action is Action.CREATE:
        assert desire is not None
        made = _create(tx, desire, author)
        _claim(tx, made, desire, author)
        return made
    assert change.uid is not None
    present = objects.require(tx, change.uid)
    if change.action is Action.FORGET:
        return forget(tx, present, author.spec_set or "", now)
    if change.reason is PlanReason.RELEASED:
        return _release(tx, present, author)
    assert desire is not None
    return _update(tx, present, desire, change, author)


def _update(tx: Tx, present: AnyObject, desire: Desire, change: AnyChange, author: _Author) -> AnyObject:
    """Give an object its new spec, name and owner, and write down who states what of it."""
    uid, now, spec = present.metadata.uid, author.now, desire.spec
    settled = not claims.unsure(tx, uid)
    spec_set = author.spec_set if change.action is Action.ADOPT or not present.metadata.spec_set else None
    if present.metadata.name != change.name:
        present = renaming.rename(tx, present, change.name, now)
    if isinstance(spec, DesiredKey):
        done: AnyObject = keys.put_spec(tx, cast(Key, present), spec, now, spec_set=spec_set)
    else:
        done = objects.replace(tx, uid, now=now, spec=spec, spec_set=spec_set)
    if not author.claims:
        if present.metadata.spec_set is not None:
            claims.note(tx, uid, present.spec, done.spec, manager=API, by=author.by, now=now)
        return done
    if done.metadata.resource_version == present.metadata.resource_version:
        objects.touch(tx, uid)  # what is stated of it changes, and whoever watches it hears of that
    if settled:  # what others state was left as it is, so it is still seen to be so
        claims.seen(tx, uid, done.metadata.generation)
    _claim(tx, done, desire, author)
    return done


def _claim(tx: Tx, done: AnyObject, desire: Desire, author: _Author) -> None:
    if not author.claims or author.spec_set is None:
        return
    uid, manager = done.metadata.uid, set_manager(author.spec_set)
    observed = desire.spec.management is Management.OBSERVE
    generation = 0 if observed else done.metadata.generation  # what is only observed may differ from what is stated
    claims.put(tx, uid, manager, desire.stated, generation=generation, by=author.by, now=author.now)
    claims.take(tx, uid, manager, set(desire.stated), from_sets=author.takes)


def _release(tx: Tx, present: AnyObject, author: _Author) -> AnyObject:
    """Let go of what the set states of another owner's object."""
    uid, manager = present.metadata.uid, set_manager(author.spec_set or "")
    kept = [each.claim for each in claims.of(tx, uid)]
    own = next((claim for claim in kept if claim.manager == manager), None)
    others = [claim for claim in kept if claim.manager != manager]
    spec = merged(present.kind, present.spec, {}, own.leaves if own else {}, others)
    settled = not claims.unsure(tx, uid)
    if isinstance(spec, DesiredKey):
        done: AnyObject = keys.put_spec(tx, cast(Key, present), spec, author.now)
    else:
        done = objects.replace(tx, uid, now=author.now, spec=spec)
    claims.drop(tx, uid, manager)
    if settled:
        claims.seen(tx, uid, done.metadata.generation)
    return done


def forget(tx: Tx, present: AnyObject, spec_set: str, now: datetime) -> AnyObject:
    """Have a set let go of an object, which stays as it is."""
    claims.drop(tx, present.metadata.uid, set_manager(spec_set))
    return objects.replace(tx, present.metadata.uid, now=now, release=present.metadata.spec_set == spec_set)


def _create(tx: Tx, desire: Desire, author: _Author) -> AnyObject:
    spec, spec_set, now = desire.spec, author.spec_set, author.now
    if isinstance(spec, DesiredKey):
        # An external key's manager hears of the making as of a request of whoever applies.
        asked = CallInfo("CreateKey", author.by, str(uuid.uuid4()))
        try:
            return keys.create(
                tx, desired=spec, account=author.account, now=now, name=desire.name, spec_set=spec_set, asked=asked
            )
        except KeyStoreNotFound as error:
            raise StalePlan(f"{error.message} since the plan of Key {desire.name}; plan again") from None
    if isinstance(spec, DesiredKeyStore):
        return keystores.create(tx, name=desire.name, spec=spec, now=now, spec_set=spec_set)
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
        status=PrincipalStatus(arn=principal_arn(author.account, spec.type, desire.name), created_at=now),
        spec_set=spec_set,
    )


def remove(tx: Tx, change: AnyChange, by: str, now: datetime, *, spec_set: str | None = None) -> AnyObject:
    """Take one object out: a key and a key store by a deletion request that the reconciler carries out."""
    uid = change.uid
    assert uid is not None
    if change.kind is Kind.KEY:
        assert change.window_days is not None
        key = cast(Key, objects.require(tx, uid))
        if refused := lifecycle.refusal("ScheduleKeyDeletion", keys.state(tx, key), key.status.arn):
            raise StalePlan(f"{refused.message.rstrip('.')} since this plan; plan again")
        return keys.schedule_deletion(tx, uid, window_days=change.window_days, by=by, now=now, spec_set=spec_set)
    if change.kind is Kind.KEY_STORE:
        request = msgspec.structs.replace(deletion_request(now, 7, by), due_at=now, window_days=0)
        return objects.replace(tx, uid, now=now, deletion=request)
    gone, administrators = objects.require(tx, uid), credentials.administrators(tx)
    objects.remove(tx, uid)
    credentials.keep_an_administrator(administrators, credentials.administrators(tx))
    return gone
