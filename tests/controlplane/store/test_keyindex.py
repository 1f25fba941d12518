"""The index of keys: it says what the keys say after every write, finds by every term, and knows who is connected."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any, cast

import msgspec
import pytest
import sqlite_utils
from hypothesis import given
from hypothesis import strategies as st

from controlplane.domain.lifecycle import key_state
from controlplane.schema.browse import KeySort
from controlplane.schema.conditions import Condition, ConditionStatus, ConditionType, Reason
from controlplane.schema.filters import parse_filter
from controlplane.schema.keys import (
    DesiredKey,
    ImportedMaterial,
    ImportState,
    KeySpec,
    KeyState,
    MaterialState,
    MaterialStatus,
    Origin,
)
from controlplane.schema.keystores import ConnectionState
from controlplane.schema.meta import Key, Kind
from controlplane.store import keyindex, keys, migrations, objects, people
from controlplane.store.database import Database, Tx
from tests.controlplane.store.samples import ACCOUNT, NOW, REGION, add_store

STORES = ("standard", "hsm-a")


def add(tx: Tx, name: str, *, material: bool = True, synced: Reason | None = Reason.UP_TO_DATE, **spec: Any) -> Key:
    """A key with material that was reconciled, as a server has most of them."""
    origin = Origin.AWS_CLOUDHSM if spec.get("key_store", "standard") != "standard" else Origin.AWS_KMS
    desired = DesiredKey(**{"region": REGION, "origin": origin, **spec})
    if objects.get_named(tx, Kind.KEY_STORE, desired.key_store) is None:
        add_store(tx, desired.key_store)
    key = keys.create(tx, desired=desired, account=ACCOUNT, now=NOW, name=name)
    status = key.status
    if material:
        made = MaterialStatus(material_id="m", name=f"keystead:{name}", state=MaterialState.CURRENT, created_at=NOW)
        status = msgspec.structs.replace(status, materials=(made,))
    if synced is not None:
        condition = Condition(
            type=ConditionType.SYNCED,
            status=ConditionStatus.TRUE if synced is Reason.UP_TO_DATE else ConditionStatus.FALSE,
            reason=synced,
            last_transition=NOW,
            observed_generation=1,
        )
        status = msgspec.structs.replace(status, conditions=(condition,))
    return cast(Key, objects.replace(tx, key.metadata.uid, now=NOW, status=status))


def names(database: Database, text: str, **more: Any) -> list[str]:
    def read(tx: Tx) -> list[str]:
        found = keyindex.find(tx, parse_filter(text), **{"connected": STORES, **more})
        shown = [objects.get(tx, uid) for uid in found.uids]
        return [item.metadata.name for item in shown if item is not None]

    return database.read(read)


@pytest.fixture
async def fleet(database: Database) -> Database:
    def write(tx: Tx) -> None:
        add(tx, "payments-root", aliases=("payments/root",), tags={"team": "payments", "Stage": "prod"})
        add(tx, "payments-old", enabled=False, tags={"team": "payments"}, description="The 100% OLD one")
        add(tx, "web-cookies", key_spec=KeySpec.HMAC_256, tags={"team": "web"})
        add(tx, "card-pins", key_store="hsm-a", synced=Reason.STORE_UNREACHABLE)
        add(tx, "lab", material=False, origin=Origin.EXTERNAL, synced=None)

    await database.write(write)
    return database


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ["card-pins", "lab", "payments-old", "payments-root", "web-cookies"]),
        ("payments", ["payments-old", "payments-root"]),
        ("PAYMENTS/ROOT", ["payments-root"]),
        ("100%", ["payments-old"]),
        ("payments !old", ["payments-root"]),
        ("-f pyrt", ["payments-root"]),
        ("-f p%t", []),
        ("-l team", ["payments-old", "payments-root", "web-cookies"]),
        ("-l team=web", ["web-cookies"]),
        ("-l team=pay", []),
        ("-l stage=PROD", ["payments-root"]),
        ("!-l team", ["card-pins", "lab"]),
        ("@hsm-a", ["card-pins"]),
        ("!@hsm-a -l team=web", ["web-cookies"]),
        ("state:disabled", ["payments-old"]),
        ("state:pendingimport", ["lab"]),
        ("origin:external", ["lab"]),
        ("!origin:aws_kms,aws_cloudhsm", ["lab"]),
        ("is:unhealthy", ["card-pins"]),
        ("condition:storeunr", ["card-pins"]),
        ("condition:create", []),
        ("!is:unhealthy state:enabled", ["payments-root", "web-cookies"]),
        ("team=payments", []),
    ],
)
async def test_every_term_finds_what_it_says(fleet: Database, text: str, found: list[str]) -> None:
    assert names(fleet, text) == found


async def test_a_window_is_cut_and_all_matches_are_counted(fleet: Database) -> None:
    found = fleet.read(lambda tx: keyindex.find(tx, parse_filter("payments"), connected=STORES, limit=1, offset=1))
    assert (len(found.uids), found.matching, found.total) == (1, 2, 5)
    assert names(fleet, "", offset=3, limit=10) == ["payments-root", "web-cookies"]
    assert names(fleet, "", offset=5) == []


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        (KeySort.NAME, ["card-pins", "lab", "payments-old", "payments-root", "web-cookies"]),
        (KeySort.STATE, ["payments-old", "card-pins", "payments-root", "web-cookies", "lab"]),
        (KeySort.SPEC, ["web-cookies", "card-pins", "lab", "payments-old", "payments-root"]),
        (KeySort.STORE, ["card-pins", "lab", "payments-old", "payments-root", "web-cookies"]),
        (KeySort.CONDITION, ["lab", "card-pins", "payments-old", "payments-root", "web-cookies"]),
    ],
)
async def test_a_list_is_sorted_by_what_was_asked_and_then_by_name(
    fleet: Database, sort: KeySort, order: list[str]
) -> None:
    assert names(fleet, "", sort=sort) == order


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("sort", [KeySort.NAME, KeySort.STATE])
async def test_every_window_tells_how_many_match_and_together_they_are_those(
    fleet: Database, sort: KeySort, descending: bool
) -> None:
    found: list[str] = []
    for offset in range(6):
        window = fleet.read(
            lambda tx, offset=offset: keyindex.find(  # type: ignore[misc]
                tx,
                parse_filter("!@hsm-a"),
                connected=STORES,
                sort=sort,
                descending=descending,
                offset=offset,
                limit=1,
            )
        )
        assert (window.matching, window.total) == (4, 5)
        found += window.uids
    assert len(found) == len(set(found)) == 4


async def test_what_is_due_first_comes_first_and_what_stays_comes_last(fleet: Database) -> None:
    for name, days in (("web-cookies", 30), ("payments-root", 7)):
        key = fleet.read(lambda tx, name=name: objects.get_named(tx, Kind.KEY, name))  # type: ignore[misc]
        assert key is not None
        await fleet.write(
            lambda tx, uid=key.metadata.uid, days=days: keys.schedule_deletion(  # type: ignore[misc]
                tx, uid, window_days=days, by="ana", now=NOW
            )
        )
    assert names(fleet, "", sort=KeySort.DUE)[:2] == ["payments-root", "web-cookies"]
    assert names(fleet, "", sort=KeySort.DUE, descending=True)[:2] == ["web-cookies", "payments-root"]
    assert names(fleet, "state:PendingDeletion") == ["payments-root", "web-cookies"]


async def test_a_store_that_goes_away_makes_its_keys_unavailable_at_once(fleet: Database) -> None:
    assert names(fleet, "state:unavailable") == []
    assert names(fleet, "state:unavailable", connected=("standard",)) == ["card-pins"]
    assert names(fleet, "state:unavailable", connected=()) == ["card-pins"], "a standard key does not depend on it"
    assert names(fleet, "is:unhealthy", connected=()) == [
        "card-pins",
        "lab",
        "payments-old",
        "payments-root",
        "web-cookies",
    ]


async def test_counts_are_by_store_and_state(fleet: Database) -> None:
    counted = fleet.read(lambda tx: keyindex.counts(tx, connected=("standard",)))
    assert {(each.key_store, each.state): each.count for each in counted} == {
        ("standard", KeyState.ENABLED): 2,
        ("standard", KeyState.DISABLED): 1,
        ("standard", KeyState.PENDING_IMPORT): 1,
        ("hsm-a", KeyState.UNAVAILABLE): 1,
    }


async def test_troubled_keys_are_those_that_wait_for_a_person(fleet: Database) -> None:
    uids, total = fleet.read(lambda tx: keyindex.troubled(tx, 10))
    assert total == 1
    found = fleet.read(lambda tx: objects.get(tx, uids[0]))
    assert found is not None
    assert found.metadata.name == "card-pins"


async def test_a_key_of_which_nobody_knows_what_became_is_told_apart(fleet: Database) -> None:
    await fleet.write(lambda tx: add(tx, "lost", material=False, synced=Reason.CREATE_OUTCOME_UNKNOWN))
    (uid,), total = fleet.read(lambda tx: keyindex.of_unknown_outcome(tx, 10))
    assert total == 1
    found = fleet.read(lambda tx: objects.get(tx, uid))
    assert found is not None
    assert found.metadata.name == "lost"
    assert fleet.read(lambda tx: keyindex.troubled(tx, 10))[1] == 1
    assert names(fleet, "condition:createoutcomeunknown") == ["lost"]


async def test_keys_whose_material_expires_come_the_first_one_first(database: Database) -> None:
    def write(tx: Tx) -> None:
        for name, days in (("late", 30), ("soon", 2), ("sooner", 1)):
            key = add(tx, name, origin=Origin.EXTERNAL)
            until = ImportedMaterial(state=ImportState.IMPORTED, imported_at=NOW, valid_to=NOW + timedelta(days=days))
            imported = msgspec.structs.replace(key.status.materials[0], imported=until)
            status = msgspec.structs.replace(key.status, materials=(imported,))
            objects.replace(tx, key.metadata.uid, now=NOW, status=status)

    await database.write(write)
    uids, total = database.read(lambda tx: keyindex.expiring(tx, NOW + timedelta(days=7), 10))
    found = [database.read(lambda tx, uid=uid: objects.get(tx, uid)) for uid in uids]  # type: ignore[misc]
    assert ([item.metadata.name for item in found if item is not None], total) == (["sooner", "soon"], 2)
    assert names(database, "", sort=KeySort.EXPIRES) == ["sooner", "soon", "late"]


async def test_a_key_that_is_removed_leaves_the_index(fleet: Database) -> None:
    key = fleet.read(lambda tx: objects.get_named(tx, Kind.KEY, "lab"))
    assert key is not None
    await fleet.write(lambda tx: objects.replace(tx, key.metadata.uid, now=NOW, finalizers=()))
    await fleet.write(lambda tx: objects.remove(tx, key.metadata.uid))
    assert names(fleet, "lab") == []


async def test_refused_uses_are_summed_for_each_key(fleet: Database) -> None:
    key = fleet.read(lambda tx: objects.get_named(tx, Kind.KEY, "lab"))
    assert key is not None
    uid = key.metadata.uid
    for seconds, who in ((0, "ana"), (60, "ana"), (30, "ben")):
        await fleet.write(
            lambda tx, seconds=seconds, who=who: people.count_refused_use(  # type: ignore[misc]
                tx, uid=uid, principal=who, operation="Decrypt", now=NOW + timedelta(seconds=seconds)
            )
        )
    last = (NOW + timedelta(seconds=60)).timestamp()
    assert fleet.read(lambda tx: keyindex.refused(tx, [uid, "other"])) == {uid: (3, last)}
    assert fleet.read(lambda tx: keyindex.used_while_pending(tx, 5)) == ([(uid, 3, last)], 1)


async def test_the_migration_indexes_the_keys_that_are_there(fleet: Database) -> None:
    before = names(fleet, "")
    fill = [getattr(migrations, name) for name in sorted(dir(migrations)) if name.endswith("_key_index")][-1]

    def again(tx: Tx) -> None:
        tx.execute("DROP TABLE key_index")
        fill(sqlite_utils.Database(tx))

    await fleet.write(again)
    assert names(fleet, "") == before
    assert names(fleet, "-l team=web") == ["web-cookies"]


@given(
    enabled=st.booleans(),
    material=st.booleans(),
    external=st.booleans(),
    connection=st.sampled_from(ConnectionState),
)
async def test_the_state_in_the_index_is_the_state_that_the_table_of_states_derives(
    enabled: bool, material: bool, external: bool, connection: ConnectionState, tmp_path_factory: pytest.TempPathFactory
) -> None:
    database = Database(tmp_path_factory.mktemp("index") / "keystead.db")
    database.open()
    try:
        store = "standard" if external else "hsm-a"
        origin = Origin.EXTERNAL if external else Origin.AWS_CLOUDHSM
        key = await database.write(
            lambda tx: add(tx, "k", material=material, enabled=enabled, key_store=store, origin=origin)
        )
        connected = (store,) if connection is ConnectionState.CONNECTED else ()
        (counted,) = database.read(lambda tx: keyindex.counts(tx, connected=connected))
        assert counted.state is key_state(key, connection)
    finally:
        database.close()


async def test_a_filter_of_ten_thousand_keys_answers_at_once(database: Database) -> None:
    """A table of rows, not of documents: the aim for 100,000 keys is 100 ms."""
    key = await database.write(lambda tx: add(tx, "sample", tags={"team": "payments"}))

    def many(tx: Tx) -> None:
        for number in range(10_000):
            meta = msgspec.structs.replace(key.metadata, name=f"key-{number:05}", uid=f"uid-{number}")
            keyindex.put(tx, msgspec.structs.replace(key, metadata=meta))

    await database.write(many)
    started = time.perf_counter()
    found = database.read(lambda tx: keyindex.find(tx, parse_filter("key-09 -l team=payments"), connected=STORES))
    took = time.perf_counter() - started
    assert found.matching == 1_000
    assert took < 0.5, f"{took:.3f} s"
