"""``init``, ``serve`` and ``dev`` as processes: what they print works, what is wrong is told, what was there stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.harness import ROOT, eventually, refusal

KEYSTEAD = [sys.executable, "-m", "controlplane"]
PASSPHRASE = "correct horse battery staple"


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "KEYSTEAD_"))}
    return {**kept, "PYTHONPATH": str(ROOT), **more}


def keystead(*arguments: object, code: int = 0, **more: str) -> str:
    """What a command that ends prints to standard output, or with another code to standard error."""
    command = [*KEYSTEAD, *map(str, arguments)]
    done = subprocess.run(command, env=environment(**more), capture_output=True, text=True, timeout=120)
    assert done.returncode == code, f"{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stderr if code else done.stdout


Start = Callable[..., tuple[subprocess.Popen[str], Path]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a server command; the process and the file that holds what it printed."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: object, **more: str) -> tuple[subprocess.Popen[str], Path]:
        printed = tmp_path / f"printed-{len(started)}"
        with printed.open("w") as out:
            command = [*KEYSTEAD, *map(str, arguments)]
            process = subprocess.Popen(command, stdout=out, env=environment(**more), cwd=tmp_path, text=True)
        started.append(process)
        return process, printed

    try:
        yield run
    finally:
        for process in started:
            process.kill()
            process.wait(30)


def ready(printed: Path) -> Any:
    """The JSON line of a server that is ready."""
    return json.loads(eventually(lambda: printed.read_text() if "\n" in printed.read_text() else "", "it is ready"))


def stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    assert process.wait(30) == 0


def kms(url: str, made: Mapping[str, Any]) -> Any:
    return boto3.client(
        "kms",
        endpoint_url=url,
        region_name=made["regions"][0],
        aws_access_key_id=made["accessKeyId"],
        aws_secret_access_key=made["secretAccessKey"],
    )


@pytest.mark.parametrize("root_key", ["file", "passphrase"])
def test_a_server_made_by_init_serves_with_what_init_showed_and_again_after_a_restart(
    start: Start, tmp_path: Path, root_key: str
) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text(PASSPHRASE)
    secret.chmod(0o600)
    directory = tmp_path / "server"
    options: list[object] = ["--root-key", root_key]
    options += ["--passphrase-file", secret] if root_key == "passphrase" else []
    options += ["--region", "eu-central-1", "--account", "1" * 12, "--listen", "127.0.0.1:0", "--json"]
    made = json.loads(keystead("init", directory, *options))
    for path in (directory, directory / "data"):
        assert path.stat().st_mode & 0o077 == 0, "nobody else reads it"
    everything = b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())
    for shown in (made["token"], made["secretAccessKey"], PASSPHRASE):
        assert shown.encode() not in everything, "credentials are shown once and stored nowhere"

    serve = ("serve", "--config", directory / "keystead.toml", "--json")
    process, printed = start(*serve)
    told = ready(printed)
    assert told["account"] == "1" * 12
    reach = {"KEYSTEAD_URL": told["url"], "KEYSTEAD_TOKEN": made["token"]}
    spec = tmp_path / "set"
    spec.mkdir()
    (spec / "k.yaml").write_text(
        "apiVersion: keystead/v1\nkind: Key\nmetadata: {name: k}\nspec: {aliases: [k]}\n", "utf-8"
    )
    applied = json.loads(keystead("apply", spec, "--yes", "--json", **reach))
    assert applied["progress"] == {"specSet": "set", "total": 1, "pending": 0, "problems": []}
    blob = kms(told["url"], made).encrypt(KeyId="alias/k", Plaintext=b"x")["CiphertextBlob"]
    wrong = kms(told["url"], {**made, "secretAccessKey": "wrong"})
    assert refusal(wrong.decrypt, CiphertextBlob=blob).type == "InvalidSignatureException"
    stop(process)

    process, printed = start(*serve)
    told = ready(printed)
    assert kms(told["url"], made).decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    stop(process)


def test_the_root_key_of_another_server_opens_nothing_and_no_port(tmp_path: Path) -> None:
    for name in ("one", "two"):
        keystead("init", tmp_path / name, "--listen", "127.0.0.1:0")
    key = tmp_path / "one" / "root.key"
    own = key.read_bytes()
    serve = ("serve", "--config", tmp_path / "one" / "keystead.toml")
    key.write_bytes((tmp_path / "two" / "root.key").read_bytes())
    assert "is not the root key of this store" in keystead(*serve, code=1)
    key.write_bytes(b"no key at all\n")
    assert "does not hold a root key" in keystead(*serve, code=1)
    key.write_bytes(own)
    key.chmod(0o640)
    assert f"chmod 600 {key}" in keystead(*serve, code=1)
    key.unlink()
    assert "is missing" in keystead(*serve, code=1)
    assert not key.exists(), "no new one is made"


def test_a_wrong_passphrase_opens_nothing(tmp_path: Path) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text(PASSPHRASE)
    secret.chmod(0o600)
    directory = tmp_path / "server"
    keystead("init", directory, "--root-key", "passphrase", "--passphrase-file", secret)
    secret.write_text(PASSPHRASE + "s")
    said = keystead("serve", "--config", directory / "keystead.toml", code=1)
    assert "is not the root key of this store" in said
    assert "horse" not in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--account", "12"], "--account takes twelve digits"),
        (["--region", "mars"], "--region takes the name of an AWS Region"),
        (["--listen", "8470"], "--listen takes HOST:PORT"),
        (["--root-key", "passphrase"], "needs --passphrase-file"),
        (["--root-key", "passphrase", "--passphrase-file", "/nowhere"], "/nowhere"),
    ],
)
def test_a_mistake_in_init_makes_no_server(tmp_path: Path, options: list[str], words: str) -> None:
    directory = tmp_path / "server"
    assert words in keystead("init", directory, *options, code=1)
    keystead("init", directory, "--listen", "127.0.0.1:0")
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    assert "exists already; nothing was changed" in keystead("init", directory, code=1)
    assert {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()} == before


def test_a_server_beyond_this_machine_needs_tls(tmp_path: Path) -> None:
    directory = tmp_path / "server"
    keystead("init", directory, "--listen", "0.0.0.0:0")
    assert "without TLS" in keystead("serve", "--config", directory / "keystead.toml", code=1)


def test_dev_prints_lines_that_a_shell_takes_and_its_clients_work_with(start: Start, tmp_path: Path) -> None:
    process, printed = start("dev", "--port", "0", "--data-dir", tmp_path / "data")
    eventually(lambda: "AWS_SECRET_ACCESS_KEY" in printed.read_text(), "it is ready")
    script = f'set -e; eval "$(grep ^export {printed})"; {sys.executable} -m controlplane get keystores; env'
    done = subprocess.run(
        ["sh", "-c", script], env=environment(), capture_output=True, text=True, check=True, timeout=60
    )
    assert "standard" in done.stdout
    environ = dict(line.partition("=")[::2] for line in done.stdout.splitlines() if "=" in line)
    made = {"regions": [environ["AWS_REGION"]], "accessKeyId": environ["AWS_ACCESS_KEY_ID"],
            "secretAccessKey": environ["AWS_SECRET_ACCESS_KEY"]}  # fmt: skip
    assert kms(environ["AWS_ENDPOINT_URL_KMS"], made).list_keys()["Keys"] == []
    stop(process)


def test_dev_takes_its_credentials_from_the_environment_and_does_not_print_the_secret(
    start: Start, tmp_path: Path
) -> None:
    secrets = {"KEYSTEAD_DEV_ACCESS_KEY_ID": "AKIAOTHER", "KEYSTEAD_DEV_SECRET_ACCESS_KEY": "not-to-be-printed"}
    for options in ((), ("--json",)):
        process, printed = start("dev", "--port", "0", "--data-dir", tmp_path / "data", *options, **secrets)
        eventually(lambda: "AKIAOTHER" in printed.read_text(), "it is ready")  # noqa: B023
        assert "not-to-be-printed" not in printed.read_text()
        stop(process)


def test_two_servers_do_not_share_a_port(start: Start, tmp_path: Path) -> None:
    process, printed = start("dev", "--port", "0", "--data-dir", tmp_path / "one", "--json")
    port = ready(printed)["url"].rsplit(":", 1)[1]
    assert "cannot listen on" in keystead("dev", "--port", port, "--data-dir", tmp_path / "two", code=1)
    stop(process)
