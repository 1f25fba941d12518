"""``kill -9`` in the middle of an apply, at its steps and between them; stops, starts, and refusals to start.

Promises: acknowledged is durable; nothing leaks and nothing is made twice; whatever was encrypted decrypts; a server
that cannot be trusted does not start. ``KEYSTEAD_LONG=1`` kills at hundreds of points.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import os
import random
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError

from controlplane.audit.verifying import verify
from controlplane.errors import StoreDamaged
from controlplane.store.database import Database
from tests.harness import ACCOUNT, LONG, Server, document, eventually, refusal, sliced

Make = Callable[..., Server]

STANDARD_KEYS, DEVICE_KEYS = 20, 10
KILL_POINTS = 300 if LONG else 5


# ---- looking at what a server left behind ----------------------------------------------------------------------------


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


# ---- kill -9 ---------------------------------------------------------------------------------------------------------


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


# ---- stop and start --------------------------------------------------------------------------------------------------


def test_what_was_encrypted_decrypts_after_stop_and_after_kill(new_server: Make) -> None:
    server = new_server().start()
    kms = server.kms()
    context = {"EncryptionContext": {"a": "b"}}
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"x", **context)["CiphertextBlob"]
    rsa = {
        "KeyId": kms.create_key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["KeyId"],
        "EncryptionAlgorithm": "RSAES_OAEP_SHA_1",
    }
    oaep = kms.encrypt(Plaintext=b"y", **rsa)["CiphertextBlob"]
    for end in (server.stop, server.kill):
        end()
        kms = server.start().kms()
        assert kms.decrypt(CiphertextBlob=blob, **context)["Plaintext"] == b"x"
        assert kms.decrypt(CiphertextBlob=oaep, **rsa)["Plaintext"] == b"y"


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_what_was_answered_under_load_is_there_afterwards(new_server: Make, how: str) -> None:
    """Every answer is whole, and what it said holds after the restart, whether the server was stopped or killed."""
    server = new_server().start()
    first = server.kms().create_key()["KeyMetadata"]["KeyId"]
    made: list[str] = []
    blobs: list[bytes] = []
    wrong: list[Any] = []
    going = threading.Event()
    going.set()

    def load(create: bool) -> None:
        while going.is_set():
            try:
                if create:
                    answer = server.call("CreateKey", {})
                else:
                    answer = server.call("Encrypt", {"KeyId": first, "Plaintext": "eA=="})
                body = answer.json()
            except (OSError, http.client.RemoteDisconnected, http.client.BadStatusLine):
                continue  # it was not accepted any more
            except Exception as error:  # half an answer
                wrong.append(error)
                continue
            if answer.status != 200:
                wrong.append(answer)
            elif create:
                made.append(body["KeyMetadata"]["KeyId"])
            else:
                blobs.append(base64.b64decode(body["CiphertextBlob"]))

    threads = [threading.Thread(target=load, args=(number < 4,)) for number in range(8)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: len(made) >= 10 and len(blobs) >= 50, "the load runs")
        getattr(server, how)()
    finally:
        going.clear()
        for thread in threads:
            thread.join()
    if how == "stop":
        assert wrong == []
    kms = server.start().kms()
    for key_id in made:
        assert kms.describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"] == "Enabled"
        assert kms.encrypt(KeyId=key_id, Plaintext=b"x")
    for blob in blobs:
        assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    server.stop()
    assert verify(server.directory / "audit").ok


def test_a_create_key_that_a_stop_cuts_off_is_audited_and_answered_as_aws_would(
    new_server: Make, tmp_path: Path
) -> None:
    server = new_server().start()
    hang = {"device": str(tmp_path / "device.json"), "faults": [{"call": "create", "effect": "hang"}]}
    store = server.ok("PUT", "/v1/keystores/d", document("KeyStore", "d", type="memory", memory=hang))
    eventually(
        lambda: server.ok("GET", "/v1/keystores/d")["status"].get("connection") == "CONNECTED", "it is connected"
    )
    custom = "cks-" + store["metadata"]["uid"].replace("-", "")[:17]
    answers: list[Any] = []

    def create() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            answers.append(server.call("CreateKey", {"Origin": "AWS_CLOUDHSM", "CustomKeyStoreId": custom}))

    thread = threading.Thread(target=create)
    thread.start()
    try:
        eventually(lambda: count(server, "SELECT count(*) FROM objects WHERE kind = 'Key'") == 1, "it is declared")
        server.stop()
    finally:
        thread.join()
    journal = "".join(path.read_text() for path in (server.directory / "audit").rglob("segment-*.jsonl"))
    assert '"operation":"CreateKey"' in journal, "a key was declared and no record says by whom"
    (answer,) = answers
    assert (answer.status, answer.json()["__type"]) == (503, "DependencyTimeoutException")
    assert answer.headers["content-type"] == "application/x-amz-json-1.1"


def test_files_and_directories_are_their_owners_alone(new_server: Make) -> None:
    old = os.umask(0)  # the worst there is: what the server makes must not depend on it
    try:
        server = new_server().start()
    finally:
        os.umask(old)
    kms = server.kms()
    kms.encrypt(KeyId=kms.create_key()["KeyMetadata"]["KeyId"], Plaintext=b"x")

    def open_ones() -> list[str]:
        paths = [server.directory, *server.directory.rglob("*")]
        return [f"{path.name} {path.stat().st_mode & 0o777:o}" for path in paths if path.stat().st_mode & 0o077]

    assert open_ones() == []
    server.stop()
    assert open_ones() == []


# ---- refusing to start -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def left_behind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of a server with one key that was stopped well. Copy it."""
    server = Server(tmp_path_factory.mktemp("stopped") / "data")
    try:
        server.start().kms().create_key()
        server.stop()
    finally:
        server.end()
    return server.directory


@pytest.fixture
def stopped(new_server: Make, left_behind: Path) -> Server:
    """A server with one key, stopped."""
    server = new_server()
    shutil.copytree(left_behind, server.directory)
    return server


def root_key(server: Server) -> Path:
    return server.directory / "root.key"


def replace_root_key(server: Server) -> None:
    label = root_key(server).read_bytes().split()[0]
    root_key(server).write_bytes(label + b" " + base64.b64encode(os.urandom(32)) + b"\n")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (replace_root_key, "is not the root key of this store"),
        (lambda server: root_key(server).unlink(), "is missing"),
        (lambda server: root_key(server).chmod(0o644), "root.key"),
        (lambda server: root_key(server).write_bytes(b""), "does not hold a root key"),
        (lambda server: server.settings.update(account="111111111111"), f"belongs to account {ACCOUNT}"),
    ],
    ids=["another root key", "no root key", "root key for everybody", "empty root key", "another account"],
)
def test_a_server_that_cannot_be_trusted_does_not_start_and_changes_nothing(
    stopped: Server, harm: Callable[[Server], Any], words: str
) -> None:
    harm(stopped)
    before = {path.name: path.read_bytes() for path in stopped.directory.glob("root.key*")}
    said = stopped.refuse_to_start()
    assert "StartupRefused" in said
    assert words in said
    assert "Traceback" not in said
    assert {path.name: path.read_bytes() for path in stopped.directory.glob("root.key*")} == before
    with database(stopped) as connection:
        assert connection.execute("SELECT count(*) FROM objects WHERE kind = 'Key'").fetchone() == (1,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_server_starts_again_once_its_root_key_is_back(stopped: Server) -> None:
    whole = root_key(stopped).read_bytes()
    replace_root_key(stopped)
    stopped.refuse_to_start()
    root_key(stopped).write_bytes(whole)
    stopped.start()
    (key,) = all_keys(stopped).values()
    assert stopped.kms().encrypt(KeyId=key["status"]["keyId"], Plaintext=b"x")


def test_a_directory_without_a_database_is_refused(new_server: Make, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    said = new_server(provision=False).refuse_to_start()
    assert "there is no Keystead in" in said
    assert list((tmp_path / "data").iterdir()) == []


def test_a_damaged_database_is_refused(stopped: Server) -> None:
    path = stopped.directory / "keystead.db"
    content = path.read_bytes()
    page = 4096
    path.write_bytes(content[: 4 * page] + os.urandom(page) + content[5 * page :])
    said = stopped.refuse_to_start()
    assert "StoreDamaged" in said
    assert "restore it from a backup" in said
    assert "Traceback" not in said


def test_a_database_with_any_page_overwritten_is_noticed(stopped: Server, tmp_path: Path) -> None:
    content = (stopped.directory / "keystead.db").read_bytes()
    page = 4096
    copy = tmp_path / "copy.db"
    for at in range(0, len(content), page):
        copy.write_bytes(content[:at] + b"\xa5" * page + content[at + page :])
        with pytest.raises(StoreDamaged):
            Database(copy).open()
    for length in (page - 1, len(content) // 2):
        copy.write_bytes(content[:length])
        with pytest.raises(StoreDamaged):
            Database(copy).open()


@pytest.fixture(params=["checksum", "token"])
def half_damaged(request: pytest.FixtureRequest, new_server: Make) -> tuple[Server, dict[str, bytes], dict[str, Any]]:
    """A server on which the token of key ``bad`` is damaged, with or without a checksum that tells."""
    server = new_server().start()
    server.apply("set", [document("Key", name) for name in ("good", "bad")])
    keys = all_keys(server)
    blobs = usable(server, keys)
    server.stop()
    (material,) = keys["bad"]["status"]["materials"]
    with database(server, write=True) as connection:
        where = " FROM tokens WHERE name = ?"
        token = bytearray(connection.execute("SELECT token" + where, (material["name"],)).fetchone()[0])
        token[-5] ^= 1
        connection.execute("UPDATE tokens SET token = ? WHERE name = ?", (bytes(token), material["name"]))
        if request.param == "token":
            new = hashlib.sha256(token).digest()
            connection.execute("UPDATE tokens SET checksum = ? WHERE name = ?", (new, material["name"]))
    return server.start(), blobs, keys


def test_a_damaged_key_token_costs_its_own_key_only_and_is_told(
    half_damaged: tuple[Server, dict[str, bytes], dict[str, Any]],
) -> None:
    server, blobs, keys = half_damaged
    kms = server.kms()
    assert kms.decrypt(CiphertextBlob=blobs["good"])["Plaintext"] == b"good"
    refused = refusal(kms.encrypt, KeyId=keys["bad"]["status"]["keyId"], Plaintext=b"x")
    assert (refused.type, refused.status) == ("KMSInternalException", 500)
    assert "damaged" in refused.message

    def told() -> bool:
        conditions = server.ok("GET", "/v1/keys/bad")["status"]["conditions"]
        return any(each["type"] == "Synced" and each["status"] != "True" for each in conditions)

    eventually(told, "the condition of the key says so")
    assert count(server, "SELECT count(*) FROM tokens WHERE uid != 'system'") == 2, "nothing was made in its place"


def test_a_damaged_key_token_is_not_blamed_on_the_ciphertext(
    half_damaged: tuple[Server, dict[str, bytes], dict[str, Any]],
) -> None:
    server, blobs, _ = half_damaged
    refused = refusal(server.kms().decrypt, CiphertextBlob=blobs["bad"])
    assert (refused.type, refused.status) == ("KMSInternalException", 500)


# ---- two servers on one directory ------------------------------------------------------------------------------------


@pytest.fixture
def two(new_server: Make, tmp_path: Path) -> tuple[Server, Server]:
    """A leader and a second process on the same data."""
    leader = new_server().start()
    eventually(lambda: "reconciler leads" in leader.log(), "the first one leads")
    second = new_server().start()
    assert "reconciler leads" not in second.log()
    return leader, second


def test_two_servers_on_one_directory_read_each_others_writes(two: tuple[Server, Server]) -> None:
    leader, second = two
    for one, other in ((leader, second), (second, leader)):
        here, there = one.kms(), other.kms()
        for _ in range(5):
            metadata = here.create_key()["KeyMetadata"]
            assert there.describe_key(KeyId=metadata["KeyId"])["KeyMetadata"] == metadata
            blob = there.encrypt(KeyId=metadata["KeyId"], Plaintext=b"x")["CiphertextBlob"]
            here.disable_key(KeyId=metadata["KeyId"])
            assert refusal(there.decrypt, CiphertextBlob=blob).type == "DisabledException"
            there.enable_key(KeyId=metadata["KeyId"])
            assert here.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def test_a_new_leader_takes_over_when_the_leader_dies(two: tuple[Server, Server], tmp_path: Path) -> None:
    leader, second = two
    before = second.kms().create_key()["KeyMetadata"]["KeyId"]
    leader.kill()
    kms = second.kms()
    made = kms.create_key()["KeyMetadata"]
    assert made["KeyState"] == "Enabled"
    assert "reconciler leads" in second.log()
    assert kms.encrypt(KeyId=before, Plaintext=b"x")
    leader.start()
    assert leader.kms().describe_key(KeyId=made["KeyId"])["KeyMetadata"] == made
    leader.stop()
    assert_no_orphan(second, tmp_path / "none")


def test_two_servers_keep_journals_that_both_verify(two: tuple[Server, Server]) -> None:
    for server in two:
        server.kms().create_key()
    for server in two:
        server.stop()
    result = verify(two[0].directory / "audit")
    assert result.ok
    assert len(result.heads) == 2


def test_a_key_on_a_device_works_through_the_server_that_does_not_lead(
    two: tuple[Server, Server], tmp_path: Path
) -> None:
    leader, second = two
    device = tmp_path / "device.json"
    leader.apply(
        "set",
        [
            document("KeyStore", "device", type="memory", memory={"device": str(device)}),
            document("Key", "k", keyStore="device"),
        ],
    )
    keys = all_keys(leader)
    usable(leader, keys)
    second.kms().encrypt(KeyId=keys["k"]["status"]["keyId"], Plaintext=b"x")
