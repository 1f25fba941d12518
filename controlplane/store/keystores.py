"""How a key store comes to be in the store and how what is wanted of it changes; the only code that writes that.

Who calls it: the apply of a plan, and the custom key store operations of the KMS API, inside their transactions.
Guarantees: a key store is born the same way, whoever asks; connecting and disconnecting are seen by every reader at
once, ahead of the reconciler that does them; a store that is removed leaves no secret behind.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import cast

import msgspec

from controlplane.domain.ownership import KMS
from controlplane.schema.keystores import STANDARD, ConnectionState, DesiredKeyStore, KeyStoreStatus
from controlplane.schema.meta import CONNECTION_FINALIZER, KeyStore, Kind
from controlplane.store import claims, objects

PAGE = 500


def create(
    tx: sqlite3.Connection,
    *,
    name: str,
    spec: DesiredKeyStore,
    now: datetime,
    uid: str | None = None,
    spec_set: str | None = None,
) -> KeyStore:
    """A new key store, not connected yet. Raises :class:`AlreadyExists` if the name is taken."""
    created = objects.insert(
        tx,
        now=now,
        kind=Kind.KEY_STORE,
        uid=uid or str(uuid.uuid4()),
        name=name,
        spec=spec,
        status=KeyStoreStatus(created_at=now),
        spec_set=spec_set,
        finalizers=(CONNECTION_FINALIZER,),
    )
    return cast(KeyStore, created)


def put_spec(tx: sqlite3.Connection, store: KeyStore, spec: DesiredKeyStore, now: datetime, *, by: str) -> KeyStore:
    """Give a key store its new desired state through the KMS API. What it changes of a spec set's store, it holds."""
    changed = cast(KeyStore, objects.replace(tx, store.metadata.uid, now=now, spec=spec))
    _note(tx, store, spec, now, by)
    return changed


def connect(tx: sqlite3.Connection, uid: str, now: datetime, *, by: str) -> KeyStore:
    """Ask for a connection. A store that is connected stays so."""
    store = cast(KeyStore, objects.require(tx, uid))
    if store.status.connection is ConnectionState.CONNECTED:
        return store
    return _switch(tx, store, now, by, ConnectionState.CONNECTING, connected=True)


def disconnect(tx: sqlite3.Connection, uid: str, now: datetime, *, by: str) -> KeyStore:
    """Ask for the connection to end. From now on nobody uses the store's keys."""
    store = cast(KeyStore, objects.require(tx, uid))
    return _switch(tx, store, now, by, ConnectionState.DISCONNECTING, connected=False)


def remove(tx: sqlite3.Connection, uid: str, now: datetime) -> None:
    """Take out a key store that is not connected and holds no keys. The caller has made sure of both."""
    store = cast(KeyStore, objects.require(tx, uid))
    left = tuple(name for name in store.metadata.finalizers if name != CONNECTION_FINALIZER)
    objects.replace(tx, uid, now=now, finalizers=left)
    forget(tx, store)
    objects.remove(tx, uid)


def forget(tx: sqlite3.Connection, store: KeyStore) -> None:
    """Forget the secrets that are kept for a store."""
    tx.execute("DELETE FROM key_store_secrets WHERE uid = ?", (store.metadata.uid,))


def custom(tx: sqlite3.Connection) -> Iterator[KeyStore]:
    """Every key store but the standard one, by name."""
    after = ""
    while page := objects.page(tx, Kind.KEY_STORE, after=after, limit=PAGE):
        after = page[-1].metadata.name
        yield from (cast(KeyStore, store) for store in page if store.metadata.name != STANDARD)


# ---- secrets ---------------------------------------------------------------------------------------------------------


def put_secrets(tx: sqlite3.Connection, uid: str, sealed: Mapping[str, bytes]) -> None:
    """Keep sealed secrets of a key store, by name, in place of all that it had."""
    tx.execute("DELETE FROM key_store_secrets WHERE uid = ?", (uid,))
    tx.executemany("INSERT INTO key_store_secrets VALUES (?, ?, ?)", ((uid, *each) for each in sealed.items()))


def find_secret(tx: sqlite3.Connection, uid: str, name: str) -> bytes | None:
    """A sealed secret of a key store."""
    row = tx.execute("SELECT sealed FROM key_store_secrets WHERE uid = ? AND name = ?", (uid, name)).fetchone()
    return bytes(row[0]) if row else None


# ---- inside ----------------------------------------------------------------------------------------------------------


def _switch(
    tx: sqlite3.Connection, store: KeyStore, now: datetime, by: str, state: ConnectionState, *, connected: bool
) -> KeyStore:
    spec = msgspec.structs.replace(store.spec, connected=connected)
    status = msgspec.structs.replace(store.status, connection=state, problem=None)
    # Asked for anew, even if it was wanted already: a password that was refused is tried again when somebody says so.
    uid, requested = store.metadata.uid, spec == store.spec
    switched = cast(KeyStore, objects.replace(tx, uid, now=now, spec=spec, status=status, requested=requested))
    _note(tx, store, spec, now, by)
    return switched


def _note(tx: sqlite3.Connection, store: KeyStore, spec: DesiredKeyStore, now: datetime, by: str) -> None:
    if store.metadata.spec_set is not None:
        claims.note(tx, store.metadata.uid, store.spec, spec, manager=KMS, by=by, now=now)
