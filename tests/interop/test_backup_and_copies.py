"""A real server with copies of its key tokens: backed up, damaged, restored; and plaintext that is nowhere on disk."""

from __future__ import annotations

import base64
import io
import json
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controlplane import backups
from controlplane.errors import InvalidInput
from tests.harness import ROOT, TOKEN, Server, document, eventually, refusal
from tests.interop.openssl import OpenSsl
from tests.interop.test_boto3_import import import_from, new_key, state_of


@pytest.fixture
def openssl(tmp_path: Path) -> OpenSsl:
    directory = tmp_path / "owner"
    directory.mkdir()
    return OpenSsl(directory)


@pytest.fixture
def server(new_server: Callable[..., Server], tmp_path: Path) -> Server:
    """A server with two directories of copies."""
    return new_server(copies=[str(tmp_path / "copy-a"), str(tmp_path / "copy-b")]).start()


def keystead(server: Server, *arguments: str, code: int = 0) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "controlplane", *arguments, "--json"],
        env={"KEYSTEAD_URL": server.url, "KEYSTEAD_TOKEN": TOKEN, "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout)


def spellings(secret: bytes) -> list[bytes]:
    encoded = base64.b64encode(secret).rstrip(b"=")
    return [secret, secret.hex().encode(), encoded, encoded.replace(b"+", b"-").replace(b"/", b"_")]


def found_in(secret: bytes, *roots: Path) -> list[str]:
    """Files under the roots that hold a secret, in any spelling."""
    files = [path for root in roots for path in ([root] if root.is_file() else root.rglob("*")) if path.is_file()]
    assert files
    return [str(path) for path in files for each in spellings(secret) if each in path.read_bytes()]


def tokens_of(server: Server) -> dict[str, bytes]:
    with sqlite3.connect(f"file:{server.directory}/keystead.db?mode=ro", uri=True) as database:
        return dict(database.execute("SELECT name, token FROM tokens"))


def copies_of(server: Server) -> list[Path]:
    return [Path(directory) for directory in server.settings["copies"]]


# ---- copies ----------------------------------------------------------------------------------------------------------


def test_every_token_is_in_every_place_and_a_damaged_place_is_made_good(server: Server) -> None:
    kms = server.kms()
    keys = [kms.create_key()["KeyMetadata"]["KeyId"] for _ in range(3)]
    blobs = [kms.encrypt(KeyId=key, Plaintext=b"kept")["CiphertextBlob"] for key in keys]
    sound = keystead(server, "copies", "verify")
    assert sound["tokens"] >= 4
    assert [each["missing"] + each["damaged"] for each in sound["copies"]] == [0, 0]
    a, b = copies_of(server)
    for path in a.rglob("*.copy"):
        path.write_bytes(path.read_bytes()[:-7])
    for path in list(b.rglob("*.copy"))[:2]:
        path.unlink()
    bad = keystead(server, "copies", "verify", code=1)
    assert bad["copies"][0]["damaged"] == bad["tokens"] + bad["states"]
    assert bad["copies"][1]["missing"] == 2
    assert keystead(server, "copies", "repair")["repaired"] == bad["copies"][0]["damaged"] + 2
    keystead(server, "copies", "verify")
    assert [kms.decrypt(CiphertextBlob=blob)["Plaintext"] for blob in blobs] == [b"kept"] * 3
    reasons = [event["reason"] for event in server.ok("GET", "/v1/events")["items"]]
    assert {"CopyDamaged", "CopyRepaired"} <= set(reasons)
    metrics = server.http("GET", "/metrics").body.decode()
    assert "keystead_copies_repaired_total" in metrics
    assert "keystead_copies_bad 0.0" in metrics


@pytest.mark.parametrize("good", [0, 1])
def test_a_server_starts_with_any_one_good_copy(server: Server, good: int) -> None:
    kms = server.kms()
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    blob = kms.encrypt(KeyId=key, Plaintext=b"kept")["CiphertextBlob"]
    server.stop()
    with sqlite3.connect(server.directory / "keystead.db") as database:
        database.execute("DELETE FROM tokens")
        database.execute("UPDATE plugin_state SET value = 'garbage'")
    for path in copies_of(server)[1 - good].rglob("*.copy"):
        path.write_bytes(b"garbage")
    server.start()
    assert server.kms().decrypt(CiphertextBlob=blob)["Plaintext"] == b"kept"
    eventually(lambda: server.ok("POST", "/v1/copies/verify")["databaseDamaged"] == 0, "the database is made good")
    eventually(
        lambda: all(not each["damaged"] for each in server.ok("POST", "/v1/copies/verify")["copies"]),
        "the other directory is made good at the start",
    )


def test_without_any_good_copy_the_server_says_what_to_do(server: Server) -> None:
    server.stop()
    with sqlite3.connect(server.directory / "keystead.db") as database:
        database.execute("UPDATE plugin_state SET value = x'00'")
    for directory in copies_of(server):
        for path in directory.rglob("*.copy"):
            path.unlink()
    assert "restore it from a copy or a backup" in server.refuse_to_start()


# ---- backup and restore ----------------------------------------------------------------------------------------------


def test_a_restored_server_decrypts_everything(
    server: Server, new_server: Callable[..., Server], openssl: OpenSsl, tmp_path: Path
) -> None:
    kms = server.kms()
    mine, imported = kms.create_key()["KeyMetadata"]["KeyId"], new_key(kms)
    openssl.material("SYMMETRIC_DEFAULT")
    import_from(openssl, kms, imported)
    blobs = {key: kms.encrypt(KeyId=key, Plaintext=key.encode())["CiphertextBlob"] for key in (mine, imported)}
    server.apply("declared", [document("Key", "declared", aliases=["declared"], tags={"a": "b"})])
    file = tmp_path / "backup.tar"
    made = keystead(server, "backup", str(file))
    assert made["octets"] == file.stat().st_size
    assert file.stat().st_mode & 0o777 == 0o600
    assert not list(server.directory.glob(".backup-*"))
    later = kms.create_key()["KeyMetadata"]["KeyId"]
    server.stop()

    restored = new_server("restored")
    keystead(server, "restore", str(file), str(restored.directory))
    assert "root key" in restored.refuse_to_start()
    (restored.directory / "root.key").write_bytes((server.directory / "root.key").read_bytes())
    (restored.directory / "root.key").chmod(0o600)
    restored.start()
    kms = restored.kms()
    for key, blob in blobs.items():
        assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == key.encode()
    assert kms.describe_key(KeyId="alias/declared")["KeyMetadata"]["KeyState"] == "Enabled"
    assert refusal(kms.describe_key, KeyId=later).type == "NotFoundException"
    kms.create_key()


def test_a_backup_alone_opens_nothing(server: Server, new_server: Callable[..., Server], tmp_path: Path) -> None:
    server.kms().create_key()
    file = tmp_path / "backup.tar"
    keystead(server, "backup", str(file))
    root_key = (server.directory / "root.key").read_bytes().split()[1]
    content = file.read_bytes()
    assert root_key not in content
    assert base64.b64decode(root_key) not in content
    restored = new_server("restored")
    keystead(server, "restore", str(file), str(restored.directory))
    stranger = new_server("stranger").start()
    stranger.stop()
    (restored.directory / "root.key").write_bytes((stranger.directory / "root.key").read_bytes())
    (restored.directory / "root.key").chmod(0o600)
    assert "is not the root key of this store" in restored.refuse_to_start()


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "other", "extra"])
def test_a_damaged_backup_is_refused_and_leaves_nothing(shared_server: Server, tmp_path: Path, damage: str) -> None:
    file, target = tmp_path / "backup.tar", tmp_path / "restored"
    keystead(shared_server, "backup", str(file))
    content = bytearray(file.read_bytes())
    match damage:
        case "cut":
            content = content[: len(content) * 2 // 3]
        case "flip":
            content[len(content) // 2] ^= 1
        case "empty":
            content = bytearray()
        case "other":
            content = bytearray(b"PK\x03\x04" + b"x" * 5000)
        case "extra":
            tail = io.BytesIO()
            with tarfile.open(fileobj=tail, mode="w") as tar:
                info = tarfile.TarInfo("../outside")
                info.size = 3
                tar.addfile(info, io.BytesIO(b"out"))
            content = content.rstrip(b"\0")
            content += b"\0" * (-len(content) % 512) + tail.getvalue()
    file.write_bytes(bytes(content))
    with pytest.raises(InvalidInput):
        backups.unpack(file, target)
    assert not (tmp_path / "outside").exists()
    assert list(target.iterdir()) == []


def test_nothing_is_overwritten(shared_server: Server, tmp_path: Path) -> None:
    file, target = tmp_path / "backup.tar", tmp_path / "restored"
    keystead(shared_server, "backup", str(file))
    again = keystead(shared_server, "backup", str(file), code=1)
    assert "not overwritten" in again["error"]["message"]
    keystead(shared_server, "restore", str(file), str(target))
    again = keystead(shared_server, "restore", str(file), str(target), code=1)
    assert "empty directory" in again["error"]["message"]


def test_a_backup_needs_a_permission_of_its_own(shared_server: Server) -> None:
    assert shared_server.rest("GET", "/v1/backup", token="nobody").status == 401


# ---- what can be found on disk ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "usage"),
    [("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"), ("HMAC_512", "GENERATE_VERIFY_MAC"), ("RSA_2048", "SIGN_VERIFY")],
)
def test_material_in_plaintext_is_in_no_file(
    server: Server, openssl: OpenSsl, tmp_path: Path, spec: str, usage: str
) -> None:
    kms = server.kms()
    key = new_key(kms, spec, usage)
    material = openssl.material(spec)
    import_from(openssl, kms, key)
    if usage == "ENCRYPT_DECRYPT":
        kms.decrypt(CiphertextBlob=kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"])
    wrong = openssl.material("HMAC_384", "wrong.bin")
    with pytest.raises(kms.exceptions.ClientError):
        import_from(openssl, kms, key, "wrong.bin")
    file = tmp_path / "backup.tar"
    keystead(server, "backup", str(file))
    places = [server.directory, *copies_of(server), server.log_path, server.output_path, file]
    secret = material if len(material) < 100 else material[-200:-100]
    for each in (secret, wrong):
        assert found_in(each, *places) == []
    server.stop()
    for each in (secret, wrong):
        assert found_in(each, *places) == []


def test_deleted_material_leaves_no_token_in_any_file(server: Server, openssl: OpenSsl) -> None:
    kms = server.kms()
    key = new_key(kms)
    openssl.material("SYMMETRIC_DEFAULT")
    before = tokens_of(server)
    import_from(openssl, kms, key)
    ((name, token),) = tokens_of(server).items() - before.items()
    places = [server.directory, *copies_of(server)]
    assert len(found_in(token, *places)) >= 3
    kms.delete_imported_key_material(KeyId=key)
    assert found_in(token, *places) == [], name
    assert state_of(kms, key) == "PendingImport"


def test_expired_material_leaves_no_token_in_any_file(server: Server, openssl: OpenSsl) -> None:
    kms = server.kms()
    key = new_key(kms)
    openssl.material("SYMMETRIC_DEFAULT")
    before = tokens_of(server)
    import_from(openssl, kms, key, ValidTo=datetime.now(UTC) + timedelta(seconds=2))
    ((_, token),) = tokens_of(server).items() - before.items()
    eventually(lambda: state_of(kms, key) == "PendingImport", "the material expires", seconds=60)
    # The log is cut back as soon as no reader needs it, which may be a moment later.
    eventually(lambda: found_in(token, server.directory, *copies_of(server)) == [], "the token is in no file")
