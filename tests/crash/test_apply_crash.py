"""``kill -9`` in the middle of an apply, at its steps and between them; and of what falls due.

Promises: acknowledged is durable; nothing leaks and nothing is made twice; whatever was encrypted decrypts.
``KEYSTEAD_LONG=1`` kills at hundreds of points.
"""

from __future__ import annotations

import contextlib
import http.client
import random
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.crash.looking import (
    DEVICE_KEYS,
    STANDARD_KEYS,
    Make,
    all_keys,
    assert_decrypts,
    assert_no_orphan,
    converge,
    count,
    database,
    documents,
    usable,
)
from tests.harness import LONG, Server, document, eventually, sliced

KILL_POINTS = 300 if LONG else 5


@pytest.mark.points
@pytest.mark.parametrize("point", sliced(range(KILL_POINTS)))
def test_an_apply_that_was_killed_is_finished_after_the_restart(new_server: Make, tmp_path: Path, point: int) -> None:
    device = tmp_path / "device.json"
    declared = documents(device)
    server = new_server().start()
    first = [declared[0], declared[1], declared[-1]]
    server.apply("crash", first)
    before = all_keys(server)
    blobs = usable(server, before)

    # Where it dies: when so many calls to key stores have begun, and a moment later.
    chance = random.Random(point)
    total = STANDARD_KEYS + DEVICE_KEYS
    calls = round(point * total / (KILL_POINTS - 1))
    moment = chance.uniform(0, 0.006)
    plan = server.plan("crash", declared)
    acknowledged: list[Any] = []

    def apply() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            answer = server.rest("POST", f"/v1/plans/{plan['id']}/apply", {})
            if answer.status == 200:
                acknowledged.append(answer.json())

    thread = threading.Thread(target=apply)
    thread.start()
    with database(server) as watched:
        begun = "SELECT count(*) FROM attempts"
        eventually(lambda: watched.execute(begun).fetchone()[0] >= calls, f"{calls} attempts have begun", pause=0)
    time.sleep(moment)  # no wait for anything: it is the point at which the server dies
    server.kill()
    thread.join()

    server.start()
    found = all_keys(server)
    for applied in acknowledged:
        for each in applied["objects"]:
            if each["kind"] == "Key":
                assert found[each["name"]]["metadata"]["uid"] == each["uid"], "acknowledged and not there"
    assert before.keys() <= found.keys()
    assert len(found) in (len(before), total), "an apply is all or nothing"

    converge(server, "crash", declared)
    keys = all_keys(server)
    assert keys.keys() == {each["metadata"]["name"] for each in declared if each["kind"] == "Key"}
    assert_decrypts(server, blobs)
    usable(server, keys)
    assert_no_orphan(server, device)


@pytest.mark.parametrize("effect", ["crash-before", "crash-after"])
def test_a_crash_at_the_call_to_the_device_leaks_nothing(new_server: Make, tmp_path: Path, effect: str) -> None:
    """The process dies inside every fifth create, just before or just after the device made the material."""
    device = tmp_path / "device.json"
    declared = documents(device, faults=[{"call": "create", "effect": effect, "at": 4}])
    server = new_server().start()
    plan = server.plan("crash", declared)
    crashes = 0
    with contextlib.suppress(OSError, http.client.HTTPException):
        server.ok("POST", f"/v1/plans/{plan['id']}/apply", {})

    def settled() -> str | None:
        if server.process is not None and server.process.poll() is not None:
            return "crashed"
        with contextlib.suppress(OSError, http.client.HTTPException):
            if server.ok("GET", "/v1/spec-sets/crash/progress")["pending"] == 0:
                return "done"
        return None

    while eventually(settled, "the server crashes or is done") == "crashed":
        assert server.process is not None
        assert server.process.returncode == 137
        server.end()
        crashes += 1
        assert crashes < 8, "it gets nowhere"
        server.start()
    assert crashes >= 1
    converge(server, "crash", declared)
    usable(server, all_keys(server))
    assert_no_orphan(server, device)


@pytest.mark.parametrize("effect", ["lost-answer", "lost-request", "hang", "error"])
def test_a_device_that_answers_badly_once_ends_with_one_material(new_server: Make, tmp_path: Path, effect: str) -> None:
    if effect == "hang" and not LONG:
        pytest.skip("a hang is waited for, for 30 seconds: KEYSTEAD_LONG=1")
    device = tmp_path / "device.json"
    server = new_server().start()
    store = document(
        "KeyStore",
        "device",
        type="memory",
        memory={"device": str(device), "faults": [{"call": "create", "effect": effect, "at": 0}]},
    )
    server.apply("set", [store, *(document("Key", f"k-{index}", keyStore="device") for index in range(3))])
    usable(server, all_keys(server))
    assert "hunter2" not in server.log()
    assert_no_orphan(server, device)


def fall_due(server: Server) -> int:
    """Move every waiting period into the past, while the server is down. How many there are."""
    with database(server, write=True) as connection:
        rows = connection.execute("SELECT uid, metadata FROM objects").fetchall()
        moved = 0
        for uid, blob in rows:
            metadata = msgspec.json.decode(blob)
            if "deletion" in metadata:
                past = datetime.now(UTC) - timedelta(days=8)
                metadata["deletion"]["requestedAt"] = past.isoformat()
                metadata["deletion"]["dueAt"] = (past + timedelta(days=7)).isoformat()
                connection.execute(
                    "UPDATE objects SET metadata = ? WHERE uid = ?", (msgspec.json.encode(metadata), uid)
                )
                moved += 1
        return moved


@pytest.mark.parametrize("destroyed", [None, 5] if not LONG else [None, *range(14)])
def test_deletions_that_fell_due_while_down_are_carried_out_also_through_a_crash(
    new_server: Make, tmp_path: Path, destroyed: int | None
) -> None:
    device = tmp_path / "device.json"
    server = new_server().start()
    keys = [f"k-{index:02}" for index in range(16)]
    declared = [
        document("KeyStore", "device", type="memory", memory={"device": str(device)}),
        *(document("Key", key, keyStore=("standard", "device")[index % 2]) for index, key in enumerate(keys)),
    ]
    server.apply("set", declared)
    kept = usable(server, {name: key for name, key in all_keys(server).items() if name in keys[:2]})
    server.apply("set", declared[:3])
    server.stop()
    assert fall_due(server) == 14
    server.start()
    if destroyed is not None:
        ends = "SELECT count(*) FROM attempts WHERE verb = 'destroy'"
        eventually(lambda: count(server, ends) > destroyed, f"{destroyed} keys are being destroyed")
        server.kill()
        server.start()
    eventually(lambda: all_keys(server).keys() == set(keys[:2]), "the keys are gone")
    assert_decrypts(server, kept)
    assert_no_orphan(server, device)


def test_nothing_is_destroyed_before_its_time(new_server: Make, tmp_path: Path) -> None:
    device = tmp_path / "device.json"
    server = new_server().start()
    declared = documents(device)
    server.apply("set", [declared[0], declared[-1], declared[1]])
    blobs = usable(server, all_keys(server))
    server.apply("set", [declared[0]])
    assert all("deletion" in key["metadata"] for key in all_keys(server).values())
    server.restart()
    for name in blobs:
        server.ok("POST", f"/v1/keys/{name}/actions/cancel-deletion")
        server.ok("POST", f"/v1/keys/{name}/actions/enable")
    assert_decrypts(server, blobs)
    assert_no_orphan(server, device)
