"""What a server is killed in the middle of: every operation that changes a key store, with what it acknowledged.

Run by ``driver``, in the server's own process and through its doors. What was answered is written to a file at once, so
that the test knows what must hold after the kill.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from controlplane.api.services import Services
from controlplane.errors import KeysteadError
from controlplane.schema.keys import Algorithm
from controlplane.store.catalog import KeyRecord
from controlplane.usage import operations
from tests.harness import TOKEN, document

SECONDS = 40.0
GONE = "SELECT 1 FROM objects WHERE kind = 'Key' AND name = 'b'"
SYMMETRIC = Algorithm.SYMMETRIC_DEFAULT


class World:
    """A server without its listener, its REST application, and what is asked of it."""

    def __init__(self, services: Services, application: Any, asked: dict[str, Any]) -> None:
        self.services = services
        self.application = application
        self.asked = asked
        self.store: str = asked["store"]["metadata"]["name"] if asked["store"] else "standard"

    # ---- its doors -------------------------------------------------------------------------------------------------

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        content = b"" if body is None else json.dumps(body).encode()
        where, _, query = path.partition("?")
        headers = {"host": "localhost", "authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": where,
            "raw_path": where.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()]
            + [(b"content-length", str(len(content)).encode())],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 1),
            "root_path": "",
        }
        told: list[dict[str, Any]] = []
        given = [{"type": "http.request", "body": content, "more_body": False}]

        async def receive() -> dict[str, Any]:
            return given.pop() if given else {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            told.append(message)

        await self.application(scope, receive, send)
        answer = b"".join(each.get("body", b"") for each in told[1:])
        return told[0]["status"], json.loads(answer or b"null")

    async def ok(self, method: str, path: str, body: Any = None) -> Any:
        status, answer = await self.ask(method, path, body)
        assert status in (200, 201), f"{method} {path}: {status} {answer}"
        return answer

    def acknowledge(self, what: str, **facts: Any) -> None:
        descriptor = os.open(self.asked["acks"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(descriptor, json.dumps({"what": what, **facts}).encode() + b"\n")
        os.close(descriptor)

    def put_forward(self, *, days: int) -> None:
        """The clock of this server, and of the one that takes its place."""
        Path(self.asked["clock"]).write_text(str(days))

    def was_put_forward(self) -> bool:
        return Path(self.asked["clock"]).exists()

    def acknowledged(self) -> list[dict[str, Any]]:
        path = Path(self.asked["acks"])
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    # ---- looking ---------------------------------------------------------------------------------------------------

    def rows(self, query: str) -> list[Any]:
        return self.services.database.read(lambda tx: tx.execute(query).fetchall())

    def settled(self) -> bool:
        """Whether the reconciler has brought every object to its present generation, with no attempt open."""
        open_attempts = self.rows("SELECT count(*) FROM attempts WHERE ended_at IS NULL")[0][0]
        behind = self.rows("SELECT count(*) FROM objects WHERE synced_generation < generation")[0][0]
        return not open_attempts and not behind

    def behind(self) -> list[Any]:
        """What is open, for whoever reads why a run failed."""
        return [
            self.rows("SELECT * FROM attempts WHERE ended_at IS NULL"),
            self.rows(
                "SELECT kind, name, generation, synced_generation, CAST(status AS TEXT) FROM objects "
                "WHERE synced_generation < generation"
            ),
            self.acknowledged()[-3:],
        ]

    async def until(self, condition: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + SECONDS
        while not (found := condition()):
            if time.monotonic() > deadline:
                raise AssertionError(f"not in time: {what}; {self.behind()}")
            await asyncio.sleep(0.01)
        return found

    def key(self, name: str) -> KeyRecord | None:
        self.services.catalog.refresh()
        rows = self.rows(f"SELECT region, key_id FROM objects WHERE kind = 'Key' AND name = '{name}'")
        return self.services.catalog.key(*rows[0]) if rows and rows[0][1] else None

    def materials(self, name: str) -> list[Any]:
        record = self.key(name)
        return [each for each in record.key.status.materials if each.present] if record is not None else []

    async def encrypt(self, name: str) -> None:
        """A blob of the key, which has to be readable from now on."""
        await self.until(lambda: self.materials(name), f"{name} has material")
        record = self.key(name)
        assert record is not None
        while True:
            try:
                blob = await operations.encrypt(self.services.calls, record, name.encode(), SYMMETRIC, None)
                break
            except KeysteadError:
                if self.services.calls.connections.find(self.store) is not None:
                    raise
                await asyncio.sleep(0.02)
        self.acknowledge("blob", name=name, blob=base64.b64encode(blob).decode())


# ---- the operations --------------------------------------------------------------------------------------------------


async def everything(world: World) -> dict[str, Any]:
    """Apply, create, rotate, import, adopt, disconnect and connect, delete; as far as the key store has them."""
    await apply(world)
    await create(world)
    if world.asked["adopts"]:
        await adopt(world)
    if world.asked["rotates"]:
        await rotate(world)
    if world.asked["imports"]:
        await imported(world)
    if world.asked["store"]:
        await connect(world)
    await delete(world)
    return {}


async def apply(world: World) -> None:
    store = [world.asked["store"]] if world.asked["store"] else []
    documents = [*store, *(key(world, name) for name in ("a", "b")), document("Principal", "billing")]
    plan = await world.ok("POST", "/v1/plans", {"specSet": "crash", "documents": documents})
    applied = await world.ok("POST", f"/v1/plans/{plan['id']}/apply", {})
    for each in applied["objects"]:
        world.acknowledge("object", kind=each["kind"], name=each["name"], uid=each["uid"])
    for name in ("a", "b"):
        await world.encrypt(name)


def key(world: World, name: str) -> dict[str, Any]:
    external = {"xksKeyId": f"external-{name}"} if world.asked["external"] else {}
    return document("Key", name, keyStore=world.store, **external)


async def create(world: World) -> None:
    made = await world.ok("PUT", "/v1/keys/c", key(world, "c"))
    world.acknowledge("object", kind="Key", name="c", uid=made["metadata"]["uid"])
    await world.encrypt("c")


async def adopt(world: World) -> None:
    """Make a key of what somebody else had in the device."""
    asked = {"object": world.asked["adopts"], "name": "e"}
    made = await world.ok("POST", f"/v1/keystores/{world.store}/material", asked)
    world.acknowledge("object", kind="Key", name="e", uid=made["metadata"]["uid"])
    await world.encrypt("e")


async def rotate(world: World) -> None:
    await world.ok("POST", "/v1/keys/a/actions/rotate", {})
    world.acknowledge("rotated", name="a")
    await world.until(lambda: len(world.materials("a")) == 2, "the key has new material")
    await world.encrypt("a")


async def imported(world: World) -> None:
    made = await world.ok("PUT", "/v1/keys/d", document("Key", "d", keyStore=world.store, origin="EXTERNAL"))
    world.acknowledge("object", kind="Key", name="d", uid=made["metadata"]["uid"])
    wanted = {"wrappingKeySpec": "RSA_2048", "wrappingAlgorithm": "RSAES_OAEP_SHA_256"}
    issued = await world.ok("POST", "/v1/keys/d/import/parameters", wanted)
    public = load_der_public_key(base64.b64decode(issued["publicKey"]))
    assert isinstance(public, rsa.RSAPublicKey)
    digest = hashes.SHA256()
    wrapped = public.encrypt(os.urandom(32), padding.OAEP(padding.MGF1(digest), digest, None))
    upload = {"importToken": issued["importToken"], "encryptedKeyMaterial": base64.b64encode(wrapped).decode()}
    done = await world.ok("POST", "/v1/keys/d/import", upload)
    world.acknowledge("imported", name="d", material=done["keyMaterialId"])
    await world.encrypt("d")


async def connect(world: World) -> None:
    for connected in (False, True):
        spec = {**world.asked["store"]["spec"], "connected": connected}
        await world.ok("PUT", f"/v1/keystores/{world.store}", {**world.asked["store"], "spec": spec})
        world.acknowledge("connected", connected=connected)
        await world.until(
            lambda: (world.services.calls.connections.find(world.store) is not None) == connected,  # noqa: B023
            "the connection follows",
        )
    await world.encrypt("b")


async def delete(world: World) -> None:
    await world.ok("POST", "/v1/keys/b/actions/schedule-deletion", {"windowDays": 7})
    world.acknowledge("deleted", name="b")
    world.put_forward(days=8)
    await world.until(lambda: not world.rows(GONE), "b is gone")


# ---- afterwards ------------------------------------------------------------------------------------------------------


async def recovered(world: World) -> dict[str, Any]:
    """Wait for one look at everything, and say what there is; blobs that were acknowledged and do not open."""
    if world.asked["store"] and world.rows(f"SELECT 1 FROM objects WHERE kind = 'KeyStore' AND name = '{world.store}'"):
        # It may have died while the key store was to be disconnected: then nobody can look at the keys.
        await world.ok("PUT", f"/v1/keystores/{world.store}", world.asked["store"])
        await world.until(lambda: world.services.calls.connections.find(world.store), "the key store is open")
    await world.until(world.settled, "everything is as declared again")
    if world.was_put_forward():
        await world.until(lambda: not world.rows(GONE), "what fell due is gone")
    keys = {}
    for (name,) in world.rows("SELECT name FROM objects WHERE kind = 'Key'"):
        record = world.key(name)
        if record is not None:
            keys[name] = record.key
    lost = []
    for each in world.acknowledged():
        if each["what"] == "blob" and each["name"] in keys and keys[each["name"]].metadata.deletion is None:
            lost += await _unreadable(world, each)
    due = [name for name, found in keys.items() if found.metadata.deletion is not None]
    return {
        "objects": [list(row) for row in world.rows("SELECT kind, name, uid FROM objects")],
        "deleting": due,
        "materials": {
            name: [each.name for each in found.status.materials if each.present] for name, found in keys.items()
        },
        "materialIds": [each.material_id for found in keys.values() for each in found.status.materials if each.present],
        "lost": lost,
    }


async def _unreadable(world: World, acknowledged: dict[str, Any]) -> list[str]:
    record = world.key(acknowledged["name"])
    assert record is not None
    blob = base64.b64decode(acknowledged["blob"])
    try:
        opened, _ = await operations.decrypt(world.services.calls, record, blob, SYMMETRIC, None)
    except KeysteadError as error:
        return [f"{acknowledged['name']}: {type(error).__name__}: {error.message}"]
    return [] if opened == acknowledged["name"].encode() else [f"{acknowledged['name']}: opens to something else"]
