"""Key tokens, plugin state and refused uses: whole or not at all, and nothing secret in plain in the file."""

from __future__ import annotations

import asyncio
import base64
import secrets

import pytest

from controlplane.clock import ManualClock
from controlplane.errors import Conflict, StoreDamaged
from controlplane.keystores.calls import Calls
from controlplane.keystores.connections import Connections
from controlplane.store import credentials, material, people
from controlplane.store.catalog import reference
from controlplane.store.database import Database
from controlplane.store.material import StoredPluginState
from plugins.sdk import Algorithm
from plugins.software import SoftwareKeyStore
from tests.controlplane.store.samples import NOW, add_key, add_principal

NAME = "keystead:uid:0123"


async def put(database: Database, token: bytes, *, name: str = NAME, uid: str = "uid") -> None:
    await database.write(lambda tx: material.put_token(tx, name=name, uid=uid, token=token))


async def test_a_token_comes_back_as_it_was_stored(database: Database) -> None:
    token = secrets.token_bytes(500)
    await put(database, token)
    await put(database, token)
    assert database.read(lambda tx: material.get_token(tx, NAME)) == token
    assert database.read(lambda tx: material.get_token(tx, "other")) is None
    await database.write(lambda tx: material.delete_token(tx, NAME))
    assert database.read(lambda tx: material.get_token(tx, NAME)) is None


@pytest.mark.parametrize("column", ["token", "checksum"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
async def test_a_damaged_token_is_never_handed_out_and_is_named(database: Database, column: str, damage: str) -> None:
    token = secrets.token_bytes(64)
    await put(database, token)
    value = database.read(lambda tx: tx.execute(f"SELECT {column} FROM tokens").fetchone()[0])
    changed = {"flip": bytes([value[0] ^ 1]) + value[1:], "cut": value[:-1], "empty": b""}[damage]
    await database.write(lambda tx: tx.execute(f"UPDATE tokens SET {column} = ?", (changed,)))
    with pytest.raises(StoreDamaged, match=NAME) as caught:
        database.read(lambda tx: material.get_token(tx, NAME))
    assert token.hex() not in str(caught.value)


async def test_the_name_of_a_token_belongs_to_one_key(database: Database) -> None:
    await put(database, b"mine")
    with pytest.raises(Conflict, match=NAME):
        await put(database, b"theirs", uid="another")
    assert database.read(lambda tx: material.get_token(tx, NAME)) == b"mine"


# ---- plugin state ----------------------------------------------------------------------------------------------------


async def test_plugin_state_is_compare_and_set_and_apart_for_each_store(database: Database) -> None:
    a, b = StoredPluginState(database, "a"), StoredPluginState(database, "b")
    assert await a.get("x") is None
    assert not await a.put("x", b"1", expect=b"0")
    assert await a.put("x", b"1", expect=None)
    assert not await a.put("x", b"2", expect=None)
    assert not await a.put("x", b"2", expect=b"0")
    assert await a.put("x", b"2", expect=b"1")
    assert await a.put("w", b"", expect=None)
    assert (await a.get("x"), await a.names()) == (b"2", ["w", "x"])
    assert (await b.get("x"), await b.names()) == (None, [])


async def test_of_many_writers_of_one_value_one_wins(database: Database) -> None:
    state = StoredPluginState(database, "a")
    await state.put("x", b"0", expect=None)
    won = await asyncio.gather(*(state.put("x", bytes([number]), expect=b"0") for number in range(1, 30)))
    assert sum(won) == 1


# ---- refused uses ----------------------------------------------------------------------------------------------------


async def test_refused_uses_are_counted_apart_newest_first(database: Database, clock: ManualClock) -> None:
    for principal, operation in (("p", "Decrypt"), ("q", "Decrypt"), ("p", "Encrypt"), ("p", "Decrypt")):
        clock.advance(1)
        await database.write(
            lambda tx, p=principal, o=operation: people.count_refused_use(
                tx, uid="u", principal=p, operation=o, now=clock.now()
            )
        )
    uses = database.read(lambda tx: people.refused_uses(tx, "u"))
    assert [(use.principal, use.operation, use.count) for use in uses] == [
        ("p", "Decrypt", 2),
        ("p", "Encrypt", 1),
        ("q", "Decrypt", 1),
    ]
    assert uses[0].last_at == clock.now()
    await database.write(lambda tx: people.forget_refused_uses(tx, "u"))
    assert database.read(lambda tx: people.refused_uses(tx, "u")) == []


async def test_nothing_secret_stands_in_plain_in_the_file(database: Database, clock: ManualClock) -> None:
    """Key material in a token, its plaintext, a bearer token, the root key: searched for in every byte on the disk."""
    root_key = database.path.with_name("root.key")
    calls = Calls(Connections(lambda name: StoredPluginState(database, name), clock))
    connection = calls.connections.prepare(
        "standard", "standard", {"rootKey": {"provider": "file", "path": str(root_key)}}
    )
    await calls.provision(connection)
    await calls.open(connection)
    calls.connections.install(connection)
    key = await database.write(lambda tx: add_key(tx, "k"))
    ref = reference(key, f"keystead:{key.metadata.uid}:{'ab' * 32}", "ab" * 32)
    made = await calls.create("standard", ref)
    assert made.token is not None
    token = made.token
    await database.write(lambda tx: material.put_token(tx, name=ref.name, uid=key.metadata.uid, token=token))
    bearer, plaintext = secrets.token_urlsafe(32), secrets.token_bytes(32)
    person = await database.write(lambda tx: add_principal(tx, "p"))
    uid = person.metadata.uid
    await database.write(lambda tx: credentials.add_token(tx, token=bearer, token_id="t", uid=uid, now=NOW))
    whole = reference(key, ref.name, ref.material_id, token)
    assert await calls.encrypt("standard", whole, Algorithm.SYMMETRIC_DEFAULT, plaintext, b"")
    assert isinstance(connection.plugin, SoftwareKeyStore)
    key_material, _ = await connection.plugin._unwrap(whole, token)
    await calls.close(connection)
    on_disk = b"".join(path.read_bytes() for path in database.path.parent.glob("keystead.db*"))
    assert token in on_disk, "the search finds what is there"
    root = root_key.read_bytes().split()[1]
    for secret in (bearer.encode(), plaintext, key_material, root, base64.b64decode(root)):
        assert secret not in on_disk
