"""From documents to wishes: what each object is to be, with what follows from its key store, its primary key, and what
others state of it.

Who calls it: ``planner``. Guarantee: everything that is wrong in the documents is told, all at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from controlplane.domain import capabilities
from controlplane.domain.capabilities import Misfit
from controlplane.domain.ownership import DERIVED, Claim, live_leaves, merged, stated_leaves
from controlplane.domain.policy.declared import misfits as policy_misfits
from controlplane.errors import Problem
from controlplane.planning.live import Live, Options, Surroundings
from controlplane.schema.documents import Document, Located
from controlplane.schema.keys import DesiredKey, KeySpec, KeyUsage, Management
from controlplane.schema.keystores import STANDARD, DesiredKeyStore
from controlplane.schema.meta import AnyObject, Desired, Key, KeyStore, Kind
from controlplane.schema.xksproxies import DesiredXksProxy


class Wish(msgspec.Struct):
    """What one object is to be. ``spec`` is the whole of it: what the document states, merged into what is there.

    ``stated`` are the document's leaves, ``before`` those of the last apply; None: the set never applied it.
    """

    kind: Kind
    name: str
    spec: Desired
    declared: Desired
    stated: dict[str, Any]
    present: AnyObject | None = None
    own: Claim | None = None
    others: Sequence[Claim] = ()
    moved_from: str | None = None
    owned: bool = False
    """Whether its object is the set's."""

    @property
    def before(self) -> Mapping[str, Any]:
        """What the set stated of the object until now."""
        if self.own is not None:
            return self.own.leaves
        if self.present is None or not self.owned:
            return {}
        # An object of the set that no claim was kept for: the set stated all of it.
        return {path: value for path, value in live_leaves(self.present.spec).items() if path not in DERIVED}


class Wishes(msgspec.Struct):
    """``settled`` counts documents whose objects nothing has to be done about."""

    wishes: list[Wish]
    declared: set[tuple[Kind, str]]
    settled: int
    problems: list[Problem]


def complete(documents: Sequence[Located], live: Live, around: Surroundings, options: Options) -> Wishes:
    """Everything that is wished for, and everything that cannot be."""
    stores = {each.document.name: each.document.spec for each in documents if each.document.kind is Kind.KEY_STORE}
    keys = {each.document.name: each.document.spec for each in documents if each.document.kind is Kind.KEY}
    declared = {(each.document.kind, each.document.name) for each in documents}
    renamed = {
        former: each.document.name
        for each in documents
        if each.document.kind is Kind.KEY and (former := each.document.metadata.moved_from) is not None
    }
    replicas: dict[tuple[str, str], str] = {}
    holders: dict[tuple[str, str], Document] = {}
    made = Wishes([], declared, 0, [])
    for located in documents:
        document = located.document
        spec: Desired = document.spec
        if isinstance(spec, DesiredKey):
            made.problems += _alias_problems(located, spec, spec.region or around.default_region, holders)
        stated = stated_leaves(document.kind, spec, located.written)
        if not options.replace and live.settled(document.kind, document.name, stated):
            made.settled += 1
            continue
        wish = _wish(document, stated, live, options, renamed)
        problems = [located.problem(message, *path) for path, message in policy_misfits(document)]
        misfits: list[Misfit] = []
        if isinstance(wish.spec, DesiredKey):
            store_type, offered = _store_of(wish.spec, stores, live)
            if store_type is None:
                message = f"there is no key store {wish.spec.key_store}; declare it in this set or use {STANDARD}"
                made.problems += [*problems, located.problem(message, "spec", "keyStore")]
                continue
            problems += _place_problems(located, wish.spec, live, around)
            region = wish.spec.region or around.default_region
            if wish.spec.replica_of is not None:
                wish.spec, misfits = _as_replica(wish.spec, region, keys, live, around.default_region)
                other = replicas.setdefault((wish.spec.replica_of or "", region), document.name)
                if other != document.name or live.replica_elsewhere(wish.spec, region, document.name):
                    misfits.append(Misfit("region", f"{wish.spec.replica_of} has another replica in {region} already"))
            wish.spec, more = capabilities.complete(
                wish.spec, store_type, offered, default_region=around.default_region
            )
            misfits += more
            if wish.spec.xks_key_id is not None and (other_key := live.stands_for(wish.spec, wish.present)):
                where = wish.spec.key_store
                misfits.append(
                    Misfit("xksKeyId", f"in {where} it stands for key {other_key} already; name another one")
                )
        elif isinstance(wish.spec, DesiredXksProxy):
            problems += _exposure_problems(located, wish.spec, documents, live)
        problems += [located.problem(misfit.message, "spec", *misfit.path.split(".")) for misfit in misfits]
        if (former := wish.moved_from) is not None and (wish.kind, former) in declared:
            message = f"{wish.kind} `{former}` is declared, too"
            problems.append(located.problem(message, "metadata", "movedFrom", hint="take one of them out"))
        made.problems += problems
        made.wishes.append(wish)
    return made


def _wish(document: Document, stated: dict[str, Any], live: Live, options: Options, renamed: Mapping[str, str]) -> Wish:
    """The document, merged into the object that has its name, or had it before it moved."""
    wish = Wish(document.kind, document.name, document.spec, document.spec, stated)
    wish.present = live.find(document.kind, document.name)
    former = document.metadata.moved_from
    if wish.present is None and former is not None:
        wish.present = live.find(document.kind, former)
        wish.moved_from = former if wish.present is not None else None
    if wish.present is None or options.replace:
        return wish
    if isinstance(wish.present, Key) and (primary := renamed.get(wish.present.spec.replica_of or "")) is not None:
        # It follows its primary key's new name by itself, so that is no change of it.
        spec = msgspec.structs.replace(wish.present.spec, replica_of=primary)
        wish.present = msgspec.structs.replace(wish.present, spec=spec)
    wish.own, wish.others = live.claims_on(wish.present)
    wish.owned = (wish.present.metadata.spec_set or "") == live.spec_set
    before = wish.before
    if document.spec.management is Management.OBSERVE:
        # What is only looked at keeps everything but the word that says so.
        stated = {"management": Management.OBSERVE.value}
        before = {}
    wish.spec = merged(document.kind, wish.present.spec, stated, before, wish.others)
    if isinstance(wish.spec, DesiredKey) and isinstance(wish.present, Key):
        wish.spec = _derived_anew(wish.spec, wish.present.spec, stated)
    return wish


def _derived_anew(spec: DesiredKey, present: DesiredKey, stated: Mapping[str, Any]) -> DesiredKey:
    """Without what followed from a key spec or key store that is another now: the plan tells of that change, and must
    not fail over a usage that nobody wrote.
    """
    if spec.key_spec is not present.key_spec and "keyUsage" not in stated:
        spec = msgspec.structs.replace(spec, key_usage=None)
    if spec.key_store != present.key_store and "origin" not in stated:
        spec = msgspec.structs.replace(spec, origin=None)
    return spec


def _alias_problems(
    located: Located, spec: DesiredKey, region: str, holders: dict[tuple[str, str], Document]
) -> list[Problem]:
    """check() compares Regions as they are written; a Region that was left out is known only here."""
    found = []
    for index, alias in enumerate(spec.aliases):
        holder = holders.setdefault((region, alias), located.document)
        if isinstance(holder.spec, DesiredKey) and holder.spec.region != spec.region:
            message = f"the alias `{alias}` belongs to Key `{holder.name}` already"
            found.append(located.problem(message, "spec", "aliases", index))
    return found


def _place_problems(located: Located, spec: DesiredKey, live: Live, around: Surroundings) -> list[Problem]:
    found = []
    store = live.find(Kind.KEY_STORE, spec.key_store)
    if store is not None and store.metadata.deletion is not None:
        found.append(located.problem(f"key store {spec.key_store} is being removed", "spec", "keyStore"))
    region = spec.region or around.default_region
    if region not in around.regions:
        message = f"this server has no Region {region}; it has {', '.join(around.regions)}"
        found.append(located.problem(message, "spec", "region"))
    return found


def _as_replica(
    spec: DesiredKey, region: str, declared: Mapping[str, Desired], live: Live, default_region: str
) -> tuple[DesiredKey, list[Misfit]]:
    """A replica with what it shares with its primary key, which is declared beside it or lives already."""
    assert spec.replica_of is not None
    present = cast("Key | None", live.find(Kind.KEY, spec.replica_of))
    primary = present.spec if present is not None else cast("DesiredKey | None", declared.get(spec.replica_of))
    if primary is None:
        return spec, [Misfit("replicaOf", f"there is no key {spec.replica_of}; declare it in this set")]
    if present is None:  # as it will be when it is made
        primary, _ = capabilities.complete(primary, primary.key_store, default_region=default_region)
    shared, misfits = capabilities.complete_replica(spec, primary)
    if (primary.region or default_region) == region:
        misfits.append(Misfit("region", f"its primary key is in {region} already; a replica is in another Region"))
    return shared, misfits


def _store_of(
    spec: DesiredKey, declared: Mapping[str, Desired], live: Live
) -> tuple[str | None, dict[KeySpec, tuple[KeyUsage, ...]] | None]:
    """Type of a key's store, and what it offers if it was ever open."""
    present = cast("KeyStore | None", live.find(Kind.KEY_STORE, spec.key_store))
    if present is not None:
        return present.spec.type, present.status.key_specs or None
    store = declared.get(spec.key_store)
    return (store.type, None) if isinstance(store, DesiredKeyStore) else (None, None)


def _exposure_problems(
    located: Located, spec: DesiredXksProxy, documents: Sequence[Located], live: Live
) -> list[Problem]:
    """Keys that a proxy cannot expose."""
    declared = {each.document.name: each.document.spec for each in documents if each.document.kind is Kind.KEY}
    found = []
    for external_id, exposed in spec.keys.items():
        name = exposed.key
        key: object = declared.get(name)
        if key is None:
            present = live.find(Kind.KEY, name)
            key = present.spec if present is not None else None
        if not isinstance(key, DesiredKey):
            message = f"there is no key {name}; declare it in this set, or write the name of one"
        elif key.key_spec is not KeySpec.SYMMETRIC_DEFAULT:
            message = f"key {name} is {key.key_spec}; an XKS proxy exposes SYMMETRIC_DEFAULT keys only"
        else:
            continue
        found.append(located.problem(message, "spec", "keys", external_id, "key"))
    return found
