"""Stops, starts, and refusals to start.

Promises: what was answered before a stop or a kill holds after the next start; a server that cannot be trusted does not
start, and changes nothing; damage costs what is damaged and is told.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controlplane.audit.verifying import verify
from controlplane.errors import StoreDamaged
from controlplane.store.database import Database
from tests.crash.looking import (
    Make,
    all_keys,
    count,
    database,
    usable,
)
from tests.harness import ACCOUNT, Server, document, eventually, refusal

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
    server = new_server(grace_seconds=1).start()
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
