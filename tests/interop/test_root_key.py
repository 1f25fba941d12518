"""A server whose root key is in an HSM: made by ``keystead init``, moved by ``keystead migrate-root-key``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.harness import ROOT
from tests.hsm import PIN, SoftToken, pin_file

PROGRAM = [sys.executable, "-m", "controlplane"]


class Installation:
    """A server made by the command line, in a directory with its settings."""

    def __init__(self, directory: Path, token: SoftToken) -> None:
        self.directory = directory
        self.token = token
        self.config = directory / "keystead.toml"
        self.issued: dict[str, Any] = {}
        self.environment = {**os.environ, **token.environment, "PYTHONPATH": str(ROOT)}

    def command(self, *words: str, code: int = 0) -> Any:
        """Run one command; its JSON answer, or the text of its error."""
        done = subprocess.run(
            [*PROGRAM, *words, "--json"], env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert PIN not in done.stdout + done.stderr
        return json.loads(done.stdout) if code == 0 else done.stdout + done.stderr

    def init(self, *words: str) -> None:
        self.issued = self.command("init", str(self.directory), "--listen", "127.0.0.1:0", *words)

    @contextmanager
    def serving(self) -> Iterator[Any]:
        """Serve, and a boto3 client of it."""
        program = [*PROGRAM, "serve", "--config", str(self.config), "--json"]
        with subprocess.Popen(program, env=self.environment, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                line = process.stdout.readline()
                assert line, "it did not start"
                client = boto3.session.Session().client(
                    "kms",
                    region_name="us-east-1",
                    endpoint_url=json.loads(line)["url"],
                    aws_access_key_id=self.issued["accessKeyId"],
                    aws_secret_access_key=self.issued["secretAccessKey"],
                )
                try:
                    yield client
                finally:
                    client.close()
            finally:
                process.terminate()
                process.wait(60)

    def move_to(self, root_key: str) -> list[str]:
        """Write a new root key into the settings and move to it."""
        text = self.config.read_text()
        before, _, present = text.partition("[standard.rootKey]\n")
        self.config.write_text(f"{before}[standard.rootKey]\n{root_key}\n\n[standard.previousRootKey]\n{present}")
        done: list[str] = self.command("migrate-root-key", "--config", str(self.config))["done"]
        self.config.write_text(f"{before}[standard.rootKey]\n{root_key}\n")
        return done


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path / "server", SoftToken(tmp_path / "hsm"))


def test_a_server_is_made_on_an_hsm_root_key_moved_to_a_file_and_back_with_all_its_keys(
    installation: Installation, tmp_path: Path
) -> None:
    pin = pin_file(tmp_path)["fromFile"]
    named = ("--module", installation.token.module, "--token", installation.token.label)
    installation.init("--root-key", "pkcs11", *named, "--pin-file", pin)
    assert not (installation.directory / "root.key").exists()
    assert "keystead-root:keystead" in installation.token.objects()
    with installation.serving() as kms:
        key = kms.create_key()["KeyMetadata"]["KeyId"]
        blob = kms.encrypt(KeyId=key, Plaintext=b"kept")["CiphertextBlob"]
        running = installation.command("migrate-root-key", "--config", str(installation.config), code=1)
        assert "a server is running on this data: stop it first" in running
    in_hsm = installation.config.read_text().partition("[standard.rootKey]\n")[2].strip()

    done = installation.move_to('provider = "file"\npath = "root.key"')
    assert any("Moved 1 domain keys" in sentence for sentence in done)
    installation.token.remove()
    with installation.serving() as kms:
        assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"kept"
    installation.token.bring_back()

    installation.move_to(in_hsm)
    (installation.directory / "root.key").unlink()
    with installation.serving() as kms:
        assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"kept"


def test_a_server_whose_settings_name_another_root_key_says_how_to_move(installation: Installation) -> None:
    installation.init()
    text = installation.config.read_text()
    changed = text.replace(
        'provider = "file"\npath = "root.key"', 'provider = "passphrase"\npassphrase = {fromEnv = "P"}'
    )
    installation.config.write_text(changed)
    said = installation.command("serve", "--config", str(installation.config), code=1)
    assert "set it back, or move it with 'keystead migrate-root-key'" in said


def test_init_says_what_a_root_key_in_an_hsm_needs(installation: Installation) -> None:
    said = installation.command("init", str(installation.directory), "--root-key", "pkcs11", code=1)
    assert "--root-key pkcs11 needs --module, --token and --pin-file" in said
    assert not installation.config.exists()
