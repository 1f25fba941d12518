"""What the crypto path reads: keys, aliases, grants, principals and key stores, decoded once and kept while they do not
change.

Who calls it: ``usage`` and ``access``, for every request. Guarantees: read-your-writes over all processes that share
the file (:meth:`Catalog.refresh` compares SQLite's data version, then drops exactly the objects in the change feed);
bounded memory; a request sees one version of a key.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar, cast

import msgspec

from controlplane.errors import StoreDamaged
from controlplane.schema.grants import Grant
from controlplane.schema.meta import Key, KeyStore, Kind, Principal, XksProxy
from controlplane.store import grants, material, objects
from controlplane.store.database import Database
from plugins.sdk.types import MaterialRef

K = TypeVar("K")
V = TypeVar("V")

MANY_CHANGES = 2_000
GRANTEES = 256
"""Principals of one key whose grants (or lack of any) are kept."""


class KeyRecord(msgspec.Struct, frozen=True, gc=False):
    """A key with its materials, ready to use. ``refs`` is by material id, without those whose token is damaged."""

    key: Key
    refs: dict[str, MaterialRef]
    current: MaterialRef | None
    damaged: frozenset[str] = frozenset()
    """Ids of materials whose token fails its checksum: the fault is ours, not that of who asks for them."""

    @property
    def arn(self) -> str:
        return self.key.status.arn


class Bounded(Generic[K, V]):
    """A map that forgets what was not used for longest. While it is less than half full it does not keep the order:
    nothing is forgotten soon, and moving an entry touches its neighbours, which are nowhere near in memory."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        value = self._entries.get(key)
        if value is not None and 2 * len(self._entries) > self._limit:
            self._entries.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> None:
        self._entries[key] = value
        if len(self._entries) > self._limit:
            self._entries.popitem(last=False)

    def drop(self, key: K) -> V | None:
        return self._entries.pop(key, None)

    def clear(self) -> list[V]:
        """Drop everything; what it was."""
        dropped = list(self._entries.values())
        self._entries.clear()
        return dropped

    def __len__(self) -> int:
        return len(self._entries)


class Catalog:
    """The read side of the store for one event loop. Not for other threads."""

    def __init__(
        self, database: Database, on_drop: Callable[[KeyRecord], None] | None = None, *, limit: int = 10_000
    ) -> None:
        """``on_drop`` hears of every key that changed, with the record as it was."""
        self._database = database
        self._on_drop = on_drop
        self._keys: Bounded[tuple[str, str], KeyRecord] = Bounded(limit)
        self._places: dict[str, tuple[str, str]] = {}
        self._aliases: Bounded[tuple[str, str], tuple[str, str]] = Bounded(limit)
        self._grants: Bounded[str, dict[str, tuple[Grant, ...]]] = Bounded(limit)
        self._key_stores: dict[str, KeyStore] = {}
        self._principals: Bounded[str, Principal] = Bounded(limit)
        self._principal_uids: Bounded[str, str] = Bounded(limit)
        self._xks_proxies: dict[str, XksProxy] = {}
        self.data_version = -1
        """SQLite's data version at the last refresh: whoever keeps something else in memory compares it."""
        self._seen = 0

    def refresh(self) -> None:
        """Forget what changed since the last call. About four microseconds when nothing did."""
        version = self._database.version()
        if version == self.data_version:
            return
        self.data_version = version
        changes = self._database.read(lambda tx: objects.changes_since(tx, self._seen, MANY_CHANGES))
        if len(changes) >= MANY_CHANGES:
            self._clear()
            self._seen = self._database.read(objects.current_version)
            return
        for change in changes:
            self._seen = change.version
            if change.kind is Kind.KEY:
                place = self._places.pop(change.uid, None)
                if place is not None:
                    self._told(self._keys.drop(place))
                self._grants.drop(change.uid)
            elif change.kind is Kind.KEY_STORE:
                self._key_stores.pop(change.name, None)
            elif change.kind is Kind.XKS_PROXY:
                self._xks_proxies.pop(change.uid, None)
            else:
                self._principals.clear()
                self._principal_uids.clear()

    def key(self, region: str, key_id: str) -> KeyRecord | None:
        """A key by Region and key id."""
        record = self._keys.get((region, key_id))
        if record is None:
            record = self._database.read(lambda tx: self._load_key(tx, region, key_id))
            if record is not None:
                self._remember(record, (region, key_id))
        return record

    def alias(self, region: str, name: str) -> KeyRecord | None:
        """The key that an alias (without prefix) names."""
        place = self._aliases.get((region, name))
        if place is not None:
            # What is kept is where it led; the key itself says whether it still does, so that a change of one key
            # need not drop the aliases of all.
            record = self.key(*place)
            if record is not None and name in record.key.spec.aliases:
                return record
            self._aliases.drop((region, name))
        row = self._database.read(lambda tx: objects.find_alias(tx, region, name))
        if row is None:
            return None
        place = self._places.get(row.uid)
        record = self._keys.get(place) if place is not None else None
        if record is None:
            record = self._database.read(lambda tx: self._load(tx, row.uid))
            if record is None:
                return None
            self._remember(record, (region, record.key.status.key_id))
        self._aliases.put((region, name), (region, record.key.status.key_id))
        return record

    def grants(self, uid: str, grantee: str) -> tuple[Grant, ...]:
        """The grants of a key (by uid) to one principal (an ARN)."""
        of_key = self._grants.get(uid)
        if of_key is None:
            of_key = {}
            self._grants.put(uid, of_key)
        found = of_key.get(grantee)
        if found is None:
            if len(of_key) >= GRANTEES:
                of_key.clear()
            found = of_key[grantee] = self._database.read(lambda tx: grants.of_grantee(tx, uid, grantee))
        return found

    def key_store(self, name: str) -> KeyStore | None:
        """A key store by name."""
        found = self._key_stores.get(name)
        if found is None:
            found = cast("KeyStore | None", self._database.read(lambda tx: objects.get_named(tx, Kind.KEY_STORE, name)))
            if found is not None:
                self._key_stores[name] = found
        return found

    def principal(self, uid: str) -> Principal | None:
        """A principal by uid."""
        found = self._principals.get(uid)
        if found is None:
            found = cast("Principal | None", self._database.read(lambda tx: objects.get(tx, uid)))
            if found is not None:
                self._principals.put(uid, found)
        return found

    def principal_named(self, name: str) -> Principal | None:
        """A principal by name."""
        uid = self._principal_uids.get(name)
        if uid is not None:
            return self.principal(uid)
        found = cast("Principal | None", self._database.read(lambda tx: objects.get_named(tx, Kind.PRINCIPAL, name)))
        if found is not None:
            self._principal_uids.put(name, found.metadata.uid)
            self._principals.put(found.metadata.uid, found)
        return found

    def xks_proxy(self, uid: str) -> XksProxy | None:
        """An XKS proxy by uid."""
        found = self._xks_proxies.get(uid)
        if found is None:
            found = cast("XksProxy | None", self._database.read(lambda tx: objects.get(tx, uid)))
            if found is not None:
                self._xks_proxies[uid] = found
        return found

    def _remember(self, record: KeyRecord, place: tuple[str, str]) -> None:
        if len(self._places) > 2 * len(self._keys) + 1000:
            self._places = {uid: at for uid, at in self._places.items() if self._keys.get(at) is not None}
        self._keys.put(place, record)
        self._places[record.key.metadata.uid] = place

    def _told(self, record: KeyRecord | None) -> None:
        if record is not None and self._on_drop is not None:
            self._on_drop(record)

    def _clear(self) -> None:
        for record in self._keys.clear():
            self._told(record)
        self._places.clear()
        self._aliases.clear()
        self._grants.clear()
        self._key_stores.clear()
        self._principals.clear()
        self._principal_uids.clear()
        self._xks_proxies.clear()

    @staticmethod
    def _load_key(tx: sqlite3.Connection, region: str, key_id: str) -> KeyRecord | None:
        key = objects.get_key(tx, region, key_id)
        return None if key is None else record_of(tx, key)

    @staticmethod
    def _load(tx: sqlite3.Connection, uid: str) -> KeyRecord | None:
        found = objects.get(tx, uid)
        return record_of(tx, found) if isinstance(found, Key) else None


def record_of(tx: sqlite3.Connection, key: Key) -> KeyRecord:
    """A key with references to its materials. A token that fails its checksum makes that material unusable, no more."""
    refs = {}
    damaged = set()
    for present in key.status.materials:
        if not present.present:
            continue
        try:
            token = material.get_token(tx, present.name)
        except StoreDamaged:
            damaged.add(present.material_id)
            continue
        refs[present.material_id] = reference(key, present.name, present.material_id, token)
    current = key.status.current
    return KeyRecord(key, refs, refs.get(current.material_id) if current else None, frozenset(damaged))


def reference(key: Key, name: str, material_id: str, token: bytes | None = None) -> MaterialRef:
    """How a plugin is told of one material of a key."""
    return MaterialRef(name, key.status.arn, material_id, key.spec.key_spec, token, key.spec.xks_key_id)
