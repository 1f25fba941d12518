"""Grants in the database: named ones exist once, pages survive changes, every process sees what comes and goes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from controlplane.domain import grants as rules
from controlplane.errors import LimitExceeded, StoreDamaged
from controlplane.schema.grants import Grant, GrantConstraints, GrantOperation
from controlplane.schema.meta import Key
from controlplane.store import grants, objects
from controlplane.store.catalog import GRANTEES, Catalog
from controlplane.store.database import Database
from tests.controlplane.store.samples import ACCOUNT, NOW, REGION, add_key, other_process

ALICE = f"arn:aws:iam::{ACCOUNT}:user/alice"
BOB = f"arn:aws:iam::{ACCOUNT}:user/bob"
Op = GrantOperation


def grant(number: int, **more: Any) -> Grant:
    values: dict[str, Any] = {
        "created_at": NOW + timedelta(seconds=number),
        "operations": (Op.DECRYPT,),
        "grantee_principal": ALICE,
        **more,
    }
    return Grant(grant_id=f"{number:064x}", key_arn="arn", issuing_account=f"arn:aws:iam::{ACCOUNT}:root", **values)


async def new_key(database: Database, name: str = "k") -> Key:
    return await database.write(lambda tx: add_key(tx, name))


async def add(database: Database, key: Key, made: Grant, region: str = REGION) -> Grant:
    return await database.write(lambda tx: grants.add(tx, uid=key.metadata.uid, region=region, grant=made))


async def test_a_grant_comes_back_as_it_was_put(database: Database) -> None:
    key = await new_key(database)
    constraints = GrantConstraints(encryption_context_subset={"ä": "\u2028", "": ""}, source_arn="arn")
    made = grant(1, constraints=constraints, retiring_principal=BOB, name="n", operations=(Op.SIGN, Op.VERIFY))
    assert await add(database, key, made) == made
    assert database.read(lambda tx: grants.get(tx, key.metadata.uid, made.grant_id)) == made
    assert database.read(lambda tx: grants.of_grantee(tx, key.metadata.uid, ALICE)) == (made,)
    assert database.read(lambda tx: grants.of_grantee(tx, key.metadata.uid, BOB)) == ()


async def test_a_named_grant_that_is_asked_for_again_is_the_first_one(database: Database) -> None:
    key, other = await new_key(database), await new_key(database, "other")
    first = await add(database, key, grant(1, name="n", operations=(Op.DECRYPT, Op.ENCRYPT)))
    assert await add(database, key, grant(2, name="n", operations=(Op.ENCRYPT, Op.DECRYPT))) == first
    different: list[dict[str, Any]] = [
        {"name": "m"},
        {"grantee_principal": BOB},
        {"operations": (Op.DECRYPT,)},
        {"retiring_principal": BOB},
        {"constraints": GrantConstraints(encryption_context_equals={"a": "b"})},
        {"constraints": GrantConstraints(encryption_context_subset={"a": "b"})},
    ]
    for number, change in enumerate(different, 3):
        made = grant(number, **{"name": "n", "operations": (Op.DECRYPT, Op.ENCRYPT), **change})
        assert await add(database, key, made) == made
    assert (await add(database, other, grant(20, name="n", operations=(Op.DECRYPT, Op.ENCRYPT)))).grant_id != (
        first.grant_id
    )


async def test_grants_without_a_name_are_never_the_same(database: Database) -> None:
    key = await new_key(database)
    assert [(await add(database, key, grant(number))).grant_id for number in (1, 2)] == [f"{n:064x}" for n in (1, 2)]


async def test_a_key_has_a_most_of_grants_and_one_that_is_there_still_answers(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rules.MAX_GRANTS == 50_000
    monkeypatch.setattr(grants, "MAX_GRANTS", 2)
    key, other = await new_key(database), await new_key(database, "other")
    first = await add(database, key, grant(1, name="n"))
    await add(database, key, grant(2))
    with pytest.raises(LimitExceeded, match="at most 2 grants"):
        await add(database, key, grant(3))
    assert await add(database, key, grant(3, name="n")) == first
    await add(database, other, grant(4))


async def test_pages_survive_what_is_made_and_removed_between_them(database: Database) -> None:
    key = await new_key(database)
    uid = key.metadata.uid
    for number in range(1, 6):
        await add(database, key, grant(number, grantee_principal=ALICE if number % 2 else BOB, retiring_principal=BOB))
    page = database.read(lambda tx: grants.page_of_key(tx, uid, after=0, limit=2))
    assert [listed.grant.grant_id for listed in page] == [f"{n:064x}" for n in (1, 2)]
    await database.write(lambda tx: grants.remove(tx, uid, f"{2:064x}"))
    await database.write(lambda tx: grants.remove(tx, uid, f"{5:064x}"))
    await add(database, key, grant(6))
    rest = database.read(lambda tx: grants.page_of_key(tx, uid, after=page[-1].seq, limit=10))
    assert [int(listed.grant.grant_id, 16) for listed in rest] == [3, 4, 6]
    of_alice = database.read(lambda tx: grants.page_of_key(tx, uid, after=0, limit=10, grantee=ALICE))
    assert [int(listed.grant.grant_id, 16) for listed in of_alice] == [1, 3, 6]
    one = database.read(lambda tx: grants.page_of_key(tx, uid, after=0, limit=10, grant_id=f"{3:064x}"))
    assert [int(listed.grant.grant_id, 16) for listed in one] == [3]


async def test_retirable_grants_are_those_of_one_region_and_principal(database: Database) -> None:
    key, far = await new_key(database), await database.write(lambda tx: add_key(tx, "far", region="eu-central-1"))
    service = "logs.us-east-1.amazonaws.com"
    await add(database, key, grant(1, retiring_principal=BOB))
    await add(database, key, grant(2, retiring_principal=ALICE))
    await add(database, key, grant(3, retiring_service_principal=service))
    await add(database, far, grant(4, retiring_principal=BOB), "eu-central-1")

    def found(region: str, principal: str | None, of: str | None) -> list[int]:
        page = database.read(
            lambda tx: grants.page_retirable(tx, region, after=0, limit=9, principal=principal, service=of)
        )
        return [int(listed.grant.grant_id, 16) for listed in page]

    assert found(REGION, BOB, None) == [1]
    assert found("eu-central-1", BOB, None) == [4]
    assert found(REGION, None, service) == [3]
    assert found(REGION, f"{BOB}/", None) == []


async def test_a_grant_is_removed_by_its_own_key_alone_and_once(database: Database) -> None:
    key, other = await new_key(database), await new_key(database, "other")
    made = await add(database, key, grant(1))
    assert not await database.write(lambda tx: grants.remove(tx, other.metadata.uid, made.grant_id))
    assert database.read(lambda tx: grants.get(tx, other.metadata.uid, made.grant_id)) is None
    assert await database.write(lambda tx: grants.remove(tx, key.metadata.uid, made.grant_id))
    assert not await database.write(lambda tx: grants.remove(tx, key.metadata.uid, made.grant_id))


async def test_a_grant_changes_its_keys_version_and_not_what_is_wanted_of_it(database: Database) -> None:
    key = await new_key(database)
    made = await add(database, key, grant(1))
    after = database.read(lambda tx: objects.require(tx, key.metadata.uid))
    assert after.metadata.resource_version > key.metadata.resource_version
    assert (after.metadata.generation, after.spec, after.status) == (key.metadata.generation, key.spec, key.status)
    await database.write(lambda tx: grants.remove(tx, key.metadata.uid, made.grant_id))
    last = database.read(lambda tx: objects.require(tx, key.metadata.uid))
    assert last.metadata.resource_version > after.metadata.resource_version


async def test_the_catalog_sees_a_grant_come_and_go(database: Database) -> None:
    key = await new_key(database)
    catalog = Catalog(database)
    assert catalog.grants(key.metadata.uid, ALICE) == ()
    made = await add(database, key, grant(1))
    catalog.refresh()
    assert catalog.grants(key.metadata.uid, ALICE) == (made,)
    assert catalog.grants(key.metadata.uid, ALICE) is catalog.grants(key.metadata.uid, ALICE), "read once"
    await database.write(lambda tx: grants.remove(tx, key.metadata.uid, made.grant_id))
    catalog.refresh()
    assert catalog.grants(key.metadata.uid, ALICE) == ()


async def test_the_catalog_sees_what_another_process_revokes(database: Database) -> None:
    key = await new_key(database)
    made = await add(database, key, grant(1))
    catalog = Catalog(database)
    assert catalog.grants(key.metadata.uid, ALICE) == (made,)
    script = """
import asyncio, sys
from pathlib import Path
from controlplane.store import grants
from controlplane.store.database import Database

async def main(path, uid, grant_id):
    database = Database(Path(path))
    database.open()
    print(await database.write(lambda tx: grants.remove(tx, uid, grant_id)), flush=True)
    database.close()

asyncio.run(main(*sys.argv[1:]))
"""
    with other_process(script, str(database.path), key.metadata.uid, made.grant_id) as other:
        assert other.hears() == "True"
    catalog.refresh()
    assert catalog.grants(key.metadata.uid, ALICE) == ()


async def test_strangers_cannot_fill_the_memory_of_a_key(database: Database) -> None:
    key = await new_key(database)
    made = await add(database, key, grant(1))
    catalog = Catalog(database)
    for number in range(3 * GRANTEES):
        assert catalog.grants(key.metadata.uid, f"arn:aws:sts::{ACCOUNT}:assumed-role/r/{number}") == ()
    of_key = catalog._grants.get(key.metadata.uid)
    assert of_key is not None
    assert len(of_key) <= GRANTEES
    assert catalog.grants(key.metadata.uid, ALICE) == (made,)


async def test_grants_go_with_their_key(database: Database) -> None:
    key = await new_key(database)
    await add(database, key, grant(1))
    await database.write(lambda tx: objects.replace(tx, key.metadata.uid, now=NOW, finalizers=()))
    await database.write(lambda tx: objects.remove(tx, key.metadata.uid))
    assert database.read(lambda tx: tx.execute("SELECT count(*) FROM grants").fetchone()[0]) == 0


async def test_a_damaged_grant_is_told_and_grants_nothing(database: Database) -> None:
    key = await new_key(database)
    await add(database, key, grant(1))
    await database.write(lambda tx: tx.execute("UPDATE grants SET body = '{}'"))
    with pytest.raises(StoreDamaged, match="a grant in the database does not decode"):
        Catalog(database).grants(key.metadata.uid, ALICE)
