"""``keystead export``: spec files that plan empty. ``keystead apply --watch``: a directory kept applied."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.cli import main as cli
from tests.harness import ROOT, TOKEN, Server, document, eventually

POLICY = """{"Version": "2012-10-17",
 "Statement": [{"Effect": "Allow", "Principal": "*",  "Action": "kms:*", "Resource": "*"}]}
"""


@pytest.fixture
def server(private_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("KEYSTEAD_URL", private_server.url)
    monkeypatch.setenv("KEYSTEAD_TOKEN", TOKEN)
    return private_server


@pytest.fixture
def run(server: Server, capsysbinary: pytest.CaptureFixture[bytes]) -> Any:
    def run(*arguments: object, code: int = 0) -> Any:
        found = cli.main([*map(str, arguments), "--json"])
        captured = capsysbinary.readouterr()
        assert found == code, (captured.out, captured.err)
        return json.loads(captured.out)

    return run


def test_what_is_exported_plans_empty_and_what_nobody_owns_can_be_owned(
    run: Any, server: Server, tmp_path: Path
) -> None:
    allow = {"Effect": "Allow", "Action": "kms:*", "Resource": "*"}
    own = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    device = {"device": str(tmp_path / "device.json")}
    server.apply(
        "payments",
        [
            document("KeyStore", "device", type="memory", memory=device),
            document("Key", "cards", aliases=["cards"], policy={"document": POLICY}, tags={"team": "ä: ${env:X}"}),
            document("Key", "tokens", keyStore="device", description="${env:NOTHING}", enabled=True),
            document("Principal", "billing", policies={"own": {"document": own}}),
        ],
    )
    server.apply("shared", [document("Key", "other", enabled=False, rotation={"enabled": True, "periodDays": 90})])
    made = server.kms().create_key(Description="by hand")["KeyMetadata"]["KeyId"]
    server.kms().tag_resource(
        KeyId=server.ok("GET", "/v1/keys/cards")["status"]["keyId"], Tags=[{"TagKey": "a", "TagValue": "b"}]
    )

    told = run("export", tmp_path / "out")
    assert told["documents"]["payments"] == 4
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"payments", "shared", "unowned"}
    assert (tmp_path / "out" / "payments" / "policies" / "key-cards.json").read_text() == POLICY
    for name in ("payments", "shared"):
        plan = run("plan", tmp_path / "out" / name)
        assert (plan["specSet"], plan["changes"]) == (name, [])
    assert made in (tmp_path / "out" / "unowned" / "keys.yaml").read_text()

    run("apply", tmp_path / "out" / "unowned", "--take-ownership", "--yes")
    assert run("plan", tmp_path / "out" / "unowned")["changes"] == []
    run("export", tmp_path / "one", "--spec-set", "payments")
    assert run("plan", tmp_path / "one", "--spec-set", "payments")["changes"] == []


def test_nothing_is_written_over_and_nothing_half(run: Any, server: Server, tmp_path: Path) -> None:
    server.apply("payments", [document("Key", "cards")])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.yaml").write_text("mine")
    assert "not written over" in run("export", tmp_path / "full", code=1)["error"]["message"]
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.yaml"]
    assert "has no objects" in run("export", tmp_path / "none", "--spec-set", "nobody", code=1)["error"]["message"]
    (tmp_path / "file").write_text("mine")
    assert run("export", tmp_path / "file" / "below", code=1)["error"]
    assert {path.name for path in tmp_path.iterdir()} >= {"full", "file"}
    assert not (tmp_path / "none").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".none")]


class Relay:
    """A port that stays while the server behind it comes and goes."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                behind = socket.create_connection(("127.0.0.1", self.server.port), 5)
            except OSError:
                client.close()
                continue
            behind.settimeout(None)
            for source, target in ((client, behind), (behind, client)):
                threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        source.close()


class Watch:
    """``keystead apply --watch --json`` as a process."""

    def __init__(self, url: str, directory: Path, log: Path) -> None:
        self.log = log
        environment = {**os.environ, "KEYSTEAD_URL": url, "KEYSTEAD_TOKEN": TOKEN}
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "controlplane", "apply", "--watch", str(directory), "--json"],
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=ROOT,
            )

    def events(self) -> list[Any]:
        return [json.loads(line) for line in self.log.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]

    def saw(self, *wanted: str) -> Any:
        """Wait for exactly these events; the last one."""
        eventually(lambda: [each["event"] for each in self.events()] == ["watching", *wanted], f"{wanted}")
        return self.events()[-1]


@pytest.fixture
def watch(server: Server, tmp_path: Path) -> Iterator[Any]:
    started: list[Watch] = []
    relay = Relay(server)

    def start(directory: Path) -> Watch:
        started.append(Watch(relay.url, directory, tmp_path / "watch.log"))
        return started[-1]

    try:
        yield start
    finally:
        for each in started:
            with contextlib.suppress(ProcessLookupError):
                each.process.kill()
            each.process.wait(20)
        relay.listener.close()


def test_a_watched_directory_is_applied_on_change_and_never_with_a_refusal(
    server: Server, watch: Any, tmp_path: Path
) -> None:
    directory = tmp_path / "team"
    directory.mkdir()
    file = directory / "keys.json"
    other = document("Key", "other")
    server.apply("elsewhere", [other])

    def declare(*documents: Any) -> None:
        draft = tmp_path / "draft"
        draft.write_text(json.dumps(list(documents)))
        draft.replace(file)

    declare(document("Key", "a"), document("Key", "b"))
    watching = watch(directory)
    assert [each["name"] for each in watching.saw("applied")["applied"]["objects"]] == ["a", "b"]
    declare(document("Key", "a", keySpec="RSA_2048", keyUsage="SIGN_VERIFY"), document("Key", "c"))
    refused = watching.saw("applied", "refused")
    assert refused["plan"]["counts"]["blocked"] == 1
    assert server.rest("GET", "/v1/keys/c").status == 404
    file.write_text("[{")
    assert watching.saw("applied", "refused", "refused")["error"]["problems"][0]["file"] == str(file)
    declare(document("Key", "a"), document("Key", "c"))
    watching.saw("applied", "refused", "refused", "applied")
    assert "deletion" in server.ok("GET", "/v1/keys/b")["metadata"], "it left the set"
    assert "deletion" not in server.ok("GET", "/v1/keys/other")["metadata"], "another set's"

    server.kill()
    declare(document("Key", "a"), document("Key", "c"), document("Key", "d"))
    watching.saw("applied", "refused", "refused", "applied", "lost")
    server.start()
    watching.saw("applied", "refused", "refused", "applied", "lost", "applied")
    assert server.rest("GET", "/v1/keys/d").status == 200
    watching.process.send_signal(signal.SIGTERM)
    assert watching.process.wait(30) == 0
    watching.saw("applied", "refused", "refused", "applied", "lost", "applied", "ended")


def test_a_file_is_nothing_to_watch(run: Any, tmp_path: Path) -> None:
    (tmp_path / "key.yaml").write_text("")
    told = run("apply", "--watch", tmp_path / "key.yaml", code=1)
    assert "takes directories" in told["error"]["message"]
