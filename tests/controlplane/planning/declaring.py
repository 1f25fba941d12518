"""Two spec sets as their owners keep them, and a server that can die between any two steps.

The files of a set are documents as they stand in JSON. They go through the same reading, plan and apply as a request
does, and a pass is the reconciler's: drift put back, convergence, drift told.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from copy import deepcopy
from typing import Any, TypeVar

import msgspec

from controlplane.domain.ownership import differences, leaves_of, set_manager
from controlplane.planning import apply
from controlplane.planning.live import Options, Surroundings
from controlplane.planning.planner import make_plan
from controlplane.reconcile.drift import Drift
from controlplane.schema.base import API_VERSION
from controlplane.schema.documents import decode_documents, received, written_specs
from controlplane.schema.keys import Management
from controlplane.schema.meta import AnyObject, Key, Kind
from controlplane.schema.plans import Plan, PlanReason
from controlplane.store import claims, objects
from controlplane.store.database import Tx
from plugins.memory.device import FileDevice, Slot
from tests.controlplane.reconcile.world import ACCOUNT, REGION, World

T = TypeVar("T")

CALLS = ("open", "close", "probe", "maintain", "create", "adopt", "observe", "destroy")
"""What the reconciler asks of a plugin."""

Place = tuple[str, str]
"""Kind and name of a document."""


class Dead(BaseException):
    """The process has died; nothing of it goes on."""


class MortalWorld(World):
    """A world whose process dies at the ``n``-th step that leaves it: a write, a call of a plugin, an audit record.

    Each such step is a point before it and a point behind it, so that what it did may be done and not known.
    """

    async def start(self, *, lease: bool = True) -> None:
        await super().start(lease=lease)
        self.drift = Drift(self.database, self.clock)
        self._left: int | None = None
        self._died = asyncio.Event()
        self._mortal(self.database, "write")
        self._mortal(self.audit, "append")
        for call in CALLS:
            self._mortal(self.calls, call)

    def _mortal(self, owner: Any, name: str) -> None:
        real: Callable[..., Awaitable[Any]] = getattr(owner, name)

        async def step(*arguments: Any, **named: Any) -> Any:
            await self._point()
            answer = await real(*arguments, **named)
            await self._point()
            return answer

        setattr(owner, name, step)

    async def _point(self) -> None:
        if self._died.is_set():
            raise Dead
        if self._left is None:
            return
        if self._left == 0:
            self._died.set()
            await asyncio.Event().wait()
        self._left -= 1

    async def dying(self, work: Coroutine[Any, Any, T], after: int) -> T | None:
        """Run ``work`` until it has passed ``after`` points, then die and start again; None if it died."""
        self._left = after
        task, died = asyncio.ensure_future(work), asyncio.ensure_future(self._died.wait())
        await asyncio.wait([task, died], return_when=asyncio.FIRST_COMPLETED)
        self._left = None
        died.cancel()
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self._died.clear()
        await self.restart()
        return None

    async def pass_over(self, found: AnyObject) -> None:
        """One pass of the reconciler over one object, as ``runtime`` makes it."""
        uid, kind = found.metadata.uid, Kind(found.kind)
        await self.drift.correct(uid)
        by_kind = {Kind.KEY: self.keys, Kind.KEY_STORE: self.key_stores, Kind.PRINCIPAL: self.principals}
        verdict = await by_kind[kind].reconcile(uid)
        if verdict is None or not verdict.gone:
            await self.drift.tell(uid)

    def everything(self) -> list[AnyObject]:
        """All objects, key stores first."""
        return [each for kind in (Kind.KEY_STORE, Kind.PRINCIPAL, Kind.KEY) for each in self.all(kind)]

    async def pass_over_all(self) -> None:
        for found in self.everything():
            await self.pass_over(found)

    # ---- the device ------------------------------------------------------------------------------------------------

    def lose(self, name: str) -> Slot | None:
        """Material goes from the device, past the server."""
        with FileDevice(self.device).change() as slots:
            return slots.pop(name, None)

    def put(self, name: str, slot: Slot) -> None:
        """Material comes into the device, past the server."""
        with FileDevice(self.device).change() as slots:
            slots[name] = slot


class SpecSet:
    """The files of one set."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.files: dict[Place, dict[str, Any]] = {}
        self.applied: dict[Place, dict[str, Any]] = {}
        """As they were when an apply was last acknowledged."""

    def write(self, kind: str, name: str, spec: dict[str, Any], moved_from: str | None = None) -> None:
        metadata = {"name": name} | ({} if moved_from is None else {"movedFrom": moved_from})
        self.files[kind, name] = {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}

    def spec(self, place: Place) -> dict[str, Any]:
        spec: dict[str, Any] = self.files[place]["spec"]
        return spec

    def revert(self) -> None:
        """Back to what was applied last."""
        self.files = deepcopy(self.applied)

    def acknowledged(self) -> None:
        """An apply was answered: names that moved have moved."""
        for document in self.files.values():
            document["metadata"].pop("movedFrom", None)
        self.applied = deepcopy(self.files)

    def drop(self, place: Place, path: str) -> None:
        """Take one leaf out of a document."""
        spec = self.spec(place)
        name, _, rest = path.partition(".")
        if not rest:
            spec.pop(name, None)
        elif isinstance(spec.get(name), list):
            spec[name] = [each for each in spec[name] if each != rest]
        elif name in spec:
            spec[name].pop(rest, None)


class Declaring:
    """Plans and applies for the sets of a world."""

    def __init__(self, world: MortalWorld) -> None:
        self.world = world

    async def plan(self, of: SpecSet, *, take: bool = False, targets: tuple[str, ...] = ()) -> Plan:
        """Make a plan as ``POST /v1/plans`` does, and keep it. Raises :class:`InvalidSpec`."""
        raw = msgspec.json.encode(list(of.files.values()))
        located = received(decode_documents(raw), written_specs(raw))
        around = Surroundings(
            server_id="server",
            account=ACCOUNT,
            default_region=REGION,
            regions=(REGION,),
            now=self.world.clock.now(),
            plan_id=str(uuid.uuid4()),
        )
        options = Options(take_ownership=take, targets=targets)
        draft = await self.world.database.snapshot(lambda tx: make_plan(tx, located, of.name, around, options))
        await self.world.database.write(lambda tx: apply.keep(tx, draft))
        return draft.plan

    async def apply(self, plan: Plan) -> None:
        """Raises :class:`Blocked` and :class:`StalePlan`."""
        now = self.world.clock.now()
        await self.world.database.write(
            lambda tx: apply.apply_stored(tx, plan.id, account=ACCOUNT, by="user/ci", now=now)
        )

    def was_applied(self, plan: Plan) -> bool:
        """Whether the plan's apply was committed, answered or not."""
        return self.world.read(
            lambda tx: tx.execute("SELECT applied_at FROM plans WHERE id = ?", (plan.id,)).fetchone()[0] is not None
        )

    def state(self) -> bytes:
        """All that plans, applies and corrections write."""

        def read(tx: Tx) -> bytes:
            claims = tx.execute("SELECT * FROM claims ORDER BY uid, manager").fetchall()
            return msgspec.json.encode([objects.current_version(tx), [list(row) for row in claims]])

        return self.world.read(read)

    def as_stated(self, of: SpecSet) -> None:
        """Every document of the set is what its object is now."""
        for (kind, name), document in of.files.items():
            found = self.world.read(lambda tx, k=kind, n=name: objects.get_named(tx, Kind(k), n))  # type: ignore[misc]
            assert found is not None, f"{kind} {name} was acknowledged and is not there"
            uid, manager = found.metadata.uid, set_manager(of.name)
            kept = {each.claim.manager: each.claim for each in self.world.read(lambda tx, u=uid: claims.of(tx, u))}  # type: ignore[misc]
            assert kept[manager].leaves.keys() == leaves_of(document["spec"]).keys(), f"{of.name} states it"
            if document["spec"].get("management") != Management.OBSERVE:
                differs = differences(Kind(kind), found.spec, leaves_of(document["spec"]))
                assert not differs, f"{kind} {name} was acknowledged otherwise: {differs}"

    # ---- what a person does about a plan that cannot be applied ------------------------------------------------------

    def remedy(self, of: SpecSet, plan: Plan) -> None:
        """Do what each blocked change says, in the files."""
        for change in plan.changes:
            place = (change.kind.value, change.name)
            if change.action == "blocked":
                self._remedy(of, place, change.reason, change.uid, change.message)

    def _remedy(self, of: SpecSet, place: Place, reason: PlanReason, uid: str | None, message: str) -> None:
        if place not in of.files:  # it was taken out and cannot leave: put it back as it is
            assert reason in (PlanReason.PROTECTED, PlanReason.SHARED, PlanReason.KEYS_IN_STORE, PlanReason.KEY_STATE)
            if place in of.applied:
                of.files[place] = deepcopy(of.applied[place])
            else:  # an apply that was never answered declared it
                of.write(*place, self._minimal(place, uid or ""))
        elif reason is PlanReason.FIELD_OWNED:
            for told in message.split(";", maxsplit=1)[0].split(", "):
                of.drop(place, told.split(" is stated by ")[0])
        elif reason is PlanReason.ALIAS_TAKEN:
            of.drop(place, "aliases." + message.split(" ", maxsplit=1)[0].removeprefix("alias/"))
        elif reason is PlanReason.PROTECTION_LIFTED_APART:
            of.spec(place).setdefault("deletion", {})["protect"] = True
        elif reason is PlanReason.NOTHING_TO_ADOPT or (
            reason is PlanReason.OWNED_ELSEWHERE and "management" in of.spec(place)
        ):
            of.spec(place).pop("management")
        else:
            del of.files[place]

    def _minimal(self, place: Place, uid: str) -> dict[str, Any]:
        """What a document of an object says at least."""
        found = self.world.read(lambda tx: objects.require(tx, uid))
        if isinstance(found, Key):
            return {"keyStore": found.spec.key_store, "deletion": {"protect": found.spec.deletion.protect}}
        return {"type": "memory", "memory": {"device": str(self.world.device)}} if place[0] == Kind.KEY_STORE else {}
