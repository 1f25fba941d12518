"""Declared state stays true: whatever is declared, whatever happens past the files and whenever the process dies, the
files are in force at most three passes after they were applied, and then a plan of them is empty.

A model of two teams is driven by hypothesis: each edits its own files, plans and applies them, takes fields from the
other, renames, adopts and lets go; people use the KMS API and the reconciliation API past the files; the device loses
material and gains some; the process dies at any step of an apply or a pass; the clock goes on. After each step:

- nothing was destroyed before its window, and nothing that is not a key's;
- a plan, and an apply that is refused, wrote nothing;
- an apply that was answered holds, all of it, whatever died since.

``KEYSTEAD_LONG=1`` searches longer.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from controlplane.clock import ManualClock
from controlplane.domain.ownership import API, KMS, set_manager
from controlplane.domain.schedule import deletion_due
from controlplane.errors import Blocked, InvalidSpec, KeysteadError, KeyStoreNotFound, StalePlan
from controlplane.planning import management
from controlplane.schema.conditions import ConditionStatus, ConditionType, Reason, find_condition
from controlplane.schema.keys import DesiredKey, KeySpec, KeyUsage, Management, Origin
from controlplane.schema.keystores import STANDARD
from controlplane.schema.meta import AnyObject, Key, Kind
from controlplane.schema.plans import PlanReason
from controlplane.store import claims, keys, objects
from controlplane.store.database import Tx
from plugins.memory import MemoryKeyStore
from plugins.memory.device import Slot
from tests.controlplane.planning.declaring import Declaring, MortalWorld, SpecSet
from tests.controlplane.reconcile.world import ACCOUNT, HSM, REGION

T = TypeVar("T")

LONG = os.environ.get("KEYSTEAD_LONG") == "1"
STORES = {"a": STANDARD, "b": HSM, "c": HSM}
"""Where the key of each name is usually declared."""
PEOPLE = ("ci", "cd")
STRAY = Slot(KeySpec.SYMMETRIC_DEFAULT, b"s" * 32, "stray")
LOOKED_AT = (Management.OBSERVE, Management.PAUSED)

names = st.sampled_from(sorted(STORES))
teams = st.sampled_from(["payments", "platform"])
managements = st.sampled_from([each.value for each in Management])


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


applies = st.fixed_dictionaries(
    {"take": st.booleans(), "after": st.none() | st.integers(0, 5), "only": st.sampled_from([None, None, *STORES])}
)
then = st.none() | applies | applies
"""Whether, and how, an edit is planned and applied at once."""
key_specs = some(
    description=st.sampled_from(["", "x", "y"]),
    enabled=st.booleans(),
    aliases=st.lists(st.sampled_from(["one", "two"]), unique=True),
    tags=some(team=st.sampled_from(["p", "q"]), stage=st.just("test")),
    rotation=some(enabled=st.booleans(), periodDays=st.sampled_from([90, 365])),
    deletion=some(windowDays=st.integers(7, 9), protect=st.booleans()),
    management=managements,
)


class DeclaredState(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        MemoryKeyStore.reset()
        # Syncing a real disk tests nothing here and takes most of the time.
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.directory = Path(tempfile.mkdtemp(prefix="keystead-declared-", dir=memory))
        self.runner = asyncio.Runner()
        self.clock = ManualClock()
        self.latest = self.clock.now()
        self.world = MortalWorld(self.directory, self.clock)
        self.sets = {name: SpecSet(name) for name in ("platform", "payments")}
        self.lost: dict[str, Slot] = {}
        self.strays = 0
        self.run(self._begin())

    async def _begin(self) -> None:
        await self.world.start()
        await self.world.add_store(STANDARD, STANDARD)
        self.declaring = Declaring(self.world)
        platform = self.sets["platform"]
        platform.write("KeyStore", HSM, self.hsm())
        platform.write("Principal", "ci", {"description": "of the pipeline", "tags": {"team": "platform"}})
        await self.declaring.apply(await self.declaring.plan(platform))
        platform.acknowledged()
        await self.world.pass_over_all()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def hsm(self, **fields: Any) -> dict[str, Any]:
        return {"type": "memory", "memory": {"device": str(self.world.device)}, **fields}

    def live(self) -> list[Key]:
        return cast("list[Key]", self.world.all(Kind.KEY))

    # ---- the files -------------------------------------------------------------------------------------------------

    @rule(team=teams, name=names, spec=key_specs, elsewhere=st.sampled_from([False, False, False, True]), then=then)
    def write_key(
        self, team: str, name: str, spec: dict[str, Any], elsewhere: bool, then: dict[str, Any] | None
    ) -> None:
        store = STORES[name]
        if elsewhere:
            store = HSM if store == STANDARD else STANDARD
        self.sets[team].write("Key", name, {"keyStore": store, **spec})
        self.then(team, then)

    @rule(team=teams, name=names, then=then)
    def share_key(self, team: str, name: str, then: dict[str, Any] | None) -> None:
        """Only a tag of its own, of a key that somebody else may own."""
        self.sets[team].write("Key", name, {"keyStore": STORES[name], "tags": {team: "yes"}})
        self.then(team, then)

    @rule(
        team=teams,
        name=st.sampled_from(PEOPLE),
        description=st.sampled_from(["", "x"]),
        tags=some(team=st.sampled_from(["p", "q"])),
        management=managements,
        then=then,
    )
    def write_principal(
        self,
        team: str,
        name: str,
        description: str,
        tags: dict[str, str],
        management: str,
        then: dict[str, Any] | None,
    ) -> None:
        spec = {"description": description, "tags": tags, "management": management}
        self.sets[team].write("Principal", name, spec)
        self.then(team, then)

    @rule(connected=st.booleans(), management=managements, then=then)
    def write_store(self, connected: bool, management: str, then: dict[str, Any] | None) -> None:
        self.sets["platform"].write("KeyStore", HSM, self.hsm(connected=connected, management=management))
        self.then("platform", then)

    @rule(
        team=teams,
        place=st.sampled_from(
            [*(("Key", name) for name in STORES), *(("Principal", name) for name in PEOPLE), ("KeyStore", HSM)]
        ),
        then=then,
    )
    def take_out(self, team: str, place: tuple[str, str], then: dict[str, Any] | None) -> None:
        self.sets[team].files.pop(place, None)
        self.then(team, then)

    @rule(team=teams, kind=st.sampled_from(["Key", "Principal"]), data=st.data(), then=then)
    def move(self, team: str, kind: str, data: st.DataObject, then: dict[str, Any] | None) -> None:
        of = self.sets[team]
        declared = sorted(name for each, name in of.files if each == kind)
        free = sorted({*(STORES if kind == "Key" else PEOPLE)} - set(declared))
        if declared and free:
            name, other = data.draw(st.sampled_from(declared)), data.draw(st.sampled_from(free))
            document = of.files.pop((kind, name))
            of.write(kind, other, document["spec"], moved_from=name)
        self.then(team, then)

    def then(self, team: str, applied: dict[str, Any] | None) -> None:
        if applied is not None:
            self.plan_and_apply(team, **applied)

    # ---- plans and applies -----------------------------------------------------------------------------------------

    @rule(team=teams, how=applies)
    def apply_files(self, team: str, how: dict[str, Any]) -> None:
        self.plan_and_apply(team, **how)

    def plan_and_apply(self, team: str, take: bool, after: int | None, only: str | None) -> None:
        """``after`` so many points the process dies."""
        of = self.sets[team]
        targets = () if only is None or ("Key", only) not in of.files else (f"Key/{only}",)
        before = self.declaring.state()
        try:
            plan = self.run(self.declaring.plan(of, take=take, targets=targets))
        except InvalidSpec:
            of.revert()
            return
        finally:
            assert self.declaring.state() == before, "a plan changes nothing"
        others = self.not_concerned(of)
        try:
            if after is None:
                self.run(self.declaring.apply(plan))
            else:
                self.run(self.world.dying(self.declaring.apply(plan), after))
        except Blocked:
            assert plan.counts.blocked
            assert self.declaring.state() == before, "an apply that is refused changes nothing"
            of.revert()
            return
        if not self.declaring.was_applied(plan):
            return
        assert not plan.counts.blocked
        left = {(found.metadata.uid, repr(found.spec)) for found in self.world.everything()}
        assert left >= others, "what is another set's and not declared here stays as it is"
        if not targets:
            of.acknowledged()
            self.declaring.as_stated(of)

    def not_concerned(self, of: SpecSet) -> set[tuple[str, str]]:
        """Objects that are another set's, of which this one says and said nothing: their uids and specs."""
        said = self.world.read(lambda tx: claims.managed_uids(tx, set_manager(of.name)))
        return {
            (found.metadata.uid, repr(found.spec))
            for found in self.world.everything()
            if found.metadata.spec_set not in (of.name, None)
            and found.metadata.deletion is None  # or it may leave with the restart
            and found.metadata.uid not in said
            and (found.kind, found.metadata.name) not in of.files
        }

    @rule(team=teams, name=names, description=st.sampled_from(["", "x", "z"]))
    def apply_a_plan_that_is_stale(self, team: str, name: str, description: str) -> None:
        """Between plan and apply somebody changes a key of the plan."""
        of = self.sets[team]
        try:
            plan = self.run(self.declaring.plan(of))
        except InvalidSpec:
            of.revert()
            return
        self.over_kms(name, description=description)
        before = self.declaring.state()
        try:
            self.run(self.declaring.apply(plan))
        except (Blocked, StalePlan):
            assert self.declaring.state() == before, "an apply that is refused changes nothing"
        else:
            of.acknowledged()
            if not any(change.name == name for change in plan.changes):
                return
            self.declaring.as_stated(of)

    # ---- past the files --------------------------------------------------------------------------------------------

    def ask(self, name: str, change: Callable[[Tx, Key], object]) -> None:
        """A request about a key over an API; a refusal changes nothing."""
        key = self.world.find(name)
        if key is None:
            return
        before = self.declaring.state()
        try:
            self.run(self.world.database.write(lambda tx: change(tx, key)))
        except KeysteadError:
            assert self.declaring.state() == before

    def over_kms(self, name: str, manager: str = KMS, **fields: Any) -> None:
        now = self.clock.now()
        self.ask(
            name, lambda tx, key: keys.change(tx, key.metadata.uid, now, manager=manager, by="user/alice", **fields)
        )

    @rule(
        name=names, enabled=st.booleans(), description=st.sampled_from(["", "z"]), manager=st.sampled_from([KMS, API])
    )
    def change_a_key(self, name: str, enabled: bool, description: str, manager: str) -> None:
        self.over_kms(name, manager, enabled=enabled, description=description)

    @rule(name=names, tags=st.dictionaries(st.sampled_from(["team", "theirs"]), st.sampled_from(["p", "q"])))
    def tag_a_key(self, name: str, tags: dict[str, str]) -> None:
        self.over_kms(name, tags=tags)

    @rule(name=names, alias=st.sampled_from(["one", "two", "three"]))
    def give_an_alias(self, name: str, alias: str) -> None:
        """CreateAlias, or UpdateAlias if another key has it."""
        now = self.clock.now()

        def change(tx: Tx, key: Key) -> None:
            row = objects.find_alias(tx, REGION, alias)
            if row is not None and row.uid == key.metadata.uid:
                return
            if row is not None:
                objects.move_alias(tx, REGION, alias, key.metadata.uid, now)
                held = cast(Key, objects.require(tx, row.uid)).spec.aliases
                keys.change(tx, row.uid, now, by="user/alice", aliases=tuple(each for each in held if each != alias))
            keys.change(tx, key.metadata.uid, now, by="user/alice", aliases=(*key.spec.aliases, alias))

        self.ask(name, change)

    @rule(name=names, mode=st.sampled_from(list(Management)))
    def manage_otherwise(self, name: str, mode: Management) -> None:
        self.over_kms(name, API, management=mode)

    @rule(name=names, days=st.integers(7, 9))
    def schedule(self, name: str, days: int) -> None:
        now = self.clock.now()
        self.ask(
            name, lambda tx, key: keys.schedule_deletion(tx, key.metadata.uid, window_days=days, by="alice", now=now)
        )

    @rule(name=names)
    def cancel(self, name: str) -> None:
        now = self.clock.now()
        self.ask(name, lambda tx, key: keys.cancel_deletion(tx, key.metadata.uid, by="alice", now=now))

    @rule(name=names)
    def make_a_key(self, name: str) -> None:
        """CreateKey, under a name that a file may want."""
        if self.world.find(name) is None:
            origin = Origin.AWS_KMS if STORES[name] == STANDARD else Origin.AWS_CLOUDHSM
            desired = DesiredKey(
                key_store=STORES[name], region=REGION, key_usage=KeyUsage.ENCRYPT_DECRYPT, origin=origin
            )
            now = self.clock.now()
            create = self.world.database.write(
                lambda tx: keys.create(tx, desired=desired, account=ACCOUNT, now=now, name=name)
            )
            with contextlib.suppress(KeyStoreNotFound):
                self.run(create)

    @rule(name=names, team=teams)
    def adopt(self, name: str, team: str) -> None:
        now = self.clock.now()
        self.ask(name, lambda tx, key: management.adopt(tx, key.metadata.uid, team, None, by="alice", now=now))

    @rule(name=names)
    def forget(self, name: str) -> None:
        now = self.clock.now()
        self.ask(name, lambda tx, key: management.forget(tx, key.metadata.uid, by="alice", now=now))

    # ---- the device and time ---------------------------------------------------------------------------------------

    @rule(name=names)
    def lose_material(self, name: str) -> None:
        key = self.world.find(name)
        for each in key.status.materials if key is not None and key.spec.key_store == HSM else ():
            slot = self.world.lose(each.name)
            if slot is not None:
                self.lost[each.name] = slot

    @rule()
    def find_lost_material(self) -> None:
        self.put_back()

    def put_back(self) -> None:
        """From a backup of the device; what no key names any more is left out."""
        named = self.world.in_status()
        for name, slot in self.lost.items():
            if name in named:
                self.world.put(name, slot)
        self.lost.clear()

    @rule()
    def somebody_makes_material(self) -> None:
        self.strays += 1
        self.world.put(f"stray-{self.strays}", STRAY)

    @rule(
        call=st.sampled_from(["create", "destroy", "observe", "open", "probe"]),
        effect=st.sampled_from(["lost-answer", "lost-request", "unavailable", "refuse", "error"]),
    )
    def device_will_fail(self, call: str, effect: str) -> None:
        if HSM in self.world.connections.names():
            self.world.fault(call, effect)

    @rule(days=st.sampled_from([0.1, 3, 7, 10]))
    def time_passes(self, days: float) -> None:
        self.clock.advance(timedelta(days=days))
        self.latest = self.clock.now()

    # ---- the reconciler --------------------------------------------------------------------------------------------

    @rule(data=st.data(), after=st.none() | st.integers(0, 12))
    def one_pass(self, data: st.DataObject, after: int | None) -> None:
        found: AnyObject = data.draw(st.sampled_from(self.world.everything()), label="object")
        work = self.world.pass_over(found)
        self.run(work if after is None else self.world.dying(work, after))

    @rule(after=st.none() | st.integers(0, 30))
    def pass_over_all(self, after: int | None) -> None:
        work = self.world.pass_over_all()
        self.run(work if after is None else self.world.dying(work, after))

    @rule()
    def restart(self) -> None:
        self.run(self.world.restart())

    # ---- always ----------------------------------------------------------------------------------------------------

    @invariant()
    def nothing_was_destroyed_that_should_not_be(self) -> None:
        device, tokens = self.world.in_device(), self.world.tokens()
        assert {f"stray-{number + 1}" for number in range(self.strays)} <= device, "what no key names is not ours"
        for key in self.live():
            may_be_gone = deletion_due(key.metadata.deletion, self.latest)
            for each in key.status.materials:
                there = each.name in device or each.name in tokens or each.name in self.lost
                assert there or may_be_gone, f"{key.metadata.name} lost its material"

    # ---- at the end ------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        if not hasattr(self, "declaring"):
            return
        try:
            self.run(self.converge())
        finally:
            self.run(self.world.stop())
            self.runner.close()
            shutil.rmtree(self.directory)

    async def converge(self) -> None:
        await self.settle_accounts()
        for _ in range(3):
            await self.world.pass_over_all()
        for of in self.sets.values():
            plan = await self.declaring.plan(of)
            assert plan.empty, f"the second plan of {of.name} is empty: {plan.changes}"
            self.declaring.as_stated(of)
        for found in self.world.everything():
            self.check_settled(found)
        strays = {f"stray-{number + 1}" for number in range(self.strays)}
        tokens = {name for name in self.world.tokens() if name.startswith("keystead:")}
        assert (self.world.in_device() - strays) | tokens == self.world.in_status(), (
            "no orphan, no key without material"
        )
        assert self.world.open_attempts() == 0
        version = self.world.version()
        await self.world.pass_over_all()
        assert self.world.version() == version, "the pass after is a no-op"

    async def settle_accounts(self) -> None:
        """The faults cease, the device has all that it lost, and the teams apply their files, mended where they cannot
        be applied as their plans say."""
        await self.world.restart()  # scripted faults live in the plugin's instance
        self.put_back()
        for _ in range(12):
            await self.world.pass_over_all()  # what is being removed or made ends
            again = False
            for of in self.sets.values():
                again |= await self.apply_what_can_be(of)
            await self.reconnect()
            if not again:
                return
        raise AssertionError("the files cannot be mended")

    async def apply_what_can_be(self, of: SpecSet) -> bool:
        """Apply a set's files, or mend them; whether there was anything to mend."""
        if ("KeyStore", HSM) in of.files:
            of.spec(("KeyStore", HSM))["connected"] = True
        try:
            plan = await self.declaring.plan(of)
        except InvalidSpec as error:
            documents = list(of.files)
            for number in {problem.document for problem in error.problems if problem.document is not None}:
                of.files.pop(documents[number - 1], None)
            return True
        if plan.counts.blocked:
            self.declaring.remedy(of, plan)
            return True
        await self.declaring.apply(plan)
        of.acknowledged()
        self.declaring.as_stated(of)
        # Who shares an object that its owner renamed has to follow in its own files.
        return any(change.reason is PlanReason.MOVED for change in plan.changes)

    async def reconnect(self) -> None:
        """A store that no set connects is connected by hand, or its keys could not be made."""
        for store in self.world.all(Kind.KEY_STORE):
            if store.metadata.name == HSM and not self.world.store().spec.connected:
                await self.world.change_store(HSM, connected=True)

    def check_settled(self, found: AnyObject) -> None:
        name = f"{found.kind} {found.metadata.name}"
        synced = find_condition(found.status.conditions, ConditionType.SYNCED)
        assert synced is not None, f"nobody looked at {name}"
        assert synced.observed_generation == found.metadata.generation, f"{name} was not looked at as it is now"
        if getattr(found.spec, "management", None) is Management.PAUSED and isinstance(found, Key):
            assert synced.reason is Reason.PAUSED
            return
        assert not deletion_due(found.metadata.deletion, self.clock.now()), f"{name} is due and still there"
        assert (synced.status, synced.reason) == (ConditionStatus.TRUE, Reason.UP_TO_DATE), f"{name}: {synced.message}"
        if isinstance(found, Key) and found.metadata.deletion is None:
            assert len(found.status.materials) == 1, f"{name} has its material"


TestDeclaredState = DeclaredState.TestCase
TestDeclaredState.settings = settings(
    max_examples=2_000 if LONG else 20,
    stateful_step_count=60 if LONG else 40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
