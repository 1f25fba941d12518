"""Many keys in a data directory, fast: written by the store's own functions as the reconciler would leave them.

Who calls it: benchmarks that need more keys than anybody wants to wait for. The server is not running meanwhile. Key
tokens are made by the real plugin; the conditions are copied from a key that the server made itself.
"""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

import msgspec

from controlplane import server
from controlplane.clock import Clock
from controlplane.domain.names import material_name
from controlplane.keystores.calls import Calls
from controlplane.keystores.connections import Connections
from controlplane.schema.keys import MaterialState, MaterialStatus
from controlplane.schema.keystores import STANDARD
from controlplane.schema.meta import Key
from controlplane.settings import dev_settings
from controlplane.store import keys, material, objects
from controlplane.store.catalog import reference
from controlplane.store.database import Database, Tx
from plugins.sdk import Material
from tests.benchmarks import servers

TOGETHER = 1_000


def key_ids(data: Path, number: int) -> list[str]:
    """Make ``number`` symmetric keys in a new data directory; their ids."""
    with servers.keystead(data) as first:
        template = first.kms().create_key()["KeyMetadata"]["KeyId"]
    return asyncio.run(_seed(data, template, number))


async def _seed(data: Path, template: str, number: int) -> list[str]:
    settings, clock = dev_settings(0, data), Clock()
    database = Database(data / server.DATABASE_FILE)
    database.open()
    calls = Calls(Connections(server.state_of(database), clock))
    standard = calls.connections.prepare(STANDARD, STANDARD, settings.standard)
    await calls.open(standard)
    calls.connections.install(standard)
    like = database.read(lambda tx: objects.get_key(tx, settings.region, template))
    assert like is not None
    made: list[str] = []
    try:
        while len(made) < number:
            many = min(TOGETHER, number - len(made))
            made += await _batch(database, calls, like, settings.account, clock, many)
    finally:
        await calls.close(standard)
        database.close()
    return made


async def _batch(database: Database, calls: Calls, like: Key, account: str, clock: Clock, number: int) -> list[str]:
    now = clock.now()

    def declare(tx: Tx) -> list[Key]:
        return [keys.create(tx, desired=like.spec, account=account, now=now) for _ in range(number)]

    declared = await database.write(declare)
    refs = []
    for key in declared:
        material_id = secrets.token_hex(32)
        refs.append(reference(key, material_name(key.metadata.uid, material_id), material_id))
    materials: list[Material] = [await calls.create(STANDARD, ref) for ref in refs]

    def give(tx: Tx) -> None:
        for key, ref, each in zip(declared, refs, materials, strict=True):
            assert each.token is not None
            material.put_token(tx, name=ref.name, uid=key.metadata.uid, token=each.token)
            current = MaterialStatus(
                material_id=ref.material_id, name=ref.name, state=MaterialState.CURRENT, created_at=now
            )
            status = msgspec.structs.replace(
                key.status,
                materials=(current,),
                conditions=like.status.conditions,
                observed_generation=key.metadata.generation,
            )
            objects.replace(tx, key.metadata.uid, now=now, status=status)

    await database.write(give)
    return [key.status.key_id for key in declared]
