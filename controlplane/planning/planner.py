"""A spec set against live objects, to a Plan. Reads only.

Who calls it: the reconciliation API. Guarantees: the plan shows exactly what :mod:`controlplane.planning.apply` writes,
because both come from ``domain.diff`` over the same completed documents; a change that cannot be made in place, that is
protected, or that belongs to another owner is ``blocked`` and says what to do instead; nothing is ever replaced.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

import msgspec

from controlplane.domain import capabilities, imports, lifecycle
from controlplane.domain.capabilities import Misfit
from controlplane.domain.diff import FieldChange, field_changes
from controlplane.domain.policy.declared import misfits as policy_misfits
from controlplane.domain.schedule import due_words
from controlplane.errors import InvalidSpec, Problem
from controlplane.schema.documents import Document, Located, check
from controlplane.schema.keys import DesiredKey, KeySpec, KeyState, KeyUsage
from controlplane.schema.keystores import STANDARD, DesiredKeyStore
from controlplane.schema.meta import AnyObject, Desired, Key, KeyStore, Kind
from controlplane.schema.plans import (
    FORMAT_VERSION,
    Action,
    Counts,
    FieldPlan,
    Plan,
    PlannedChange,
    PlanReason,
    PlanWarning,
    Waiting,
    Warned,
)
from controlplane.schema.principals import DesiredPrincipal
from controlplane.schema.xksproxies import DesiredXksProxy
from controlplane.store import credentials, externalkeys, keys, last_uses, objects
from controlplane.store.database import Tx

PLAN_LIFETIME: Final = timedelta(hours=1)
RECENTLY: Final = timedelta(hours=24)
"""A key that was used within this time and would be deleted carries a warning."""

_SECRET_WORDS: Final = ("pin", "password", "passphrase", "secret", "accesskey", "token", "credential", "apikey")
"""Ends of names of options that hold secrets, in lower case: ``userPin`` and ``clientSecret`` as well as ``pin``."""


class Desire(msgspec.Struct, frozen=True):
    """One completed document: what the object is to be."""

    kind: Kind
    name: str
    spec: Desired


class Draft(msgspec.Struct):
    """A plan in the making, with what the apply needs to carry it out."""

    plan: Plan
    desires: list[Desire]


class Surroundings(msgspec.Struct, frozen=True):
    """What a plan is made against, besides the database."""

    server_id: str
    default_region: str
    regions: Sequence[str]
    now: datetime
    plan_id: str


def make_plan(
    tx: Tx, documents: Sequence[Located], spec_set: str, around: Surroundings, *, prune: bool = True
) -> Draft:
    """Compare. Raises :class:`InvalidSpec` with every problem of the documents; changes nothing.

    ``prune``: objects that the set owns and that are no longer declared are scheduled for deletion.
    """
    live = _Live(tx)
    desires, problems = _complete(documents, live, around)
    problems = [*check(documents, resolved=True), *problems]
    if problems:
        raise InvalidSpec(problems)
    changes: list[PlannedChange] = []
    unchanged = 0
    for desire in desires:
        change = _change(desire, live, spec_set)
        if change is None:
            unchanged += 1
        else:
            changes.append(change)
    changes = list(_with_alias_conflicts(tx, desires, changes, live, spec_set))
    if prune:
        declared = {(desire.kind, desire.name) for desire in desires}
        newcomers = Counter(
            desire.spec.key_store
            for desire in desires
            if isinstance(desire.spec, DesiredKey) and live.find(Kind.KEY, desire.name) is None
        )
        changes.extend(_pruned(tx, spec_set, declared, newcomers, around.now))
    changes = _keeping_an_administrator(tx, changes, desires)
    plan = Plan(
        format_version=FORMAT_VERSION,
        id=around.plan_id,
        server_id=around.server_id,
        spec_set=spec_set,
        created_at=around.now,
        expires_at=around.now + PLAN_LIFETIME,
        changes=tuple(changes),
        counts=_counts(changes, unchanged),
        waiting=tuple(_waiting(desires, live)),
    )
    return Draft(plan, desires)


class _Live:
    """Live objects by kind and name, each read once."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self._known: dict[tuple[Kind, str], AnyObject | None] = {}

    def find(self, kind: Kind, name: str) -> AnyObject | None:
        if (kind, name) not in self._known:
            self._known[kind, name] = objects.get_named(self._tx, kind, name)
        return self._known[kind, name]

    def replica_elsewhere(self, spec: DesiredKey, region: str, name: str) -> bool:
        """Whether the primary key of ``spec`` has a replica in this Region under another name."""
        primary = cast("Key | None", self.find(Kind.KEY, spec.replica_of or ""))
        held = objects.get_key(self._tx, region, primary.status.key_id) if primary is not None else None
        return held is not None and held.metadata.name != name

    def stands_for(self, spec: DesiredKey, name: str) -> str | None:
        """The name of the other key that the external key of ``spec`` stands for, if there is one."""
        uid = externalkeys.holder(self._tx, spec.key_store, spec.xks_key_id or "")
        held = objects.get(self._tx, uid) if uid is not None else None
        return held.metadata.name if held is not None and held.metadata.name != name else None


# ---- completing the documents ----------------------------------------------------------------------------------------


def _complete(documents: Sequence[Located], live: _Live, around: Surroundings) -> tuple[list[Desire], list[Problem]]:
    """Fill in what follows from the key store, and collect everything that cannot be."""
    stores = {
        located.document.name: located.document.spec
        for located in documents
        if isinstance(located.document.spec, DesiredKeyStore)
    }
    keys = {
        located.document.name: located.document.spec
        for located in documents
        if isinstance(located.document.spec, DesiredKey)
    }
    replicas: dict[tuple[str, str], str] = {}
    desires: list[Desire] = []
    problems: list[Problem] = []
    holders: dict[tuple[str, str], Document] = {}
    for located in documents:
        document = located.document
        spec: Desired = document.spec
        for path, message in policy_misfits(document):
            problems.append(located.problem(message, *path))
        if isinstance(spec, DesiredKey):
            store_type, offered = _store_of(spec, stores, live)
            if store_type is None:
                message = f"there is no key store {spec.key_store}; declare it in this set or use {STANDARD}"
                problems.append(located.problem(message, "spec", "keyStore"))
                continue
            store = live.find(Kind.KEY_STORE, spec.key_store)
            if store is not None and store.metadata.deletion is not None:
                problems.append(located.problem(f"key store {spec.key_store} is being removed", "spec", "keyStore"))
            region = spec.region or around.default_region
            if region not in around.regions:
                message = f"this server has no Region {region}; it has {', '.join(around.regions)}"
                problems.append(located.problem(message, "spec", "region"))
            for index, alias in enumerate(spec.aliases):
                holder = holders.setdefault((region, alias), document)
                # check() compares Regions as they are written; a Region that was left out is known only here.
                if isinstance(holder.spec, DesiredKey) and holder.spec.region != spec.region:
                    message = f"the alias `{alias}` belongs to Key `{holder.name}` already"
                    problems.append(located.problem(message, "spec", "aliases", index))
            misfits: list[Misfit] = []
            if spec.replica_of is not None:
                spec, misfits = _as_replica(spec, region, keys, live, around.default_region)
                other = replicas.setdefault((spec.replica_of or "", region), document.name)
                if other != document.name or live.replica_elsewhere(spec, region, document.name):
                    misfits.append(Misfit("region", f"{spec.replica_of} has another replica in {region} already"))
            spec, more = capabilities.complete(spec, store_type, offered, default_region=around.default_region)
            misfits += more
            if spec.xks_key_id is not None and (other_key := live.stands_for(spec, document.name)):
                misfits.append(
                    Misfit("xksKeyId", f"in {spec.key_store} it stands for key {other_key} already; name another one")
                )
            problems.extend(located.problem(misfit.message, "spec", *misfit.path.split(".")) for misfit in misfits)
        if isinstance(spec, DesiredXksProxy):
            problems.extend(_exposure_problems(located, spec, documents, live))
        desires.append(Desire(document.kind, document.name, spec))
    return desires, problems


def _as_replica(
    spec: DesiredKey, region: str, declared: Mapping[str, DesiredKey], live: _Live, default_region: str
) -> tuple[DesiredKey, list[Misfit]]:
    """A replica with what it shares with its primary key, which is declared beside it or lives already."""
    assert spec.replica_of is not None
    present = cast("Key | None", live.find(Kind.KEY, spec.replica_of))
    primary = present.spec if present is not None else declared.get(spec.replica_of)
    if primary is None:
        return spec, [Misfit("replicaOf", f"there is no key {spec.replica_of}; declare it in this set")]
    if present is None:  # as it will be when it is made
        primary, _ = capabilities.complete(primary, primary.key_store, default_region=default_region)
    shared, misfits = capabilities.complete_replica(spec, primary)
    if (primary.region or default_region) == region:
        misfits.append(Misfit("region", f"its primary key is in {region} already; a replica is in another Region"))
    return shared, misfits


def _store_of(
    spec: DesiredKey, declared: Mapping[str, DesiredKeyStore], live: _Live
) -> tuple[str | None, dict[KeySpec, tuple[KeyUsage, ...]] | None]:
    """Type of a key's store, and what it offers if it was ever open."""
    present = cast("KeyStore | None", live.find(Kind.KEY_STORE, spec.key_store))
    if present is not None:
        return present.spec.type, present.status.key_specs or None
    if spec.key_store in declared:
        return declared[spec.key_store].type, None
    return None, None


def _exposure_problems(
    located: Located, spec: DesiredXksProxy, documents: Sequence[Located], live: _Live
) -> Iterator[Problem]:
    """Keys that a proxy cannot expose."""
    declared = {each.document.name: each.document.spec for each in documents if each.document.kind is Kind.KEY}
    for external_id, exposed in spec.keys.items():
        name = exposed.key
        key = declared.get(name)
        if key is None:
            present = live.find(Kind.KEY, name)
            key = present.spec if present is not None else None
        if not isinstance(key, DesiredKey):
            message = f"there is no key {name}; declare it in this set, or write the name of one"
        elif key.key_spec is not KeySpec.SYMMETRIC_DEFAULT:
            message = f"key {name} is {key.key_spec}; an XKS proxy exposes SYMMETRIC_DEFAULT keys only"
        else:
            continue
        yield located.problem(message, "spec", "keys", external_id, "key")


# ---- comparing -------------------------------------------------------------------------------------------------------


def _change(desire: Desire, live: _Live, spec_set: str) -> PlannedChange | None:
    """What one document changes, or None if its object is as declared."""
    present = live.find(desire.kind, desire.name)
    if present is None:
        changes, _ = field_changes(desire.kind, None, desire.spec)
        fields = [_field(change, desire.kind) for change in changes]
        if desire.kind is Kind.KEY:
            fields.append(FieldPlan(path="keyId", known=False))
        return PlannedChange(
            action=Action.CREATE,
            kind=desire.kind,
            name=desire.name,
            reason=PlanReason.DECLARED,
            fields=tuple(fields),
        )
    meta = present.metadata
    changes, same = field_changes(desire.kind, present.spec, desire.spec)
    blocked = _obstacle(present, desire, changes, spec_set)
    if blocked is None and not changes and (meta.spec_set or "") == spec_set:
        return None
    reason, message = blocked or (PlanReason.SPEC_CHANGED, "")
    return PlannedChange(
        action=Action.BLOCKED if blocked else Action.UPDATE,
        kind=desire.kind,
        name=desire.name,
        uid=meta.uid,
        generation=meta.generation,
        reason=reason,
        message=message,
        fields=tuple(_field(change, desire.kind) for change in changes),
        unchanged_fields=same,
    )


def _obstacle(
    present: AnyObject, desire: Desire, changes: Sequence[FieldChange], spec_set: str
) -> tuple[PlanReason, str] | None:
    """Why an existing object cannot become what is declared."""
    meta = present.metadata
    if (meta.spec_set or "") != spec_set:
        owner = f"spec set {meta.spec_set}" if meta.spec_set else "no spec set: it was made through an API"
        return PlanReason.OWNED_ELSEWHERE, f"{desire.kind} {desire.name} belongs to {owner}; choose another name"
    if meta.deletion is not None and not isinstance(present, Key):
        return PlanReason.PENDING_DELETION, "it is being removed; plan again when it is gone"
    if meta.deletion is not None:
        return (
            PlanReason.PENDING_DELETION,
            f"it is pending deletion, destroyed {due_words(meta.deletion)}; "
            f"run: keystead cancel-deletion {desire.name}, then plan again",
        )
    fixed = [change for change in changes if change.immutable]
    if fixed:
        names = ", ".join(change.path for change in fixed)
        advice = (
            "declare a second key under another name and move the alias to it; data stays readable under the first"
            if desire.kind is Kind.KEY
            else "declare a second object under another name"
        )
        return PlanReason.IMMUTABLE_FIELD, f"{names} cannot change in place ({fixed[0].immutable}); {advice}"
    if isinstance(present, Key) and present.spec.deletion.protect and len(changes) > 1:
        lifted = any(change.path == "deletion.protect" for change in changes)
        if lifted:
            return (
                PlanReason.PROTECTION_LIFTED_APART,
                "lifting deletion.protect is an apply of its own; take the other changes out of this one",
            )
    return None


def _with_alias_conflicts(
    tx: Tx,
    desires: Sequence[Desire],
    changes: Sequence[PlannedChange],
    live: _Live,
    spec_set: str,
) -> Iterator[PlannedChange]:
    """Block a change that takes an alias which a key outside this plan holds and keeps."""
    specs = {(desire.kind, desire.name): desire.spec for desire in desires}
    names = {desire.name for desire in desires if desire.kind is Kind.KEY}
    for change in changes:
        spec = specs.get((change.kind, change.name))
        if change.action is Action.BLOCKED or not isinstance(spec, DesiredKey):
            yield change
            continue
        present = live.find(change.kind, change.name)
        held = set(present.spec.aliases) if isinstance(present, Key) else set()
        conflict = None
        for alias in set(spec.aliases) - held:
            row = objects.find_alias(tx, spec.region or "", alias)
            holder = cast("Key | None", objects.get(tx, row.uid)) if row else None
            if holder is None or holder.metadata.name == change.name:
                continue
            if holder.metadata.spec_set == spec_set and holder.metadata.name in names:
                continue  # check() saw to it that within the set each alias has one holder
            conflict = f"alias/{alias} names {holder.status.arn}; take it from there first"
            break
        if conflict is None:
            yield change
        else:
            yield msgspec.structs.replace(
                change, action=Action.BLOCKED, reason=PlanReason.ALIAS_TAKEN, message=conflict
            )


def _pruned(
    tx: Tx, spec_set: str, declared: set[tuple[Kind, str]], newcomers: Counter[str], now: datetime
) -> Iterator[PlannedChange]:
    """Objects of the set that are no longer declared. ``newcomers``: how many keys the plan makes in each key store."""
    for kind in (Kind.XKS_PROXY, Kind.KEY, Kind.PRINCIPAL, Kind.KEY_STORE):
        after = ""
        while batch := objects.page(tx, kind, after=after, spec_set=spec_set):
            after = batch[-1].metadata.name
            for present in batch:
                if (kind, present.metadata.name) not in declared and present.metadata.deletion is None:
                    yield _removal(tx, present, newcomers, now)


def _removal(tx: Tx, present: AnyObject, newcomers: Counter[str], now: datetime) -> PlannedChange:
    meta = present.metadata
    change = PlannedChange(
        action=Action.DELETE,
        kind=present.kind,
        name=meta.name,
        uid=meta.uid,
        generation=meta.generation,
        reason=PlanReason.REMOVED_FROM_SET,
    )
    if isinstance(present, Key):
        if present.spec.deletion.protect:
            return msgspec.structs.replace(
                change,
                action=Action.BLOCKED,
                reason=PlanReason.PROTECTED,
                message="it is protected (deletion.protect: true); put it back and lift the protection first",
            )
        if refused := lifecycle.refusal("ScheduleKeyDeletion", keys.state(tx, present), present.status.arn):
            return msgspec.structs.replace(
                change,
                action=Action.BLOCKED,
                reason=PlanReason.KEY_STATE,
                message=f"{refused.message.rstrip('.')}; plan again when that has ended, or put it back until then",
            )
        return msgspec.structs.replace(
            change,
            action=Action.SCHEDULE_DELETION,
            window_days=present.spec.deletion.window_days,
            warnings=tuple(_used_recently(tx, meta.uid, now)),
        )
    if isinstance(present, KeyStore):
        left = objects.count(tx, Kind.KEY, key_store=meta.name) + newcomers[meta.name]
        if left:
            return msgspec.structs.replace(
                change,
                action=Action.BLOCKED,
                reason=PlanReason.KEYS_IN_STORE,
                message=f"{left} keys live in it or are declared for it; "
                "a key store leaves when its last key has been destroyed",
            )
    return change


def _keeping_an_administrator(tx: Tx, changes: list[PlannedChange], desires: Sequence[Desire]) -> list[PlannedChange]:
    """Block what would leave nobody who can come in and may change things."""
    present = credentials.administrators(tx)
    wanted = {desire.name: desire.spec for desire in desires if isinstance(desire.spec, DesiredPrincipal)}

    def administers(change: PlannedChange) -> bool:
        return change.action is Action.UPDATE and wanted[change.name].administrator

    of_people = [change for change in changes if change.kind is Kind.PRINCIPAL and change.action is not Action.BLOCKED]
    lost = {change.uid for change in of_people if change.uid in present and not administers(change)}
    gained = any(administers(change) and credentials.can_come_in(tx, change.uid or "") for change in of_people)
    if not lost or gained or present.keys() - lost:
        return changes
    message = "it is the last administrator with a credential that lasts; declare another one and give it one first"
    return [
        msgspec.structs.replace(change, action=Action.BLOCKED, reason=PlanReason.LAST_ADMINISTRATOR, message=message)
        if change in of_people and change.uid in lost
        else change
        for change in changes
    ]


def _field(change: FieldChange, kind: Kind) -> FieldPlan:
    # Options of key stores are the one place where a spec can hold a secret; a tag named `token` is none.
    sensitive = kind is Kind.KEY_STORE and (
        any(_secret_name(part) for part in change.path.split("."))
        or _holds_secret(change.before)
        or _holds_secret(change.after)
    )
    return FieldPlan(
        path=change.path,
        before=_masked(change.before) if sensitive else change.before,
        after=_masked(change.after) if sensitive else change.after,
        sensitive=sensitive,
        immutable=change.immutable,
    )


def _secret_name(name: str) -> bool:
    return name.lower().endswith(_SECRET_WORDS)


def _holds_secret(value: Any) -> bool:
    """Lists are compared as a whole, so a secret may stand deep in one."""
    if isinstance(value, dict):
        return any(_secret_name(name) or _holds_secret(item) for name, item in value.items())
    return isinstance(value, list) and any(_holds_secret(item) for item in value)


def _masked(value: Any) -> Any:
    return None if value is None else "(sensitive)"


def _used_recently(tx: Tx, uid: str, now: datetime) -> Iterator[Warned]:
    """A warning for a key that somebody still uses."""
    last = last_uses.get(tx, uid)
    if last is None or now.timestamp() - last.at >= RECENTLY.total_seconds():
        return
    at = datetime.fromtimestamp(last.at, UTC).isoformat(timespec="seconds")
    yield Warned(
        warning=PlanWarning.USED_RECENTLY, message=f"it was used in the last 24 hours: {last.operation} at {at}"
    )


def _waiting(desires: Sequence[Desire], live: _Live) -> Iterator[Waiting]:
    """Keys of the set that wait for their owner to import material."""
    for desire in desires:
        present = live.find(desire.kind, desire.name) if desire.kind is Kind.KEY else None
        if isinstance(present, Key) and present.metadata.deletion is None and imports.waits(present):
            yield Waiting(
                kind=Kind.KEY,
                name=desire.name,
                state=KeyState.PENDING_IMPORT,
                message=f"{imports.waiting_words(present)}; "
                f"begin with: keystead import-material {desire.name} parameters --out DIR",
            )


def _counts(changes: Sequence[PlannedChange], unchanged: int) -> Counts:
    by_action = dict.fromkeys(Action, 0)
    for change in changes:
        by_action[change.action] += 1
    return Counts(
        create=by_action[Action.CREATE],
        update=by_action[Action.UPDATE],
        schedule_deletion=by_action[Action.SCHEDULE_DELETION],
        delete=by_action[Action.DELETE],
        blocked=by_action[Action.BLOCKED],
        unchanged=unchanged,
    )
