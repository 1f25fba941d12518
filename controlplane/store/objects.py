"""Objects of every kind: insert, read, compare-and-set, remove; aliases and the change feed go with them.

Who calls it: the apply, the KMS door's writes, the reconciler. Guarantees: ``generation`` rises exactly when the spec
or the deletion request changes; ``resource_version`` rises with every write and is unique over all objects, so it
numbers the change feed; a name, a key id and an alias belong to one object; an object leaves only without finalizers.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

import msgspec

from controlplane.errors import AlreadyExists, Conflict, NotFound, StoreDamaged
from controlplane.schema.conditions import ConditionStatus, ConditionType, find_condition
from controlplane.schema.keys import DesiredKey, KeyStatus
from controlplane.schema.meta import (
    OBJECT_TYPES,
    SPEC_TYPES,
    STATUS_TYPES,
    AnyObject,
    DeletionRequest,
    Desired,
    Key,
    Kind,
    Metadata,
    Status,
)
from controlplane.store import duetimes, keyindex

_encode = msgspec.json.Encoder().encode
_decode_metadata = msgspec.json.Decoder(Metadata).decode
_decode_spec = {kind: msgspec.json.Decoder(spec_type).decode for kind, spec_type in SPEC_TYPES.items()}
_decode_status = {kind: msgspec.json.Decoder(status_type).decode for kind, status_type in STATUS_TYPES.items()}

COLUMNS = "kind, metadata, spec, status"
MAX_TOMBSTONES = 10_000
_BELONGINGS = (
    "aliases",
    "grants",
    "access_keys",
    "bearer_tokens",
    "refused_uses",
    "last_uses",
    "imports",
    "external_keys",
    "claims",
)
"""Tables whose rows go with their object."""


class AliasRow(msgspec.Struct, frozen=True):
    """One alias; times in seconds since the epoch."""

    region: str
    name: str
    uid: str
    created_at: float
    updated_at: float


class Change(msgspec.Struct, frozen=True, rename="camel"):
    """One entry of the change feed: the newest write to an object since the asked version."""

    version: int
    kind: Kind
    uid: str
    name: str
    generation: int
    removed: bool


# ---- reading ---------------------------------------------------------------------------------------------------------


def decode(row: Sequence[Any]) -> AnyObject:
    """An object from the columns ``COLUMNS``. Raises :class:`StoreDamaged` if the row does not decode."""
    kind = row[0]
    try:
        kind = Kind(kind)
        return _object(kind, _decode_metadata(row[1]), _decode_spec[kind](row[2]), _decode_status[kind](row[3]))
    except ValueError as error:  # msgspec's errors, text that is not UTF-8, a kind that is none
        raise StoreDamaged(
            f"a {kind} row of the database does not decode ({error}); restore it from a backup"
        ) from None


def _object(kind: Kind, metadata: Metadata, spec: Desired, status: Status) -> AnyObject:
    build: Any = OBJECT_TYPES[kind]
    return cast(AnyObject, build(metadata=metadata, spec=spec, status=status))


def get(tx: sqlite3.Connection, uid: str) -> AnyObject | None:
    row = tx.execute(f"SELECT {COLUMNS} FROM objects WHERE uid = ?", (uid,)).fetchone()
    return decode(row) if row else None


def get_named(tx: sqlite3.Connection, kind: Kind, name: str) -> AnyObject | None:
    row = tx.execute(f"SELECT {COLUMNS} FROM objects WHERE kind = ? AND name = ?", (kind.value, name)).fetchone()
    return decode(row) if row else None


def require(tx: sqlite3.Connection, uid: str) -> AnyObject:
    """The object, or :class:`NotFound`."""
    found = get(tx, uid)
    if found is None:
        raise NotFound(f"there is no object with uid {uid}")
    return found


def get_key(tx: sqlite3.Connection, region: str, key_id: str) -> Key | None:
    """A key by Region and key id."""
    row = tx.execute(f"SELECT {COLUMNS} FROM objects WHERE region = ? AND key_id = ?", (region, key_id)).fetchone()
    return cast(Key, decode(row)) if row else None


def related_keys(tx: sqlite3.Connection, key_id: str) -> list[Key]:
    """All keys that share a key id, by Region: a multi-Region key and its replicas."""
    rows = tx.execute(f"SELECT {COLUMNS} FROM objects WHERE key_id = ? ORDER BY region", (key_id,))
    return [cast(Key, decode(row)) for row in rows]


def page(
    tx: sqlite3.Connection, kind: Kind, *, after: str = "", limit: int = 500, spec_set: str | None = None
) -> list[AnyObject]:
    """Objects of a kind by name, at most ``limit``, with names after ``after``: pages survive inserts and removals."""
    where, values = "kind = ? AND name > ?", [kind.value, after]
    if spec_set is not None:
        where += " AND spec_set = ?"
        values.append(spec_set)
    rows = tx.execute(f"SELECT {COLUMNS} FROM objects WHERE {where} ORDER BY name LIMIT ?", (*values, limit))
    return [decode(row) for row in rows]


def everything(tx: sqlite3.Connection, kind: Kind) -> list[AnyObject]:
    """All objects of a kind that is few, by name. Not for keys."""
    rows = tx.execute(f"SELECT {COLUMNS} FROM objects WHERE kind = ? ORDER BY name", (kind.value,))
    return [decode(row) for row in rows]


def key_ids(tx: sqlite3.Connection, region: str, after: str, limit: int) -> list[str]:
    """Key ids of a Region in order, for ListKeys."""
    rows = tx.execute(
        "SELECT key_id FROM objects WHERE region = ? AND key_id > ? ORDER BY key_id LIMIT ?", (region, after, limit)
    )
    return [row[0] for row in rows]


def spec_sets(tx: sqlite3.Connection) -> set[str]:
    """Names of the spec sets that own something."""
    rows = tx.execute("SELECT DISTINCT spec_set FROM objects WHERE spec_set IS NOT NULL")
    return {row[0] for row in rows}


def count(tx: sqlite3.Connection, kind: Kind, *, key_store: str | None = None) -> int:
    """Number of objects of a kind, or of the keys in one key store."""
    if key_store is not None:
        row = tx.execute("SELECT count(*) FROM objects WHERE key_store = ? AND kind = ?", (key_store, kind.value))
    else:
        row = tx.execute("SELECT count(*) FROM objects WHERE kind = ?", (kind.value,))
    return int(row.fetchone()[0])


def uids(tx: sqlite3.Connection, kind: Kind, *, key_store: str | None = None) -> list[str]:
    """All uids of a kind, or of the keys in one key store, for a resync."""
    if key_store is not None:
        rows = tx.execute("SELECT uid FROM objects WHERE key_store = ? AND kind = ?", (key_store, kind.value))
    else:
        rows = tx.execute("SELECT uid FROM objects WHERE kind = ?", (kind.value,))
    return [row[0] for row in rows]


def unsynced(tx: sqlite3.Connection, spec_set: str, limit: int = 20) -> tuple[int, list[AnyObject]]:
    """How many objects of a spec set the reconciler has not yet brought to their present spec, and some of them."""
    where = "spec_set = ? AND synced_generation < generation"
    total = int(tx.execute(f"SELECT count(*) FROM objects WHERE {where}", (spec_set,)).fetchone()[0])
    rows = tx.execute(f"SELECT {COLUMNS} FROM objects WHERE {where} ORDER BY kind, name LIMIT ?", (spec_set, limit))
    return total, [decode(row) for row in rows]


def names_of_set(tx: sqlite3.Connection, kind: Kind, spec_set: str) -> list[tuple[str, str]]:
    """Uid and name of every object of a kind that a spec set owns, by name."""
    rows = tx.execute(
        "SELECT uid, name FROM objects WHERE spec_set = ? AND kind = ? ORDER BY name", (spec_set, kind.value)
    )
    return [(row[0], row[1]) for row in rows]


def count_set(tx: sqlite3.Connection, spec_set: str) -> int:
    """Number of objects that a spec set owns."""
    return int(tx.execute("SELECT count(*) FROM objects WHERE spec_set = ?", (spec_set,)).fetchone()[0])


def _synced_generation(status: Status) -> int:
    synced = find_condition(status.conditions, ConditionType.SYNCED)
    return synced.observed_generation if synced is not None and synced.status is ConditionStatus.TRUE else 0


# ---- the change feed -------------------------------------------------------------------------------------------------


def current_version(tx: sqlite3.Connection) -> int:
    """The version of the newest write."""
    return int(tx.execute("SELECT value FROM sequence").fetchone()[0])


def version_of(tx: sqlite3.Connection, uid: str) -> int | None:
    """The resource version of an object, for whoever need not decode it to know that it is the same."""
    row = tx.execute("SELECT resource_version FROM objects WHERE uid = ?", (uid,)).fetchone()
    return None if row is None else int(row[0])


def changes_since(tx: sqlite3.Connection, version: int, limit: int = 1000) -> list[Change]:
    """The newest change of each object after ``version``, oldest first.

    Level-based: a reader that was away sees each changed object once. Tombstones are kept for the last 10,000 removals;
    a reader further behind lists everything again.
    """
    rows = tx.execute(
        """SELECT resource_version, kind, uid, name, generation, 0 FROM objects WHERE resource_version > ?1
           UNION ALL SELECT seq, kind, uid, name, 0, 1 FROM tombstones WHERE seq > ?1 ORDER BY 1 LIMIT ?2""",
        (version, limit),
    )
    return [Change(row[0], Kind(row[1]), row[2], row[3], row[4], bool(row[5])) for row in rows]


def _next_version(tx: sqlite3.Connection) -> int:
    return int(tx.execute("UPDATE sequence SET value = value + 1 RETURNING value").fetchone()[0])


# ---- writing ---------------------------------------------------------------------------------------------------------


def insert(
    tx: sqlite3.Connection,
    *,
    now: datetime,
    kind: Kind,
    uid: str,
    name: str,
    spec: Desired,
    status: Status,
    spec_set: str | None = None,
    finalizers: tuple[str, ...] = (),
) -> AnyObject:
    """A new object of generation 1. Raises :class:`AlreadyExists` if its name, key id or an alias is taken."""
    if get_named(tx, kind, name) is not None:
        raise AlreadyExists(f"{kind} {name} already exists")
    metadata = Metadata(
        name=name,
        uid=uid,
        generation=1,
        resource_version=_next_version(tx),
        created_at=now,
        spec_set=spec_set,
        finalizers=finalizers,
    )
    created = _object(kind, metadata, spec, status)
    region = key_id = key_store = None
    if isinstance(spec, DesiredKey) and isinstance(status, KeyStatus):
        region, key_id, key_store = spec.region, status.key_id, spec.key_store
    try:
        tx.execute(
            "INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                uid,
                kind.value,
                name,
                region,
                key_id,
                key_store,
                spec_set,
                1,
                _synced_generation(status),
                metadata.resource_version,
                _encode(metadata),
                _encode(spec),
                _encode(status),
            ),
        )
    except sqlite3.IntegrityError:
        raise AlreadyExists(f"{kind} {name} has the uid or the key id of another object") from None
    if isinstance(created, Key):
        _write_aliases(tx, uid, created.spec, now)
        keyindex.put(tx, created)
        duetimes.put(tx, created)
    return created


def replace(
    tx: sqlite3.Connection,
    uid: str,
    *,
    now: datetime,
    spec: Desired | None = None,
    status: Status | None = None,
    spec_set: str | None = None,
    finalizers: tuple[str, ...] | None = None,
    deletion: DeletionRequest | msgspec.UnsetType | None = msgspec.UNSET,
    expect_version: int | None = None,
    expect_generation: int | None = None,
    requested: bool = False,
    name: str | None = None,
    release: bool = False,
) -> AnyObject:
    """Change what is given and keep the rest. Nothing is written if nothing differs.

    ``release`` takes the object from its spec set; ``name`` renames it.

    ``requested`` says that the new status holds a request (rotate now), which is intent like a new spec.

    Raises :class:`NotFound`, or :class:`Conflict` if the object has another version or generation than expected.
    """
    present = require(tx, uid)
    meta = present.metadata
    if expect_version is not None and meta.resource_version != expect_version:
        raise Conflict(
            f"{present.kind} {meta.name} is at version {meta.resource_version}, not {expect_version}: read it again"
        )
    if expect_generation is not None and meta.generation != expect_generation:
        raise Conflict(
            f"{present.kind} {meta.name} is at generation {meta.generation}, not {expect_generation}: read it again"
        )
    new_spec = present.spec if spec is None else spec
    new_status = present.status if status is None else status
    new_deletion = meta.deletion if deletion is msgspec.UNSET else deletion
    intent_changed = requested or new_spec != present.spec or new_deletion != meta.deletion
    new_meta = msgspec.structs.replace(
        meta,
        generation=meta.generation + intent_changed,
        name=meta.name if name is None else name,
        spec_set=None if release else meta.spec_set if spec_set is None else spec_set,
        finalizers=meta.finalizers if finalizers is None else finalizers,
        deletion=new_deletion,
    )
    if not intent_changed and new_meta == meta and new_status == present.status:
        return present
    if new_meta.name != meta.name and get_named(tx, present.kind, new_meta.name) is not None:
        raise AlreadyExists(f"{present.kind} {new_meta.name} already exists")
    new_meta = msgspec.structs.replace(new_meta, resource_version=_next_version(tx))
    tx.execute(
        """UPDATE objects SET name = ?, spec_set = ?, generation = ?, synced_generation = ?, resource_version = ?,
           metadata = ?, spec = ?, status = ? WHERE uid = ?""",
        (
            new_meta.name,
            new_meta.spec_set,
            new_meta.generation,
            _synced_generation(new_status),
            new_meta.resource_version,
            _encode(new_meta),
            _encode(new_spec),
            _encode(new_status),
            uid,
        ),
    )
    if isinstance(new_spec, DesiredKey) and new_spec != present.spec:
        _write_aliases(tx, uid, new_spec, now)
    replaced = _object(present.kind, new_meta, new_spec, new_status)
    if isinstance(replaced, Key):
        keyindex.put(tx, replaced)
        duetimes.put(tx, replaced, cast(Key, present))
    return replaced


def touch(tx: sqlite3.Connection, uid: str) -> None:
    """Put an object into the change feed because something that belongs to it changed (a key's grants)."""
    metadata = msgspec.structs.replace(require(tx, uid).metadata, resource_version=_next_version(tx))
    tx.execute(
        "UPDATE objects SET resource_version = ?, metadata = ? WHERE uid = ?",
        (metadata.resource_version, _encode(metadata), uid),
    )


def remove(tx: sqlite3.Connection, uid: str, *, expect_version: int | None = None) -> None:
    """Take an object out for ever. Raises :class:`Conflict` while it has finalizers or an unexpected version."""
    present = require(tx, uid)
    meta = present.metadata
    if meta.finalizers:
        raise Conflict(f"{present.kind} {meta.name} still has finalizers: {', '.join(meta.finalizers)}")
    if expect_version is not None and meta.resource_version != expect_version:
        raise Conflict(
            f"{present.kind} {meta.name} is at version {meta.resource_version}, not {expect_version}: read it again"
        )
    for table in _BELONGINGS:
        tx.execute(f"DELETE FROM {table} WHERE uid = ?", (uid,))
    keyindex.forget(tx, uid)
    duetimes.forget(tx, uid)
    tx.execute("DELETE FROM objects WHERE uid = ?", (uid,))
    version = _next_version(tx)
    tx.execute("INSERT INTO tombstones VALUES (?, ?, ?, ?)", (version, present.kind.value, uid, meta.name))
    tx.execute(
        "DELETE FROM tombstones WHERE seq <= (SELECT seq FROM tombstones ORDER BY seq DESC LIMIT 1 OFFSET ?)",
        (MAX_TOMBSTONES,),
    )


# ---- aliases ---------------------------------------------------------------------------------------------------------


def _write_aliases(tx: sqlite3.Connection, uid: str, spec: DesiredKey, now: datetime) -> None:
    """Make the alias table say what the spec says. An alias that stays keeps its creation time."""
    present = {row[0] for row in tx.execute("SELECT name FROM aliases WHERE uid = ?", (uid,))}
    for name in present - set(spec.aliases):
        tx.execute("DELETE FROM aliases WHERE region = ? AND name = ?", (spec.region, name))
    stamp = now.timestamp()
    for name in spec.aliases:
        if name in present:
            continue
        taken = tx.execute("SELECT uid FROM aliases WHERE region = ? AND name = ?", (spec.region, name)).fetchone()
        if taken is not None:
            raise AlreadyExists(f"alias/{name} already names another key in {spec.region}")
        tx.execute("INSERT INTO aliases VALUES (?, ?, ?, ?, ?)", (spec.region, name, uid, stamp, stamp))


def move_alias(tx: sqlite3.Connection, region: str, name: str, uid: str, now: datetime) -> None:
    """Let an alias name another key, ahead of both keys' new specs; it keeps its creation time."""
    tx.execute(
        "UPDATE aliases SET uid = ?, updated_at = ? WHERE region = ? AND name = ?", (uid, now.timestamp(), region, name)
    )


def release_aliases(tx: sqlite3.Connection, uid: str, names: Sequence[str]) -> None:
    """Take alias rows from a key ahead of its new spec, so that another key can take them in the same transaction."""
    for name in names:
        tx.execute("DELETE FROM aliases WHERE uid = ? AND name = ?", (uid, name))


def find_alias(tx: sqlite3.Connection, region: str, name: str) -> AliasRow | None:
    """An alias (name without prefix) of a Region."""
    row = tx.execute("SELECT * FROM aliases WHERE region = ? AND name = ?", (region, name)).fetchone()
    return AliasRow(*row) if row else None


def keys_of_alias(tx: sqlite3.Connection, name: str) -> list[Key]:
    """The keys that an alias (without prefix) names, by Region: at most one in each."""
    rows = tx.execute(
        f"SELECT {COLUMNS} FROM objects WHERE uid IN (SELECT uid FROM aliases WHERE name = ?) ORDER BY region", (name,)
    )
    return [cast(Key, decode(row)) for row in rows]


def list_aliases(
    tx: sqlite3.Connection, region: str, *, uid: str | None = None, after: str = "", limit: int = 100
) -> list[tuple[AliasRow, str]]:
    """Aliases of a Region by name, with the key id each names; optionally of one key."""
    where, values = "a.region = ? AND a.name > ?", [region, after]
    if uid is not None:
        where += " AND a.uid = ?"
        values.append(uid)
    rows = tx.execute(
        f"SELECT a.*, o.key_id FROM aliases a JOIN objects o ON o.uid = a.uid WHERE {where} ORDER BY a.name LIMIT ?",
        (*values, limit),
    )
    return [(AliasRow(*row[:5]), row[5]) for row in rows]


def moment(seconds: float) -> datetime:
    """A stored time as an aware datetime."""
    return datetime.fromtimestamp(seconds, UTC)
