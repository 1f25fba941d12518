"""A control plane without doors: real database, real plugins, one pass at a time, and restarts on the same disk."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from controlplane.audit.journal import AuditJournal
from controlplane.clock import ManualClock
from controlplane.keystores.calls import Calls
from controlplane.keystores.connections import Connections
from controlplane.reconcile.deletion import Deletion
from controlplane.reconcile.external import External
from controlplane.reconcile.imported import ImportedMaterials
from controlplane.reconcile.keys import KeyReconciler, Verdict
from controlplane.reconcile.keystores import KeyStoreReconciler
from controlplane.reconcile.principals import PrincipalReconciler
from controlplane.schema.conditions import Condition, ConditionType, find_condition
from controlplane.schema.keys import DesiredKey, KeySpec, KeyUsage, Origin
from controlplane.schema.keystores import STANDARD, DesiredKeyStore, KeyStoreStatus
from controlplane.schema.meta import CONNECTION_FINALIZER, AnyObject, Key, KeyStore, Kind, XksProxy
from controlplane.schema.xksproxies import XksServing
from controlplane.store import attempts, duetimes, keys, objects
from controlplane.store.database import Database, Tx
from controlplane.store.lease import Lease
from controlplane.store.material import StoredPluginState
from plugins.memory import MemoryKeyStore
from plugins.memory.device import FileDevice

T = TypeVar("T")

HSM = "hsm-a"
ACCOUNT, REGION = "000000000000", "us-east-1"


class NoPorts:
    """No proxy is declared in these worlds: ports are the matter of ``tests/controlplane/api/xks``."""

    async def serve(self, proxy: XksProxy) -> XksServing:
        raise AssertionError("no proxy is declared in this world")

    async def withdraw(self, uid: str) -> None:
        raise AssertionError("no proxy is declared in this world")


class World:
    """``hsm-a`` is a memory store on a device file (custody device), ``standard`` the software one (custody token)."""

    def __init__(self, directory: Path, clock: ManualClock) -> None:
        self.directory = directory
        self.clock = clock
        self.device = directory / "device.json"
        self.listeners = NoPorts()

    # ---- life ------------------------------------------------------------------------------------------------------

    async def start(self, *, lease: bool = True) -> None:
        """A new process on the same disk."""
        self.database = Database(self.directory / "keystead.db")
        self.database.open()
        self.audit = AuditJournal(self.directory / "audit")
        self.audit.open()
        self.connections = Connections(lambda name: StoredPluginState(self.database, name), self.clock)
        self.calls = Calls(self.connections)
        self.lease = Lease(self.database)
        if lease:
            assert await self.lease.take(self.clock.now())
        external = External(self.database, self.calls, self.clock, self.lease)
        deletion = Deletion(self.database, external, self.audit, self.clock)
        imported = ImportedMaterials(self.database, self.calls, self.audit, self.clock)
        self.keys = KeyReconciler(self.database, self.connections, external, deletion, imported, self.clock)
        self.key_stores = KeyStoreReconciler(self.database, self.calls, self.clock, self.options_of)
        self.principals = PrincipalReconciler(self.database, self.clock)

    async def stop(self) -> None:
        """The process ends; nothing it kept in memory is left."""
        for name in self.connections.names():
            taken = self.connections.take(name)
            assert taken is not None
            await self.calls.close(taken)
        self.lease.release()
        await self.audit.close()
        self.database.close()

    async def restart(self, *, connect: bool = True) -> None:
        await self.stop()
        await self.start()
        if connect:
            await self.connect()

    def options_of(self, store: KeyStore) -> dict[str, Any]:
        if store.metadata.name == STANDARD:
            return self._standard
        return store.spec.plugin_options()

    # ---- objects ---------------------------------------------------------------------------------------------------

    async def add_store(self, name: str = HSM, store_type: str = "memory", **options: Any) -> KeyStore:
        spec = DesiredKeyStore(type=store_type)
        if store_type == "memory":
            spec = msgspec.structs.replace(spec, memory={"device": str(self.device), **options})
        elif store_type == "pkcs11":
            spec = msgspec.structs.replace(spec, pkcs11=options)
        elif store_type == STANDARD:
            standard = self.connections.prepare(name, store_type, self._standard)
            await self.calls.provision(standard)
        now = self.clock.now()
        added = await self.database.write(
            lambda tx: objects.insert(
                tx,
                now=now,
                kind=Kind.KEY_STORE,
                uid=str(uuid.uuid4()),
                name=name,
                spec=spec,
                status=KeyStoreStatus(created_at=now),
                finalizers=(CONNECTION_FINALIZER,),
            )
        )
        return cast(KeyStore, added)

    @property
    def _standard(self) -> dict[str, Any]:
        return {"rootKey": {"provider": "file", "path": str(self.directory / "root.key")}}

    async def add_key(self, name: str = "k", store: str = HSM, **fields: Any) -> Key:
        fields.setdefault("origin", Origin.AWS_KMS if store == STANDARD else Origin.AWS_CLOUDHSM)
        fields.setdefault("key_usage", KeyUsage.ENCRYPT_DECRYPT)
        desired = DesiredKey(key_store=store, region=REGION, key_spec=KeySpec.SYMMETRIC_DEFAULT)
        desired = msgspec.structs.replace(desired, **fields)
        now = self.clock.now()
        return await self.database.write(
            lambda tx: keys.create(tx, desired=desired, account=ACCOUNT, now=now, name=name)
        )

    async def change(self, name: str, **fields: Any) -> Key:
        uid, now = self.key(name).metadata.uid, self.clock.now()
        return await self.database.write(lambda tx: keys.change(tx, uid, now, **fields))

    async def change_store(self, name: str, **fields: Any) -> None:
        store, now = self.store(name), self.clock.now()
        spec = msgspec.structs.replace(store.spec, **fields)
        await self.database.write(lambda tx: objects.replace(tx, store.metadata.uid, now=now, spec=spec))

    async def schedule(self, name: str = "k", days: int = 7) -> datetime:
        """Schedule a deletion; when it is due."""
        uid, now = self.key(name).metadata.uid, self.clock.now()
        key = await self.database.write(lambda tx: keys.schedule_deletion(tx, uid, window_days=days, by="me", now=now))
        assert key.metadata.deletion is not None
        return key.metadata.deletion.due_at

    async def cancel(self, name: str = "k", now: datetime | None = None) -> Key:
        uid, moment = self.key(name).metadata.uid, now or self.clock.now()
        return await self.database.write(lambda tx: keys.cancel_deletion(tx, uid, by="me", now=moment))

    # ---- passes ----------------------------------------------------------------------------------------------------

    async def look(self, name: str = "k") -> Verdict | None:
        """One pass over a key."""
        return await self.keys.reconcile(self.key(name).metadata.uid)

    async def connect(self, name: str | None = None) -> Verdict | None:
        """One pass over one key store, or all."""
        verdict = None
        for store in [self.store(name)] if name else self.all(Kind.KEY_STORE):
            verdict = await self.key_stores.reconcile(store.metadata.uid)
        return verdict

    def fault(self, call: str, effect: str, at: int = 0, store: str = HSM) -> None:
        MemoryKeyStore.script(store, call, effect, at)

    # ---- looking ---------------------------------------------------------------------------------------------------

    def read(self, query: Callable[[Tx], T]) -> T:
        return self.database.read(query)

    def find(self, name: str = "k") -> Key | None:
        return cast("Key | None", self.read(lambda tx: objects.get_named(tx, Kind.KEY, name)))

    def key(self, name: str = "k") -> Key:
        found = self.find(name)
        assert found is not None
        return found

    def store(self, name: str = HSM) -> KeyStore:
        found = self.read(lambda tx: objects.get_named(tx, Kind.KEY_STORE, name))
        assert isinstance(found, KeyStore)
        return found

    def all(self, kind: Kind) -> list[AnyObject]:
        return self.read(lambda tx: objects.page(tx, kind))

    def synced(self, name: str = "k") -> Condition:
        found = find_condition(self.key(name).status.conditions, ConditionType.SYNCED)
        assert found is not None
        return found

    def ready(self, name: str = "k") -> Condition:
        found = find_condition(self.key(name).status.conditions, ConditionType.READY)
        assert found is not None
        return found

    def due(self, name: str = "k") -> datetime | None:
        """What the table of due times says of a key."""
        uid = self.key(name).metadata.uid
        every = self.read(lambda tx: duetimes.between(tx, (0.0, ""), float("inf"), 1000))
        return next((datetime.fromtimestamp(at, UTC) for at, found in every if found == uid), None)

    def version(self) -> int:
        return self.read(objects.current_version)

    def in_device(self) -> set[str]:
        return set(FileDevice(self.device).read())

    def in_status(self) -> set[str]:
        return {material.name for key in cast("list[Key]", self.all(Kind.KEY)) for material in key.status.materials}

    def tokens(self) -> set[str]:
        return self.read(lambda tx: {row[0] for row in tx.execute("SELECT name FROM tokens")})

    def open_attempts(self) -> int:
        return len(self.read(attempts.all_open))

    def attempts(self) -> list[tuple[str, str | None]]:
        """Verb and outcome of every attempt so far."""
        return self.read(
            lambda tx: [tuple(row) for row in tx.execute("SELECT verb, outcome FROM attempts ORDER BY id")]
        )
