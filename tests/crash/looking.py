"""What a server left behind: helpers of the crash tests.

Promise that most of them check: what key stores hold is what keys name, every attempt has an end, and the database and
the journal are whole.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from controlplane.audit.verifying import verify
from tests.harness import Server, document, eventually

Make = Callable[..., Server]

STANDARD_KEYS, DEVICE_KEYS = 20, 10


@contextlib.contextmanager
def database(server: Server, *, write: bool = False) -> Iterator[sqlite3.Connection]:
    """The server's database as it is on disk. Reading does not disturb a running server."""
    path = server.directory / "keystead.db"
    connection = sqlite3.connect(path if write else f"file:{path}?mode=ro", uri=not write, timeout=30)
    try:
        yield connection
        connection.commit()
    finally:
        connection.close()


def count(server: Server, query: str) -> int:
    with database(server) as connection:
        return int(connection.execute(query).fetchone()[0])


def device_names(device: Path) -> set[str]:
    return set(json.loads(device.read_bytes())) if device.exists() else set()


def all_keys(server: Server) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    after = ""
    while True:
        page = server.ok("GET", f"/v1/keys?limit=1000&after={after}")
        keys |= {item["metadata"]["name"]: item for item in page["items"]}
        if page["next"] is None:
            return keys
        after = page["next"]


def assert_no_orphan(server: Server, device: Path) -> None:
    """What the stores hold is what the keys name; every attempt has an end; the database and the journal are whole."""
    keys = all_keys(server)
    named: dict[str, set[str]] = {"standard": set(), "device": set()}
    for key in keys.values():
        materials = key["status"].get("materials", [])
        assert len(materials) == 1, f"{key['metadata']['name']} has {len(materials)} materials"
        named[key["spec"].get("keyStore", "standard")] |= {each["name"] for each in materials}
    assert device_names(device) == named["device"]
    server.stop()
    with database(server) as connection:
        tokens = {row[0] for row in connection.execute("SELECT name FROM tokens WHERE uid != 'system'")}
        assert tokens == named["standard"]
        assert connection.execute("SELECT count(*) FROM tokens WHERE uid = 'system'").fetchone() == (2,)
        assert connection.execute("SELECT * FROM attempts WHERE ended_at IS NULL").fetchall() == []
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    journal = verify(server.directory / "audit")
    assert journal.ok, journal.bad


def documents(device: Path, **faults: Any) -> list[dict[str, Any]]:
    """Keys of both custodies: tokens in our database, material on a device."""
    options: dict[str, Any] = {"device": str(device), **faults}
    return [
        document("KeyStore", "device", type="memory", memory=options),
        *(document("Key", f"standard-{index:02}", aliases=[f"s-{index}"]) for index in range(STANDARD_KEYS)),
        *(document("Key", f"device-{index:02}", keyStore="device") for index in range(DEVICE_KEYS)),
    ]


def converge(server: Server, spec_set: str, declared: Sequence[Mapping[str, Any]]) -> None:
    """Apply the same documents until there is nothing left to do, as a person would after a crash."""
    for _ in range(3):
        plan = server.plan(spec_set, declared)
        if not plan["changes"]:
            break
        server.ok("POST", f"/v1/plans/{plan['id']}/apply", {})
    else:
        pytest.fail(f"still changes after three applies: {plan['changes']}")
    server.converged(spec_set)
    assert server.plan(spec_set, declared)["changes"] == []


def connected(server: Server) -> None:
    """Wait until no key is held back because its key store is not open yet (after a start, devices take a moment)."""
    kms = server.kms()

    def answered(key: Any) -> bool:
        try:
            kms.encrypt(KeyId=key["status"]["keyId"], Plaintext=b"x", DryRun=True)
        except ClientError as error:
            return error.response["Error"]["Code"] != "KeyUnavailableException"
        return True

    for key in all_keys(server).values():
        if key["spec"].get("keyStore", "standard") != "standard":
            eventually(lambda key=key: answered(key), "the key store of a key is open")  # type: ignore[misc]
            return


def usable(server: Server, keys: Mapping[str, Any]) -> dict[str, bytes]:
    """A blob of every key, after its round trip."""
    connected(server)
    kms = server.kms()
    blobs = {}
    for name, key in keys.items():
        blobs[name] = kms.encrypt(KeyId=key["status"]["keyId"], Plaintext=name.encode())["CiphertextBlob"]
    assert_decrypts(server, blobs)
    return blobs


def assert_decrypts(server: Server, blobs: Mapping[str, bytes]) -> None:
    connected(server)
    kms = server.kms()
    for name, blob in blobs.items():
        assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == name.encode(), name
