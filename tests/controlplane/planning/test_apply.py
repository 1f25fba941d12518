"""Applying: the plan that was shown, once, all of it or nothing, and only on the objects as they were."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.clock import ManualClock
from controlplane.errors import Blocked, KeysteadError, NotFound, StalePlan
from controlplane.planning import apply as module
from controlplane.planning.planner import PLAN_LIFETIME
from controlplane.schema.documents import Document
from controlplane.schema.keys import DeletionSpec, DesiredKey, PolicySource
from controlplane.schema.meta import CONNECTION_FINALIZER, MATERIAL_FINALIZER, Kind
from controlplane.schema.plans import Action
from controlplane.store import keys, objects, plans
from controlplane.store.database import Database
from tests.controlplane.planning.samples import SET, Planning, key, person, store, told

POLICY = (
    '{"Version":"2012-10-17",\r\n\t"Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"ä😀"}]} '
)


def alias_target(planning: Planning, alias: str) -> str | None:
    row = planning.database.read(lambda tx: objects.find_alias(tx, "us-east-1", alias))
    return row.uid if row else None


# ---- what is written -------------------------------------------------------------------------------------------------


async def test_objects_are_made_as_the_plan_says(planning: Planning) -> None:
    plan = await planning.plan(key("k", aliases=("a",)), store(), person())
    applied = await planning.apply(plan)
    assert {(each.kind, each.name, each.generation) for each in applied.objects} == {
        (Kind.KEY, "k", 1),
        (Kind.KEY_STORE, "hsm-a", 1),
        (Kind.PRINCIPAL, "p", 1),
    }
    made = planning.key()
    assert made.metadata.spec_set == SET
    assert made.metadata.finalizers == (MATERIAL_FINALIZER,)
    assert made.spec.region == "us-east-1"
    assert made.status.arn.endswith(f":key/{made.metadata.uid}")
    assert planning.get("hsm-a", Kind.KEY_STORE).metadata.finalizers == (CONNECTION_FINALIZER,)
    assert alias_target(planning, "a") == made.metadata.uid


async def test_a_policy_is_stored_byte_for_byte_through_plan_and_apply(planning: Planning) -> None:
    await planning.declare(
        key("k", policy=PolicySource(document=POLICY)),
        person("p", policies={"x": PolicySource(document=POLICY.replace('"Principal":"*",', ""))}),
    )
    policy = planning.key().spec.policy
    assert policy is not None
    assert policy.document == POLICY
    assert (await planning.plan(key("k", policy=PolicySource(document=POLICY)))).counts.unchanged == 1


async def test_removing_schedules_and_destroys_nothing(planning: Planning) -> None:
    await planning.declare(key("k", deletion=DeletionSpec(window_days=8)), store(), person())
    now = planning.clock.now()
    await planning.apply(await planning.plan(), by="alice")
    gone = planning.key().metadata.deletion
    assert gone is not None
    assert (gone.due_at, gone.window_days, gone.requested_by) == (now + timedelta(days=8), 8, "alice")
    assert planning.get("hsm-a", Kind.KEY_STORE).metadata.deletion is not None
    assert planning.find("p", Kind.PRINCIPAL) is None


async def test_keys_find_a_store_of_their_own_plan(planning: Planning) -> None:
    await planning.declare(key("a", key_store="z-store"), store("z-store"))
    assert planning.key("a").spec.key_store == "z-store"


async def test_a_generation_rises_once_for_each_applied_change(planning: Planning) -> None:
    for number in range(1, 4):
        await planning.declare(key("k", description=str(number), aliases=(f"a{number}",)), key("same"))
        assert planning.key().metadata.generation == number
    assert planning.key("same").metadata.generation == 1


async def test_two_keys_swap_their_aliases_in_one_plan(planning: Planning) -> None:
    await planning.declare(key("one", aliases=("a", "x")), key("two", aliases=("b", "y")), key("three", aliases=("c",)))
    plan = await planning.declare(
        key("one", aliases=("b", "x")), key("two", aliases=("c", "y")), key("three", aliases=("a",))
    )
    assert {change.action for change in plan.changes} == {Action.UPDATE}
    for alias, name in (("a", "three"), ("b", "one"), ("c", "two"), ("x", "one"), ("y", "two")):
        assert alias_target(planning, alias) == planning.key(name).metadata.uid


async def test_a_new_key_takes_over_an_alias_in_one_plan(planning: Planning) -> None:
    await planning.declare(key("old", aliases=("a",)))
    await planning.declare(key("a-new", aliases=("a",)), key("old"))
    assert alias_target(planning, "a") == planning.key("a-new").metadata.uid


# ---- once, in time, on what was seen ---------------------------------------------------------------------------------


async def assert_stale(planning: Planning, work: Coroutine[Any, Any, object], match: str) -> None:
    before = planning.everything()
    with pytest.raises(StalePlan, match=match):
        await work
    assert planning.everything() == before


async def test_a_plan_is_applied_once(planning: Planning) -> None:
    plan = await planning.declare(key())
    await assert_stale(planning, planning.apply(plan), "applied already")
    empty = await planning.plan(key())
    assert (await planning.apply(empty)).objects == ()
    await assert_stale(planning, planning.apply(empty), "applied already")


async def test_of_many_applies_of_one_plan_at_once_one_wins(planning: Planning) -> None:
    plan = await planning.plan(key())
    outcomes = await asyncio.gather(*(planning.apply(plan) for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(outcome, StalePlan) for outcome in outcomes) == 9


async def test_a_plan_expires(planning: Planning) -> None:
    plan, other = await planning.plan(key()), await planning.plan(key("other"))
    planning.clock.advance(PLAN_LIFETIME - timedelta(seconds=1))
    await planning.apply(other)
    planning.clock.advance(1)
    await assert_stale(planning, planning.apply(plan), "expired at")


async def test_a_plan_that_nobody_made_is_not_found(planning: Planning) -> None:
    plan = await planning.plan(key())
    with pytest.raises(NotFound, match="no plan"):
        await planning.apply(msgspec.structs.replace(plan, id="another"))


async def test_plans_are_forgotten_a_day_after_they_expired(planning: Planning) -> None:
    plan = await planning.plan(key())
    planning.clock.advance(PLAN_LIFETIME + timedelta(days=1))
    await planning.plan(key())
    assert planning.database.read(lambda tx: plans.get(tx, plan.id)) is not None
    planning.clock.advance(1)
    await planning.plan(key())
    assert planning.database.read(lambda tx: plans.get(tx, plan.id)) is None


Meanwhile = Callable[[Planning], Coroutine[Any, Any, object]]


async def _schedule(planning: Planning) -> None:
    uid, now = planning.key().metadata.uid, planning.clock.now()
    await planning.write(lambda tx: keys.schedule_deletion(tx, uid, window_days=7, by="x", now=now))


async def _replace_by_another(planning: Planning) -> None:
    present, now = planning.key(), planning.clock.now()

    def work(tx: Any) -> None:
        objects.replace(tx, present.metadata.uid, now=now, finalizers=())
        objects.remove(tx, present.metadata.uid)
        keys.create(tx, desired=present.spec, account="000000000000", now=now, name="k", spec_set=SET)

    await planning.write(work)


async def _remove(planning: Planning) -> None:
    present, now = planning.key(), planning.clock.now()

    def work(tx: Any) -> None:
        objects.replace(tx, present.metadata.uid, now=now, finalizers=())
        objects.remove(tx, present.metadata.uid)

    await planning.write(work)


MOVED: dict[str, tuple[Meanwhile, str]] = {
    "its spec": (lambda p: p.change("k", enabled=False), "was changed"),
    "its deletion": (_schedule, "was changed"),
    "its owner": (lambda p: p.replace(p.get("k"), spec_set="other"), "was changed"),
    "it was removed": (_remove, "is gone"),
    "it was made anew": (_replace_by_another, "is gone"),
}


@pytest.mark.parametrize("moved", MOVED)
@pytest.mark.parametrize("what", ["update", "removal"])
async def test_a_plan_is_stale_when_what_it_touches_moved(planning: Planning, moved: str, what: str) -> None:
    await planning.declare(key("k"), key("l"))
    plan = (
        await planning.plan(key("k", description="new"), key("l"))
        if what == "update"
        else await planning.plan(key("l"))
    )
    meanwhile, match = MOVED[moved]
    await meanwhile(planning)
    await assert_stale(planning, planning.apply(plan), match)


async def test_a_plan_is_stale_when_what_it_makes_was_made(planning: Planning) -> None:
    for document, kind in ((key("k"), Kind.KEY), (store("k"), Kind.KEY_STORE), (person("k"), Kind.PRINCIPAL)):
        plan = await planning.plan(document, spec_set=f"set-{kind}")
        await planning.put(document)
        await assert_stale(planning, planning.apply(plan), f"{kind} k was made")


async def test_a_plan_is_not_stale_for_what_it_does_not_touch(planning: Planning) -> None:
    await planning.declare(key("k"), key("l"))
    plan = await planning.plan(key("k", description="new"), key("l"))
    await planning.change("l", enabled=False)
    status = msgspec.structs.replace(planning.key().status, observed_generation=1)
    await planning.replace(planning.get("k"), status=status)
    await planning.apply(plan)
    assert planning.key().spec.description == "new"


async def test_a_plan_is_stale_when_its_alias_was_taken(planning: Planning) -> None:
    await planning.declare(key("k"))
    for document in (key("k", aliases=("a",)), key("new", aliases=("a",))):
        plan = await planning.plan(document, *([key("k")] if document.name == "new" else []))
        taken = await planning.put(key("other", aliases=("a",)))
        await assert_stale(planning, planning.apply(plan), "alias/a already names another key")
        await planning.change("other", aliases=())
        assert taken.objects
        await planning.put(key("other"))


async def test_a_plan_is_stale_when_a_key_was_made_in_the_store_that_it_removes(planning: Planning) -> None:
    await planning.declare(store())
    plan = await planning.plan()
    await planning.put(key("k", key_store="hsm-a"))
    await assert_stale(planning, planning.apply(plan), "a key was made in KeyStore hsm-a")


async def test_a_plan_is_stale_when_the_store_of_its_key_is_removed(planning: Planning) -> None:
    await planning.declare(store(), spec_set="stores")
    plan = await planning.plan(key("k", key_store="hsm-a"))
    await planning.declare(spec_set="stores")
    await assert_stale(planning, planning.apply(plan), "key store hsm-a is not there any more since the plan of Key k")


async def test_a_plan_with_a_blocked_change_does_nothing_at_all(planning: Planning) -> None:
    await planning.declare(key("k", deletion=DeletionSpec(protect=True)))
    plan = await planning.plan(key("new"))
    assert told(plan)["k"] == (Action.BLOCKED, "Protected")
    before = planning.everything()
    with pytest.raises(Blocked, match="Key k: it is protected"):
        await planning.apply(plan)
    assert planning.everything() == before


@pytest.mark.parametrize("after", range(6))
async def test_a_fault_in_the_middle_leaves_nothing(
    planning: Planning, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    await planning.declare(key("one", aliases=("a",)), key("two", aliases=("b",)), key("old"), person("p"))
    plan = await planning.plan(
        key("one", aliases=("b",)), key("two", aliases=("a",)), key("new", key_store="s"), store("s"), person("q")
    )
    assert len(plan.changes) > after
    real, calls = module._write, iter(range(100))

    def write(*arguments: Any) -> Any:
        if next(calls) == after:
            raise ZeroDivisionError
        return real(*arguments)

    before = planning.everything()
    monkeypatch.setattr(module, "_write", write)
    with pytest.raises(ZeroDivisionError):
        await planning.apply(plan)
    assert planning.everything() == before
    monkeypatch.undo()
    await planning.apply(plan)
    assert alias_target(planning, "a") == planning.key("two").metadata.uid


# ---- put -------------------------------------------------------------------------------------------------------------


async def test_putting_one_object_prunes_nothing_and_keeps_its_owner(planning: Planning) -> None:
    await planning.declare(key("k"), key("l"))
    await planning.put(key("k", description="put"), owner=SET)
    assert planning.key().spec.description == "put"
    assert planning.key().metadata.spec_set == SET
    assert planning.key("l").metadata.deletion is None
    await planning.put(key("mine"))
    assert planning.key("mine").metadata.spec_set is None
    with pytest.raises(Blocked, match="belongs to"):
        await planning.put(key("k", description="again"))
    before = planning.everything()
    assert (await planning.put(key("k", description="put"), owner=SET)).objects == ()
    assert planning.everything() == before


async def test_putting_meets_the_same_obstacles_as_a_plan(planning: Planning) -> None:
    await planning.put(key("k", deletion=DeletionSpec(protect=True)))
    with pytest.raises(Blocked, match="an apply of its own"):
        await planning.put(key("k", description="x"))
    with pytest.raises(Blocked, match="region cannot change in place"):
        await planning.put(key("k", region="eu-west-1", deletion=DeletionSpec(protect=True)))


# ---- properties ------------------------------------------------------------------------------------------------------

aliases = st.lists(st.sampled_from("abcd"), unique=True, max_size=2).map(tuple)
specs = st.builds(
    DesiredKey,
    region=st.sampled_from([None, "us-east-1"]),
    description=st.sampled_from(["", "x"]),
    enabled=st.booleans(),
    aliases=aliases,
    tags=st.dictionaries(st.sampled_from(["t", "u.v"]), st.sampled_from(["", "1"])),
    policy=st.sampled_from([None, PolicySource(document=POLICY)]),
    deletion=st.builds(DeletionSpec, window_days=st.sampled_from([7, 30])),
)


def _disjoint(found: dict[str, DesiredKey]) -> list[Document]:
    """Documents in which no alias stands twice."""
    taken: set[str] = set()
    documents = []
    for name, spec in found.items():
        free = tuple(alias for alias in spec.aliases if alias not in taken)
        taken.update(free)
        documents.append(key(name, **msgspec.structs.asdict(msgspec.structs.replace(spec, aliases=free))))
    return documents


sets = st.dictionaries(st.sampled_from(["k", "l", "m"]), specs).map(_disjoint)
with_others = st.tuples(
    sets,
    st.sets(st.sampled_from(["s1", "s2"])).map(lambda names: [store(name) for name in sorted(names)]),
    st.sets(st.sampled_from(["p1", "p2"])).map(lambda names: [person(name) for name in sorted(names)]),
).map(lambda parts: [*parts[0], *parts[1], *parts[2]])


EXAMPLES = 1_000 if os.environ.get("KEYSTEAD_LONG") == "1" else 40


class Fresh:
    """A database for one example."""

    def __enter__(self) -> Planning:
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self._directory = tempfile.TemporaryDirectory(dir=memory)  # syncing a real disk would prove nothing more
        self._database = Database(Path(self._directory.name) / "keystead.db")
        self._database.open()
        return Planning(self._database, ManualClock())

    def __exit__(self, *exception: object) -> None:
        self._database.close()
        self._directory.cleanup()


def declared(planning: Planning, documents: list[Document]) -> dict[str, Any]:
    """The live specs of what the documents declare, with the fields that a document may leave out filled in.

    Aliases without an order: each is owned by itself, so they stand in the order in which they came.
    """
    found = {f"{each.kind}/{each.name}": planning.get(each.name, each.kind).spec for each in documents}
    return {
        name: msgspec.structs.replace(spec, aliases=tuple(sorted(spec.aliases)))
        if isinstance(spec, DesiredKey)
        else spec
        for name, spec in found.items()
    }


@settings(max_examples=EXAMPLES)
@given(documents=with_others)
def test_a_plan_after_an_apply_of_the_same_documents_is_empty(documents: list[Document]) -> None:
    async def scenario(planning: Planning) -> None:
        await planning.start()
        await planning.declare(*documents)
        again = await planning.plan(*documents)
        assert again.empty
        assert again.counts.unchanged == len(documents)

    with Fresh() as planning:
        asyncio.run(scenario(planning))


@settings(max_examples=EXAMPLES)
@given(first=with_others, second=with_others)
def test_applying_a_then_b_is_applying_b_in_at_most_one_plan(first: list[Document], second: list[Document]) -> None:
    async def scenario(planning: Planning, *steps: list[Document]) -> dict[str, Any]:
        await planning.start()
        for documents in steps:
            plan = await planning.plan(*documents)
            if plan.counts.blocked:
                # Only an alias that a key outside the new set still holds, until it is destroyed.
                blocked = {change.reason.value for change in plan.changes if change.action is Action.BLOCKED}
                assert blocked == {"AliasTaken"}
                before = planning.everything()
                with pytest.raises(KeysteadError):
                    await planning.apply(plan)
                assert planning.everything() == before
                return {}
            await planning.apply(plan)
        assert (await planning.plan(*steps[-1])).empty
        left = {each.name for each in steps[0]} - {each.name for each in steps[-1]}
        for name in left & {"k", "l", "m"}:
            assert planning.key(name).metadata.deletion is not None
        return declared(planning, steps[-1])

    with Fresh() as planning:
        both = asyncio.run(scenario(planning, first, second))
    if both:
        with Fresh() as planning:
            assert asyncio.run(scenario(planning, second)) == both


@settings(max_examples=EXAMPLES)
@given(first=sets, second=sets)
def test_a_plan_shows_exactly_what_its_apply_writes(first: list[Document], second: list[Document]) -> None:
    async def scenario(planning: Planning) -> None:
        await planning.start()
        await planning.declare(*first)
        plan = await planning.plan(*second)
        if plan.counts.blocked:
            return
        before = {kind: planning.database.read(lambda tx, kind=kind: objects.page(tx, kind)) for kind in Kind}
        versions = {each.metadata.uid: each.metadata.resource_version for found in before.values() for each in found}
        applied = await planning.apply(plan)
        assert {(each.kind, each.name) for each in applied.objects} == {(each.kind, each.name) for each in plan.changes}
        after = {kind: planning.database.read(lambda tx, kind=kind: objects.page(tx, kind)) for kind in Kind}
        written = {
            (each.kind, each.metadata.name)
            for found in after.values()
            for each in found
            if versions.get(each.metadata.uid) != each.metadata.resource_version
        }
        assert written == {(each.kind, each.name) for each in plan.changes}

    with Fresh() as planning:
        asyncio.run(scenario(planning))
