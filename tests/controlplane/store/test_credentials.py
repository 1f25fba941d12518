"""Credentials: each is one principal's by uid, goes with it, and somebody who may change things keeps one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

import msgspec
import pytest
import sqlite_utils

from controlplane.errors import AlreadyExists, Blocked, LimitExceeded
from controlplane.schema.meta import Principal
from controlplane.store import credentials, objects
from controlplane.store.database import Database, Tx
from controlplane.store.migrations import MIGRATIONS
from tests.controlplane.store.samples import NOW, add_principal


async def person(database: Database, name: str, **spec: Any) -> Principal:
    def write(tx: Tx) -> Principal:
        made = add_principal(tx, name)
        wanted = msgspec.structs.replace(made.spec, **spec)
        return cast(Principal, objects.replace(tx, made.metadata.uid, now=NOW, spec=wanted))

    return await database.write(write)


async def key(database: Database, of: Principal, access_key_id: str, sealed: bytes = b"sealed") -> None:
    await database.write(
        lambda tx: credentials.add_access_key(
            tx, access_key_id=access_key_id, uid=of.metadata.uid, sealed_secret=sealed, now=NOW
        )
    )


async def token(database: Database, of: Principal, text: str, **more: Any) -> None:
    await database.write(
        lambda tx: credentials.add_token(tx, token=text, token_id=f"id-of-{text}", uid=of.metadata.uid, now=NOW, **more)
    )


async def test_an_access_key_is_added_once_and_found_sealed(database: Database) -> None:
    p = await person(database, "p")
    await key(database, p, "AKIA")
    with pytest.raises(AlreadyExists):
        await key(database, p, "AKIA", b"other")
    found = database.read(lambda tx: credentials.find_access_key(tx, "AKIA"))
    assert found == credentials.AccessKey("AKIA", p.metadata.uid, b"sealed", True)
    assert database.read(lambda tx: credentials.find_access_key(tx, "AKIB")) is None


async def test_a_principal_has_two_access_keys_at_most(database: Database) -> None:
    p, q = await person(database, "p"), await person(database, "q")
    await key(database, p, "A1")
    await key(database, p, "A2")
    with pytest.raises(LimitExceeded, match="at most 2 access keys"):
        await key(database, p, "A3")
    await key(database, q, "A3")
    listed = database.read(lambda tx: credentials.access_keys(tx, p.metadata.uid))
    assert [(each.access_key_id, each.active, each.created_at) for each in listed] == [
        ("A1", True, NOW),
        ("A2", True, NOW),
    ]


async def test_an_access_key_is_switched_and_deleted_by_its_own_principal_alone(database: Database) -> None:
    p, q = await person(database, "p"), await person(database, "q")
    await key(database, p, "A1")
    switch, delete = credentials.switch_access_key, credentials.delete_access_key
    assert not await database.write(lambda tx: switch(tx, q.metadata.uid, "A1", active=False))
    assert not await database.write(lambda tx: delete(tx, q.metadata.uid, "A1"))
    assert await database.write(lambda tx: switch(tx, p.metadata.uid, "A1", active=False))
    found = database.read(lambda tx: credentials.find_access_key(tx, "A1"))
    assert found is not None
    assert not found.active
    assert await database.write(lambda tx: delete(tx, p.metadata.uid, "A1"))
    assert not await database.write(lambda tx: delete(tx, p.metadata.uid, "A1"))


async def test_a_token_is_found_by_itself_alone(database: Database) -> None:
    p = await person(database, "p")
    await token(database, p, "token-1", description="CI", expires_at=NOW + timedelta(days=1))
    find = credentials.find_token
    found = database.read(lambda tx: find(tx, "token-1"))
    assert found == credentials.Bearer(p.metadata.uid, (NOW + timedelta(days=1)).timestamp())
    assert [database.read(lambda tx, text=text: find(tx, text)) for text in ("token-", "TOKEN-1", "")] == [None] * 3
    (listed,) = database.read(lambda tx: credentials.tokens(tx, p.metadata.uid))
    assert (listed.token_id, listed.description) == ("id-of-token-1", "CI")
    assert listed.expires_at == NOW + timedelta(days=1)


async def test_a_principal_has_a_most_of_tokens(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "MAX_TOKENS", 2)
    p = await person(database, "p")
    for text in ("a", "b"):
        await token(database, p, text)
    with pytest.raises(LimitExceeded, match="at most 2 tokens"):
        await token(database, p, "c")


async def test_credentials_go_with_their_principal_and_are_nobodys_after(database: Database) -> None:
    p = await person(database, "p")
    await key(database, p, "A1")
    await token(database, p, "t")
    await database.write(lambda tx: objects.remove(tx, p.metadata.uid))
    await person(database, "p", administrator=True)
    assert database.read(lambda tx: credentials.find_access_key(tx, "A1")) is None
    assert database.read(lambda tx: credentials.find_token(tx, "t")) is None


# ---- the last administrator ------------------------------------------------------------------------------------------


async def test_administrators_are_those_who_can_come_in(database: Database) -> None:
    names = {}
    for name in ("by-key", "by-token", "disabled", "until-tomorrow", "without"):
        names[name] = await person(database, name, administrator=True)
    await key(database, names["by-key"], "A1")
    await token(database, names["by-token"], "t1")
    await key(database, names["disabled"], "A2")
    uid = names["disabled"].metadata.uid
    await database.write(lambda tx: credentials.switch_access_key(tx, uid, "A2", active=False))
    await token(database, names["until-tomorrow"], "t2", expires_at=NOW + timedelta(days=1))
    liar = await person(database, "liar", description='"administrator":true')
    await key(database, liar, "A3")
    found = database.read(credentials.administrators)
    assert sorted(found.values()) == ["by-key", "by-token"]


async def test_the_last_lasting_credential_of_the_last_administrator_stays(database: Database) -> None:
    p = await person(database, "p", administrator=True)
    uid = p.metadata.uid
    await key(database, p, "A1")
    await token(database, p, "t")
    assert await database.write(lambda tx: credentials.delete_token(tx, uid, "id-of-t"))
    with pytest.raises(Blocked, match="no administrator with a credential that lasts"):
        await database.write(lambda tx: credentials.delete_access_key(tx, uid, "A1"))
    with pytest.raises(Blocked):
        await database.write(lambda tx: credentials.switch_access_key(tx, uid, "A1", active=False))
    assert database.read(lambda tx: credentials.access_keys(tx, uid))[0].active
    other = await person(database, "other", administrator=True)
    await token(database, other, "u")
    assert await database.write(lambda tx: credentials.delete_access_key(tx, uid, "A1"))


async def test_who_is_no_administrator_may_lose_every_credential(database: Database) -> None:
    p = await person(database, "p")
    await key(database, p, "A1")
    assert await database.write(lambda tx: credentials.delete_access_key(tx, p.metadata.uid, "A1"))


# ---- from names to uids ----------------------------------------------------------------------------------------------


async def test_credentials_of_an_older_database_go_to_the_principal_of_their_name(database: Database) -> None:
    """What an older version wrote is carried over; what named nobody is dropped."""
    p = await person(database, "p", administrator=True)

    def age(tx: Tx) -> None:
        tx.execute("DROP TABLE access_keys")
        tx.execute("DROP TABLE bearer_tokens")
        tx.execute(
            """CREATE TABLE access_keys (access_key_id TEXT PRIMARY KEY, principal TEXT NOT NULL,
               sealed_secret BLOB NOT NULL, active INTEGER NOT NULL, created_at REAL NOT NULL) WITHOUT ROWID"""
        )
        tx.execute(
            """CREATE TABLE tokens_bearer (
               digest BLOB PRIMARY KEY, principal TEXT NOT NULL, created_at REAL NOT NULL) WITHOUT ROWID"""
        )
        for access_key_id, name, active in (("A1", "p", 1), ("A2", "p", 0), ("A3", "gone", 1)):
            tx.execute("INSERT INTO access_keys VALUES (?, ?, ?, ?, ?)", (access_key_id, name, b"s", active, 0.0))
        for text, name in (("t", "p"), ("u", "gone")):
            tx.execute("INSERT INTO tokens_bearer VALUES (?, ?, ?)", (credentials._digest(text), name, 0.0))
        tx.execute("DELETE FROM _sqlite_migrations WHERE name = 'm009_credentials'")

    await database.write(age)
    database.close()
    connection = sqlite_utils.Database(database.path)
    assert [each.name for each in MIGRATIONS.pending(connection)] == ["m009_credentials"]
    connection.close()
    database.open()
    uid = p.metadata.uid
    listed = database.read(lambda tx: credentials.access_keys(tx, uid))
    assert [(each.access_key_id, each.active) for each in listed] == [("A1", True), ("A2", False)]
    found = database.read(lambda tx: credentials.find_token(tx, "t"))
    assert found == credentials.Bearer(uid, None)
    assert database.read(lambda tx: credentials.find_token(tx, "u")) is None
    assert database.read(lambda tx: credentials.find_access_key(tx, "A3")) is None
