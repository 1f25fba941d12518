"""Objects: versions that never repeat, a generation that means something, names and aliases that have one holder."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.domain.schedule import deletion_request
from controlplane.errors import AlreadyExists, Blocked, Conflict, InvalidState, NotFound
from controlplane.schema.conditions import Condition, ConditionStatus, ConditionType, Reason
from controlplane.schema.keys import DeletionSpec, DesiredKey
from controlplane.schema.keystores import KeyStoreStatus
from controlplane.schema.meta import AnyObject, Key, Kind
from controlplane.store import attempts, keys, objects, people
from controlplane.store.attempts import Verb
from controlplane.store.database import Database, Tx
from plugins.sdk import Outcome
from tests.controlplane.store.samples import ACCOUNT, NOW, REGION, add_key, add_principal, add_store

SOON = NOW + timedelta(minutes=1)


async def new_key(database: Database, name: str = "k", *aliases: str, **options: Any) -> Key:
    return await database.write(lambda tx: add_key(tx, name, *aliases, **options))


async def replace(database: Database, found: AnyObject, **changes: Any) -> AnyObject:
    return await database.write(lambda tx: objects.replace(tx, found.metadata.uid, now=SOON, **changes))


def alias_holder(database: Database, alias: str, region: str = REGION) -> str | None:
    row = database.read(lambda tx: objects.find_alias(tx, region, alias))
    return row.uid if row else None


# ---- versions and generations ----------------------------------------------------------------------------------------


async def test_what_is_read_is_what_was_written(database: Database) -> None:
    created = await new_key(database, "k", "a", "b", spec_set="set")
    uid = created.metadata.uid
    assert created.metadata.generation == 1
    assert database.read(lambda tx: objects.get(tx, uid)) == created
    assert database.read(lambda tx: objects.get_named(tx, Kind.KEY, "k")) == created
    assert database.read(lambda tx: objects.get_key(tx, REGION, created.status.key_id)) == created
    assert database.read(lambda tx: objects.get_key(tx, "eu-west-1", created.status.key_id)) is None


@pytest.mark.parametrize(
    ("change", "intent"),
    [
        ({"spec": "new"}, True),
        ({"deletion": deletion_request(NOW, 7, "somebody")}, True),
        ({"status": "new"}, False),
        ({"finalizers": ("other",)}, False),
        ({"spec_set": "other"}, False),
    ],
    ids=["spec", "deletion", "status", "finalizers", "spec set"],
)
async def test_the_generation_rises_exactly_when_the_intent_changes(
    database: Database, change: dict[str, Any], intent: bool
) -> None:
    key = await new_key(database)
    if change.get("spec"):
        change = {"spec": msgspec.structs.replace(key.spec, description="new")}
    if change.get("status"):
        change = {"status": msgspec.structs.replace(key.status, observed_generation=1)}
    changed = await replace(database, key, **change)
    assert changed.metadata.generation == 1 + intent
    assert changed.metadata.resource_version > key.metadata.resource_version
    assert database.read(lambda tx: objects.get(tx, key.metadata.uid)) == changed


async def test_writing_what_is_there_writes_nothing(database: Database) -> None:
    key = await new_key(database, "k", "a", spec_set="set")
    commits_before = database.read(objects.current_version)
    same = await replace(
        database,
        key,
        spec=key.spec,
        status=key.status,
        spec_set="set",
        finalizers=key.metadata.finalizers,
        deletion=None,
    )
    assert same == key
    assert database.read(objects.current_version) == commits_before


async def test_compare_and_set_refuses_a_version_or_generation_that_moved(database: Database) -> None:
    key = await new_key(database)
    spec = msgspec.structs.replace(key.spec, description="mine")
    moved = await replace(database, key, status=msgspec.structs.replace(key.status, observed_generation=1))
    with pytest.raises(Conflict, match="read it again"):
        await replace(database, key, spec=spec, expect_version=key.metadata.resource_version)
    await replace(database, key, spec=spec, expect_generation=1, expect_version=moved.metadata.resource_version)
    with pytest.raises(Conflict, match="at generation 2, not 1"):
        await replace(database, key, spec=key.spec, expect_generation=1)


async def test_of_many_writers_with_the_same_version_one_wins(database: Database) -> None:
    key = await new_key(database)
    version = key.metadata.resource_version

    async def attempt(number: int) -> Any:
        spec = msgspec.structs.replace(key.spec, description=str(number))
        return await replace(database, key, spec=spec, expect_version=version)

    outcomes = await asyncio.gather(*(attempt(number) for number in range(50)), return_exceptions=True)
    winners = [outcome for outcome in outcomes if not isinstance(outcome, Conflict)]
    assert len(winners) == 1
    assert database.read(lambda tx: objects.get(tx, key.metadata.uid)) == winners[0]


async def test_versions_are_unique_over_all_objects_and_rise_with_every_write(database: Database) -> None:
    def work(tx: Tx) -> list[int]:
        versions = []
        for number in range(20):
            key, store = add_key(tx, f"k{number}"), add_store(tx, f"s{number}")
            versions += [key.metadata.resource_version, store.metadata.resource_version]
            changed = keys.change(tx, key.metadata.uid, SOON, description="x")
            versions.append(changed.metadata.resource_version)
        return versions

    versions = await database.write(work)
    assert versions == sorted(set(versions))
    assert database.read(objects.current_version) == versions[-1]


async def test_what_does_not_exist_is_not_found(database: Database) -> None:
    with pytest.raises(NotFound):
        await database.write(lambda tx: objects.replace(tx, "nobody", now=NOW))
    with pytest.raises(NotFound):
        await database.write(lambda tx: objects.remove(tx, "nobody"))


# ---- names -----------------------------------------------------------------------------------------------------------


async def test_a_name_belongs_to_one_object_of_its_kind(database: Database) -> None:
    await new_key(database, "same")
    await database.write(lambda tx: add_store(tx, "same"))
    with pytest.raises(AlreadyExists, match="Key same already exists"):
        await new_key(database, "same")


async def test_a_key_id_belongs_to_one_key_of_its_region(database: Database) -> None:
    key = await new_key(database)

    def again(tx: Tx) -> None:
        objects.insert(tx, now=NOW, kind=Kind.KEY, uid="other", name="other", spec=key.spec, status=key.status)

    with pytest.raises(AlreadyExists):
        await database.write(again)
    assert database.read(lambda tx: objects.count(tx, Kind.KEY)) == 1


# ---- aliases ---------------------------------------------------------------------------------------------------------


async def test_an_alias_names_one_key_of_its_region(database: Database) -> None:
    key = await new_key(database, "k", "a")
    with pytest.raises(AlreadyExists, match="alias/a already names another key in us-east-1"):
        await new_key(database, "l", "a")
    assert database.read(lambda tx: objects.get_named(tx, Kind.KEY, "l")) is None, "nothing is half-written"
    elsewhere = await new_key(database, "l", "a", region="eu-west-1")
    assert alias_holder(database, "a") == key.metadata.uid
    assert alias_holder(database, "a", "eu-west-1") == elsewhere.metadata.uid


async def test_an_alias_moves_in_one_transaction_and_those_that_stay_keep_their_time(database: Database) -> None:
    one, two = await new_key(database, "one", "a", "stays"), await new_key(database, "two", "b")

    def swap(tx: Tx) -> None:
        objects.release_aliases(tx, one.metadata.uid, ["a"])
        objects.release_aliases(tx, two.metadata.uid, ["b"])
        keys.change(tx, one.metadata.uid, SOON, aliases=("stays", "b"))
        keys.change(tx, two.metadata.uid, SOON, aliases=("a",))

    await database.write(swap)
    assert alias_holder(database, "a") == two.metadata.uid
    assert alias_holder(database, "b") == one.metadata.uid
    rows = database.read(lambda tx: objects.list_aliases(tx, REGION))
    assert [(row.name, row.created_at, key_id) for row, key_id in rows] == [
        ("a", SOON.timestamp(), two.status.key_id),
        ("b", SOON.timestamp(), one.status.key_id),
        ("stays", NOW.timestamp(), one.status.key_id),
    ]


async def test_releasing_takes_nothing_from_another_key(database: Database) -> None:
    one, two = await new_key(database, "one", "a"), await new_key(database, "two")
    await database.write(lambda tx: objects.release_aliases(tx, two.metadata.uid, ["a"]))
    assert alias_holder(database, "a") == one.metadata.uid


async def test_aliases_are_listed_in_pages(database: Database) -> None:
    names = sorted(f"alias-{number:03}" for number in range(25))
    await database.write(lambda tx: [add_key(tx, name, name) for name in names])
    seen: list[str] = []
    after = ""
    while page := database.read(lambda tx, after=after: objects.list_aliases(tx, REGION, after=after, limit=10)):
        seen += [row.name for row, _ in page]
        after = seen[-1]
    assert seen == names


@given(
    st.lists(st.tuples(st.sampled_from("xyz"), st.lists(st.sampled_from("abc"), unique=True)), min_size=1, max_size=12)
)
def test_the_alias_table_always_says_what_the_specs_say(
    database: Database, writes: list[tuple[str, list[str]]]
) -> None:
    def work(tx: Tx) -> None:
        tx.execute("DELETE FROM aliases")
        tx.execute("DELETE FROM objects")
        uids = {name: add_key(tx, name).metadata.uid for name in "xyz"}
        for name, aliases in writes:
            tx.execute("SAVEPOINT step")
            try:
                keys.change(tx, uids[name], SOON, aliases=tuple(aliases))
            except AlreadyExists:
                tx.execute("ROLLBACK TO step")
            tx.execute("RELEASE step")
            said = {
                (alias, key.metadata.uid)
                for key in cast("list[Key]", objects.page(tx, Kind.KEY))
                for alias in key.spec.aliases
            }
            assert {(row[0], row[1]) for row in tx.execute("SELECT name, uid FROM aliases")} == said

    asyncio.run(database.write(work))


# ---- pages and counts ------------------------------------------------------------------------------------------------


async def test_pages_survive_inserts_and_removals_between_them(database: Database) -> None:
    await database.write(lambda tx: [add_principal(tx, f"p{number:02}") for number in range(0, 40, 2)])
    first = database.read(lambda tx: objects.page(tx, Kind.PRINCIPAL, limit=5))
    await database.write(lambda tx: objects.remove(tx, first[-1].metadata.uid))
    await database.write(lambda tx: [add_principal(tx, name) for name in ("p01", "p09", "p39")])
    rest = database.read(lambda tx: objects.page(tx, Kind.PRINCIPAL, after=first[-1].metadata.name, limit=500))
    names = [each.metadata.name for each in (*first, *rest)]
    assert names == sorted(set(names))
    assert names == sorted([f"p{number:02}" for number in range(0, 40, 2)] + ["p09", "p39"])


async def test_lists_and_counts_keep_to_what_was_asked(database: Database) -> None:
    def fill(tx: Tx) -> None:
        add_store(tx, "hsm-a", spec_set="one")
        for number in range(4):
            add_key(tx, f"a{number}", spec_set="one", store="hsm-a")
        for number in range(3):
            add_key(tx, f"b{number}", spec_set="two", region="eu-west-1")

    await database.write(fill)
    read = database.read
    assert [each.metadata.name for each in read(lambda tx: objects.page(tx, Kind.KEY, spec_set="two"))] == [
        "b0",
        "b1",
        "b2",
    ]
    assert read(lambda tx: objects.count(tx, Kind.KEY)) == 7
    assert read(lambda tx: objects.count(tx, Kind.KEY, key_store="hsm-a")) == 4
    assert read(lambda tx: objects.count(tx, Kind.KEY, key_store="hsm-b")) == 0
    assert len(read(lambda tx: objects.uids(tx, Kind.KEY, key_store="hsm-a"))) == 4
    assert len(read(lambda tx: objects.uids(tx, Kind.KEY_STORE))) == 1
    assert read(lambda tx: objects.count_set(tx, "one")) == 5
    ids = read(lambda tx: objects.key_ids(tx, "eu-west-1", "", 10))
    assert ids == sorted(ids)
    assert len(ids) == 3
    assert read(lambda tx: objects.key_ids(tx, "eu-west-1", ids[1], 10)) == ids[2:]


async def test_unsynced_counts_what_the_reconciler_has_not_brought_to_its_present_spec(database: Database) -> None:
    key = await new_key(database, spec_set="set")

    async def synced(generation: int, status: ConditionStatus) -> None:
        condition = Condition(
            type=ConditionType.SYNCED,
            status=status,
            reason=Reason.UP_TO_DATE,
            last_transition=NOW,
            observed_generation=generation,
        )
        await replace(database, key, status=msgspec.structs.replace(key.status, conditions=(condition,)))

    def pending() -> int:
        return database.read(lambda tx: objects.unsynced(tx, "set"))[0]

    assert pending() == 1
    await synced(1, ConditionStatus.FALSE)
    assert pending() == 1
    await synced(1, ConditionStatus.TRUE)
    assert pending() == 0
    await database.write(lambda tx: keys.change(tx, key.metadata.uid, SOON, description="new"))
    assert pending() == 1


# ---- the change feed -------------------------------------------------------------------------------------------------


async def test_the_feed_tells_the_newest_change_of_each_object_in_order(database: Database) -> None:
    one, two = await new_key(database, "one"), await new_key(database, "two")
    for number in range(5):
        await database.write(lambda tx, number=number: keys.change(tx, one.metadata.uid, SOON, description=str(number)))
    feed = database.read(lambda tx: objects.changes_since(tx, 0))
    assert [(change.name, change.generation, change.removed) for change in feed] == [
        ("two", 1, False),
        ("one", 6, False),
    ]
    assert database.read(lambda tx: objects.changes_since(tx, feed[-1].version)) == []
    assert database.read(lambda tx: objects.changes_since(tx, feed[0].version)) == feed[1:]
    assert two.metadata.resource_version == feed[0].version


async def test_a_removed_object_leaves_a_tombstone_and_a_new_one_of_its_name_is_another(database: Database) -> None:
    first = await database.write(lambda tx: add_principal(tx, "p"))
    await database.write(lambda tx: objects.remove(tx, first.metadata.uid))
    second = await database.write(lambda tx: add_principal(tx, "p"))
    feed = database.read(lambda tx: objects.changes_since(tx, 0))
    assert [(change.uid, change.removed) for change in feed] == [
        (first.metadata.uid, True),
        (second.metadata.uid, False),
    ]


async def test_the_feed_comes_in_pages_without_gaps(database: Database) -> None:
    await database.write(lambda tx: [add_principal(tx, f"p{number}") for number in range(30)])
    seen: list[str] = []
    version = 0
    while page := database.read(lambda tx, version=version: objects.changes_since(tx, version, limit=7)):
        seen += [change.name for change in page]
        version = page[-1].version
    assert sorted(seen) == sorted(f"p{number}" for number in range(30))


async def test_tombstones_are_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "MAX_TOMBSTONES", 3)
    for number in range(10):
        added = await database.write(lambda tx, number=number: add_principal(tx, f"p{number}"))
        await database.write(lambda tx, uid=added.metadata.uid: objects.remove(tx, uid))
    feed = database.read(lambda tx: objects.changes_since(tx, 0))
    assert [change.name for change in feed] == ["p7", "p8", "p9"]


# ---- leaving ---------------------------------------------------------------------------------------------------------


async def test_an_object_with_finalizers_does_not_leave(database: Database) -> None:
    key = await new_key(database, "k", "a")
    with pytest.raises(Conflict, match="keystead/material"):
        await database.write(lambda tx: objects.remove(tx, key.metadata.uid))
    assert alias_holder(database, "a") == key.metadata.uid


async def test_an_object_that_leaves_takes_its_aliases_and_counters_along(database: Database) -> None:
    key = await new_key(database, "k", "a")
    uid = key.metadata.uid
    await database.write(lambda tx: people.count_refused_use(tx, uid=uid, principal="p", operation="Decrypt", now=NOW))
    free = await replace(database, key, finalizers=())
    with pytest.raises(Conflict):
        await database.write(lambda tx: objects.remove(tx, uid, expect_version=free.metadata.resource_version - 1))
    await database.write(lambda tx: objects.remove(tx, uid, expect_version=free.metadata.resource_version))
    assert alias_holder(database, "a") is None
    assert database.read(lambda tx: people.refused_uses(tx, uid)) == []
    await new_key(database, "l", "a")


# ---- keys ------------------------------------------------------------------------------------------------------------


async def test_a_multi_region_key_has_an_mrk_id_and_an_undeclared_key_is_named_by_its_id(database: Database) -> None:
    desired = DesiredKey(region=REGION, multi_region=True)
    key = await database.write(lambda tx: keys.create(tx, desired=desired, account=ACCOUNT, now=NOW))
    assert key.status.key_id.startswith("mrk-")
    assert key.metadata.name == key.status.key_id
    assert key.status.arn == f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{key.status.key_id}"


async def test_a_protected_key_is_not_scheduled_for_deletion(database: Database) -> None:
    key = await new_key(database)
    protect = DeletionSpec(protect=True)
    await database.write(lambda tx: keys.change(tx, key.metadata.uid, NOW, deletion=protect))
    with pytest.raises(Blocked, match="protected"):
        await database.write(lambda tx: keys.schedule_deletion(tx, key.metadata.uid, window_days=7, by="me", now=NOW))


async def test_a_deletion_starts_once_and_is_cancelled_until_it_is_due(database: Database) -> None:
    key = await new_key(database)
    uid = key.metadata.uid
    end = NOW + timedelta(days=7)

    async def schedule() -> Key:
        return await database.write(lambda tx: keys.schedule_deletion(tx, uid, window_days=7, by="me", now=NOW))

    async def cancel(now: Any) -> Key:
        return await database.write(lambda tx: keys.cancel_deletion(tx, uid, by="me", now=now))

    with pytest.raises(InvalidState, match="is not pending deletion"):
        await cancel(NOW)
    assert (await schedule()).metadata.generation == 2
    with pytest.raises(InvalidState, match="is pending deletion"):
        await schedule()
    cancelled = await cancel(end - timedelta(microseconds=1))
    assert cancelled.metadata.deletion is None
    assert cancelled.metadata.generation == 3
    assert not cancelled.spec.enabled, "CancelKeyDeletion leaves the key disabled"
    await schedule()
    with pytest.raises(InvalidState, match="is being destroyed"):
        await cancel(end)


@pytest.mark.parametrize("outcome", [None, *Outcome])
async def test_a_deletion_that_began_to_destroy_is_not_cancelled_whatever_the_clock_says(
    database: Database, outcome: Outcome | None
) -> None:
    uid = (await new_key(database)).metadata.uid

    def work(tx: Tx) -> None:
        keys.schedule_deletion(tx, uid, window_days=7, by="me", now=NOW)
        attempt = attempts.begin(tx, uid=uid, verb=Verb.DESTROY, material="m", epoch=0, now=SOON)
        if outcome is not None:
            attempts.end(tx, attempt.id, outcome, SOON)

    await database.write(work)
    if outcome is Outcome.REFUSED:
        await database.write(lambda tx: keys.cancel_deletion(tx, uid, by="me", now=NOW))
        return
    with pytest.raises(InvalidState, match="is being destroyed"):
        await database.write(lambda tx: keys.cancel_deletion(tx, uid, by="me", now=NOW))


def test_a_status_of_one_kind_is_not_that_of_another(database: Database) -> None:
    assert database.read(lambda tx: objects.get(tx, "nobody")) is None
    assert KeyStoreStatus(created_at=NOW) != database.read(objects.current_version)
