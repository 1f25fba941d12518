"""What the crypto path reads: remembered, bounded, and never older than the last answer, whoever gave it."""

from __future__ import annotations

import asyncio
from typing import cast

import msgspec
import pytest

from controlplane.schema.keys import MaterialState, MaterialStatus
from controlplane.schema.keystores import ConnectionState
from controlplane.schema.meta import Key, KeyStore, Principal
from controlplane.store import catalog as module
from controlplane.store import changes, keys, material, objects
from controlplane.store.catalog import Bounded, Catalog, KeyRecord
from controlplane.store.changes import ChangeSignal
from controlplane.store.database import Database, Tx
from tests.controlplane.store.samples import NOW, REGION, add_key, add_principal, add_store, other_process


def with_material(tx: Tx, key: Key, *material_ids: str) -> Key:
    uid = key.metadata.uid
    materials = tuple(
        MaterialStatus(
            material_id=each,
            name=f"keystead:{uid}:{each}",
            state=MaterialState.CURRENT if each == material_ids[-1] else MaterialState.NON_CURRENT,
            created_at=NOW,
        )
        for each in material_ids
    )
    for each in materials:
        material.put_token(tx, name=each.name, uid=uid, token=b"token of " + each.material_id.encode())
    status = msgspec.structs.replace(key.status, materials=materials)
    return cast(Key, objects.replace(tx, uid, now=NOW, status=status))


def look(catalog: Catalog, key: Key) -> KeyRecord | None:
    catalog.refresh()
    return catalog.key(REGION, key.status.key_id)


async def test_a_key_is_found_by_id_and_by_alias_with_its_material(database: Database) -> None:
    key = await database.write(lambda tx: with_material(tx, add_key(tx, "k", "a"), "01", "02"))
    catalog = Catalog(database)
    record = look(catalog, key)
    assert record is not None
    assert record.key == key
    assert record.arn == key.status.arn
    assert {each: ref.token for each, ref in record.refs.items()} == {"01": b"token of 01", "02": b"token of 02"}
    assert record.current == record.refs["02"]
    assert catalog.alias(REGION, "a") == record
    assert catalog.alias(REGION, "b") is None
    assert catalog.alias("eu-west-1", "a") is None
    assert catalog.key("eu-west-1", key.status.key_id) is None


async def test_what_does_not_change_is_read_once(database: Database) -> None:
    key = await database.write(lambda tx: add_key(tx, "k", "a"))
    catalog = Catalog(database)
    assert look(catalog, key) is look(catalog, key)
    await database.write(lambda tx: add_key(tx, "another"))
    assert look(catalog, key) is look(catalog, key), "another key's change drops another key"


async def test_a_change_of_one_key_keeps_the_aliases_of_others(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.write(lambda tx: add_key(tx, "k", "a"))
    other = await database.write(lambda tx: add_key(tx, "other", "b"))
    catalog = Catalog(database)
    catalog.refresh()
    record = catalog.alias(REGION, "a")
    assert record is not None
    await database.write(lambda tx: keys.change(tx, other.metadata.uid, NOW, description="changed"))
    catalog.refresh()
    monkeypatch.setattr(database, "read", lambda query: pytest.fail("it was looked up again"))
    assert catalog.alias(REGION, "a") is record


async def test_every_write_is_seen_after_it_was_answered(database: Database) -> None:
    key = await database.write(lambda tx: add_key(tx, "k", "a"))
    store = await database.write(lambda tx: add_store(tx, "s"))
    person = await database.write(lambda tx: add_principal(tx, "p"))
    catalog = Catalog(database)
    for number in range(3):
        text = str(number)
        await database.write(lambda tx, text=text: keys.change(tx, key.metadata.uid, NOW, description=text))
        record = look(catalog, key)
        assert record is not None
        assert record.key.spec.description == text
        spec = msgspec.structs.replace(person.spec, description=text)
        await database.write(lambda tx, spec=spec: objects.replace(tx, person.metadata.uid, now=NOW, spec=spec))
        state = list(ConnectionState)[number]
        status = msgspec.structs.replace(store.status, connection=state)
        await database.write(lambda tx, status=status: objects.replace(tx, store.metadata.uid, now=NOW, status=status))
        catalog.refresh()
        assert cast(Principal, catalog.principal_named("p")).spec.description == text
        assert catalog.principal(person.metadata.uid) is catalog.principal_named("p")
        assert cast(KeyStore, catalog.key_store("s")).status.connection is state


async def test_an_alias_that_moves_names_the_other_key_at_once(database: Database) -> None:
    one = await database.write(lambda tx: add_key(tx, "one", "a"))
    two = await database.write(lambda tx: add_key(tx, "two"))
    catalog = Catalog(database)
    catalog.refresh()
    assert cast(KeyRecord, catalog.alias(REGION, "a")).key == one

    def move(tx: Tx) -> None:
        keys.change(tx, one.metadata.uid, NOW, aliases=())
        keys.change(tx, two.metadata.uid, NOW, aliases=("a",))

    await database.write(move)
    catalog.refresh()
    assert cast(KeyRecord, catalog.alias(REGION, "a")).key.metadata.uid == two.metadata.uid


async def test_what_was_removed_is_gone_at_once(database: Database) -> None:
    person = await database.write(lambda tx: add_principal(tx, "p"))
    store = await database.write(lambda tx: add_store(tx, "s"))
    catalog = Catalog(database)
    catalog.refresh()
    assert catalog.principal_named("p") == catalog.principal(person.metadata.uid) == person
    assert catalog.key_store("s") == store
    await database.write(lambda tx: [objects.remove(tx, each.metadata.uid) for each in (person, store)])
    catalog.refresh()
    assert catalog.principal_named("p") is catalog.principal(person.metadata.uid) is None
    assert catalog.key_store("s") is None


async def test_a_damaged_token_makes_its_material_unusable_and_no_other(database: Database) -> None:
    key = await database.write(lambda tx: with_material(tx, add_key(tx, "k"), "01", "02"))
    name = f"keystead:{key.metadata.uid}:02"
    await database.write(lambda tx: tx.execute("UPDATE tokens SET token = x'00' WHERE name = ?", (name,)))
    record = look(Catalog(database), key)
    assert record is not None
    assert set(record.refs) == {"01"}
    assert record.current is None


async def test_memory_is_bounded_and_what_was_dropped_is_read_again(database: Database) -> None:
    added = await database.write(lambda tx: [add_key(tx, f"k{number}", f"a{number}") for number in range(60)])
    catalog = Catalog(database, limit=10)
    for _ in range(40):
        for number, key in enumerate(added):
            assert cast(KeyRecord, look(catalog, key)).key == key
            assert cast(KeyRecord, catalog.alias(REGION, f"a{number}")).key == key
    assert len(catalog._keys) <= 10
    assert len(catalog._aliases) <= 10
    assert len(catalog._places) <= 1000 + 2 * 10 + 1


async def test_after_very_many_changes_everything_is_read_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MANY_CHANGES", 5)
    key = await database.write(lambda tx: add_key(tx, "k"))
    catalog = Catalog(database)
    assert look(catalog, key) is not None
    await database.write(lambda tx: [add_key(tx, f"other{number}") for number in range(10)])
    await database.write(lambda tx: keys.change(tx, key.metadata.uid, NOW, description="new"))
    assert cast(KeyRecord, look(catalog, key)).key.spec.description == "new"
    await database.write(lambda tx: keys.change(tx, key.metadata.uid, NOW, description="newer"))
    assert cast(KeyRecord, look(catalog, key)).key.spec.description == "newer"


def test_the_least_recently_used_entry_is_dropped_first() -> None:
    entries: Bounded[str, int] = Bounded(2)
    entries.put("a", 1)
    entries.put("b", 2)
    assert entries.get("a") == 1
    entries.put("c", 3)
    assert (entries.get("a"), entries.get("b"), entries.get("c")) == (1, None, 3)


CHANGER = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from controlplane.store import keys
from controlplane.store.database import Database

async def main():
    database = Database(Path(sys.argv[1]))
    database.open()
    print("open", flush=True)
    for line in sys.stdin:
        uid, text = line.split()
        await database.write(lambda tx: keys.change(tx, uid, datetime.now(UTC), description=text))
        print("done", flush=True)

asyncio.run(main())
"""


async def test_a_change_by_another_process_is_seen_after_its_answer_and_wakes_who_waits(database: Database) -> None:
    key = await database.write(lambda tx: add_key(tx, "k"))
    catalog = Catalog(database)
    assert look(catalog, key) is not None
    signal = ChangeSignal(database)
    signal.start()
    seen = database.read(objects.current_version)
    with other_process(CHANGER, str(database.path)) as other:
        assert other.hears() == "open"
        waiting = asyncio.ensure_future(signal.wait(seen, 60))
        for text in ("one", "two"):
            assert await asyncio.to_thread(other.ask, f"{key.metadata.uid} {text}") == "done"
            assert cast(KeyRecord, look(catalog, key)).key.spec.description == text
        assert await waiting > seen
    await signal.stop()


# ---- waiting for a change --------------------------------------------------------------------------------------------


async def test_a_commit_of_this_process_wakes_everyone_who_waits(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "POLL_SECONDS", 3600.0)
    signal = ChangeSignal(database)
    signal.start()
    seen = database.read(objects.current_version)
    waiting = [asyncio.ensure_future(signal.wait(seen, 60)) for _ in range(5)]
    await asyncio.sleep(0)
    key = await database.write(lambda tx: add_key(tx, "k"))
    assert await asyncio.gather(*waiting) == [key.metadata.resource_version] * 5
    assert await signal.wait(seen, 60) == key.metadata.resource_version, "what has happened is not waited for"
    await signal.stop()


async def test_waiting_ends_at_its_time_with_the_version_as_it_is(database: Database) -> None:
    signal = ChangeSignal(database)
    signal.start()
    seen = database.read(objects.current_version)
    assert await signal.wait(seen, 0) == seen
    assert await signal.wait(seen, 0.001) == seen
    await signal.stop()


async def test_the_poll_survives_a_database_that_cannot_be_read_for_a_moment(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "POLL_SECONDS", 0.001)
    real, polled = database.version, asyncio.Event()
    answers = iter([module.StoreDamaged("for a moment"), None])

    def version() -> int:
        answer = next(answers, polled)
        if isinstance(answer, Exception):
            raise answer
        if answer is polled:
            polled.set()
        return real()

    monkeypatch.setattr(database, "version", version)
    signal = ChangeSignal(database)
    signal.start()
    await polled.wait()
    await signal.stop()


async def test_who_watches_an_object_is_woken_by_its_changes_and_not_by_those_of_others(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "POLL_SECONDS", 3600.0)
    one, two = await database.write(lambda tx: [add_key(tx, "one"), add_key(tx, "two")])
    signal = ChangeSignal(database)
    signal.start()
    with signal.watch(one.metadata.uid) as first, signal.watch(two.metadata.uid) as second:
        await database.write(lambda tx: keys.change(tx, one.metadata.uid, NOW, description="before it waits"))
        await first.changed(60)
        waits = asyncio.ensure_future(second.changed(60))
        await database.write(lambda tx: keys.change(tx, one.metadata.uid, NOW, description="again"))
        await first.changed(60)
        assert not waits.done()
        await database.write(lambda tx: keys.change(tx, two.metadata.uid, NOW, description="at last"))
        await waits
        await first.changed(0.001)
    assert not signal._watches
    await signal.stop()


async def test_who_watches_an_object_reads_for_itself_when_changes_cannot_be_read(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await database.write(lambda tx: add_key(tx, "one"))
    signal = ChangeSignal(database)
    with signal.watch(key.metadata.uid) as watch:

        def damaged(query: object) -> None:
            raise module.StoreDamaged("for a moment")

        monkeypatch.setattr(database, "read", damaged)
        signal._wake()
        await watch.changed(60)
