"""A spec set and a database to plan it against."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import msgspec

from controlplane.clock import ManualClock
from controlplane.planning import apply
from controlplane.planning.live import Options, Surroundings
from controlplane.planning.planner import Draft, make_plan
from controlplane.schema.documents import Document, DocumentMetadata, Located, declare, received
from controlplane.schema.keys import DesiredKey, MaterialState, MaterialStatus
from controlplane.schema.keystores import STANDARD, ConnectionState, DesiredKeyStore, KeyStoreStatus
from controlplane.schema.meta import AnyObject, Key, Kind
from controlplane.schema.plans import Action, Applied, Plan, PlannedChange
from controlplane.schema.principals import DesiredPrincipal
from controlplane.schema.xksproxies import DesiredXksProxy, XksCredential, XksTls
from controlplane.store import credentials, keys, objects
from controlplane.store.database import Database, Tx
from plugins.sdk import SecretSource

T = TypeVar("T")

ACCOUNT, REGIONS = "000000000000", ("us-east-1", "eu-west-1")
SET = "payments"


def key(name: str = "k", **fields: Any) -> Document:
    return declare(name, DesiredKey(**fields))


def store(name: str = "hsm-a", **fields: Any) -> Document:
    return declare(name, DesiredKeyStore(**{"type": "memory", **fields}))


def person(name: str = "p", **fields: Any) -> Document:
    return declare(name, DesiredPrincipal(**fields))


def formerly(name: str, document: Document) -> Document:
    """The document of an object that had this name."""
    return msgspec.structs.replace(document, metadata=DocumentMetadata(name=document.name, moved_from=name))


class Planning:
    """Plans and applies as the reconciliation API does."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.database = database
        self.clock = clock

    async def start(self) -> None:
        now = self.clock.now()
        status = KeyStoreStatus(created_at=now, connection=ConnectionState.CONNECTED)
        await self.write(
            lambda tx: objects.insert(
                tx,
                now=now,
                kind=Kind.KEY_STORE,
                uid="standard",
                name=STANDARD,
                spec=DesiredKeyStore(type=STANDARD),
                status=status,
            )
        )

    # ---- doing -----------------------------------------------------------------------------------------------------

    async def write(self, work: Callable[[Tx], T]) -> T:
        return await self.database.write(work)

    def draft(
        self, tx: Tx, documents: Sequence[Document], spec_set: str = SET, options: Options | None = None
    ) -> Draft:
        around = self.around()
        return make_plan(tx, self.located(documents), spec_set, around, options)

    def around(self) -> Surroundings:
        return Surroundings(
            server_id="server",
            account=ACCOUNT,
            default_region=REGIONS[0],
            regions=REGIONS,
            now=self.clock.now(),
            plan_id=str(uuid.uuid4()),
        )

    @staticmethod
    def located(documents: Sequence[Document]) -> list[Located]:
        """As they come over HTTP, every field written that differs from its default."""
        return received(documents, [msgspec.to_builtins(document.spec) for document in documents])

    async def plan(self, *documents: Document, spec_set: str = SET, **options: Any) -> Plan:
        """Make a plan and keep it."""

        def work(tx: Tx) -> Plan:
            draft = self.draft(tx, documents, spec_set, Options(**options))
            apply.keep(tx, draft)
            return draft.plan

        return await self.write(work)

    async def apply(self, plan: Plan, by: str = "me") -> Applied:
        applied = await self.apply_only(plan, by)
        await self.make_material()
        return applied

    async def apply_only(self, plan: Plan, by: str = "me") -> Applied:
        """Ahead of the reconciler: new keys have no material yet."""
        now = self.clock.now()
        return await self.write(lambda tx: apply.apply_stored(tx, plan.id, account=ACCOUNT, by=by, now=now))

    async def make_material(self) -> None:
        """What the reconciler does with every key that has no material yet."""
        now = self.clock.now()

        def make(tx: Tx) -> None:
            for uid in objects.uids(tx, Kind.KEY):
                status = cast(Key, objects.require(tx, uid)).status
                if status.current is None:
                    made = MaterialStatus(material_id=uid, name=uid, state=MaterialState.CURRENT, created_at=now)
                    objects.replace(tx, uid, now=now, status=msgspec.structs.replace(status, materials=(made,)))

        await self.write(make)

    async def declare(self, *documents: Document, spec_set: str = SET, **options: Any) -> Plan:
        """Plan and apply at once; the plan that was applied."""
        plan = await self.plan(*documents, spec_set=spec_set, **options)
        await self.apply(plan)
        return plan

    async def put(self, document: Document, owner: str = "") -> Applied:
        """What ``PUT /v1/keys/{name}`` does: one document, nothing pruned, planned and applied in one transaction."""
        now = self.clock.now()

        def work(tx: Tx) -> Applied:
            draft = self.draft(tx, [document], owner, Options(prune=False, replace=True))
            return apply.apply_draft(tx, draft, account=ACCOUNT, by="me", now=now)

        return await self.write(work)

    async def change(self, name: str, **fields: Any) -> None:
        """A change past every plan, as through the KMS API."""
        uid, now = self.get(name).metadata.uid, self.clock.now()
        await self.write(lambda tx: keys.change(tx, uid, now, **fields))

    async def give_token(self, name: str) -> None:
        """A bearer token for a principal, past every plan."""
        uid, now = self.get(name, Kind.PRINCIPAL).metadata.uid, self.clock.now()
        await self.write(lambda tx: credentials.add_token(tx, token=name, token_id=name, uid=uid, now=now))

    async def replace(self, found: AnyObject, **fields: Any) -> None:
        now = self.clock.now()
        await self.write(lambda tx: objects.replace(tx, found.metadata.uid, now=now, **fields))

    # ---- looking ---------------------------------------------------------------------------------------------------

    def find(self, name: str, kind: Kind = Kind.KEY) -> AnyObject | None:
        return self.database.read(lambda tx: objects.get_named(tx, kind, name))

    def get(self, name: str, kind: Kind = Kind.KEY) -> AnyObject:
        found = self.find(name, kind)
        assert found is not None
        return found

    def key(self, name: str = "k") -> Key:
        return cast(Key, self.get(name))

    def everything(self) -> bytes:
        """All objects, aliases and versions, to see whether anything changed."""

        def read(tx: Tx) -> bytes:
            live = [each for kind in Kind for each in objects.page(tx, kind)]
            aliases = tx.execute("SELECT * FROM aliases ORDER BY 1, 2").fetchall()
            return msgspec.json.encode([live, [list(row) for row in aliases], objects.current_version(tx)])

        return self.database.read(read)


def told(plan: Plan) -> dict[str, tuple[Action, str]]:
    """Action and reason by name."""
    return {change.name: (change.action, change.reason.value) for change in plan.changes}


def only(plan: Plan) -> PlannedChange:
    (change,) = plan.changes
    return change


def paths(change: PlannedChange) -> dict[str, tuple[Any, Any]]:
    return {field.path: (field.before, field.after) for field in change.fields if field.known}


def proxy(name: str = "bank", **fields: Any) -> Document:
    """An XKS proxy that exposes nothing unless told."""
    credential = XksCredential(access_key_id="A" * 20, secret=SecretSource(from_env="SECRET"))
    tls = XksTls(certificate="crt", key="key")
    return declare(name, DesiredXksProxy(**{"tls": tls, "credentials": (credential,), **fields}))
