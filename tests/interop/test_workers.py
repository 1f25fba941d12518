"""Several server processes on one port: one server to its clients, whatever happens to one of them."""

from __future__ import annotations

import base64
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controlplane.audit.verifying import verify
from tests.harness import ROOT, Server, document, eventually, refusal

Make = Callable[..., Server]


def workers_of(server: Server) -> set[int]:
    """Process ids of the running workers."""
    assert server.process is not None
    pid = server.process.pid
    return {int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def alive(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def clients(server: Server, number: int = 6) -> list[Any]:
    """Clients on connections of their own, so that both workers are asked: the kernel spreads connections."""
    return [server.kms() for _ in range(number)]


@pytest.fixture
def server(new_server: Make) -> Server:
    return new_server(workers=2).start()


def served_by_both(server: Server) -> None:
    """Both workers have answered something: each writes its own chain of the audit journal."""
    eventually(
        lambda: bool(clients(server)[0].list_keys()) and len(chains_with_records(server)) == 2, "both workers serve"
    )


def chains_with_records(server: Server) -> set[str]:
    return {
        path.parent.name
        for path in (server.directory / "audit").rglob("segment-*.jsonl")
        if path.read_text().count("\n") > 1
    }


def test_two_workers_are_one_server(server: Server) -> None:
    assert len(workers_of(server)) == 2
    everyone = clients(server)
    made = [kms.create_key()["KeyMetadata"] for kms in everyone]
    for kms in everyone:
        for key in made:
            assert kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"] == key
    key_id = made[0]["KeyId"]
    blob = everyone[0].encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
    for disabling in everyone:
        disabling.disable_key(KeyId=key_id)
        for kms in everyone:
            assert refusal(kms.decrypt, CiphertextBlob=blob).type == "DisabledException"
        disabling.enable_key(KeyId=key_id)
        for kms in everyone:
            assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    served_by_both(server)


def test_a_key_on_a_device_is_used_through_every_worker(server: Server, tmp_path: Path) -> None:
    server.apply(
        "set",
        [
            document("KeyStore", "device", type="memory", memory={"device": str(tmp_path / "device.json")}),
            document("Key", "k", keyStore="device", aliases=["k"]),
        ],
    )
    everyone = clients(server)
    blobs = [kms.encrypt(KeyId="alias/k", Plaintext=b"x")["CiphertextBlob"] for kms in everyone]
    for kms, blob in zip(everyone, reversed(blobs), strict=True):
        assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def test_they_stop_together_when_asked_and_leave_good_journals(server: Server) -> None:
    served_by_both(server)
    workers = workers_of(server)
    server.stop()
    assert not any(alive(pid) for pid in workers)
    result = verify(server.directory / "audit")
    assert result.ok
    assert len(result.heads) == 2


def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost(server: Server) -> None:
    kms = server.kms()
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    blob = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    for victim in sorted(workers_of(server)):  # the one that leads, and the other
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: len(workers_of(server)) == 2 and victim not in workers_of(server), "it is replaced")  # noqa: B023
        for _ in range(12):  # on connections of their own
            answer = server.call("Decrypt", {"CiphertextBlob": base64.b64encode(blob).decode()})
            assert answer.json()["Plaintext"] == "eA=="
        assert server.kms().create_key()["KeyMetadata"]["KeyState"] == "Enabled", "somebody leads"
    assert "a worker process ended and is started again" in server.log()
    server.stop()
    assert verify(server.directory / "audit").ok


def test_workers_do_not_outlive_their_parent(server: Server) -> None:
    workers = workers_of(server)
    server.kill()
    eventually(lambda: not any(alive(pid) for pid in workers), "they are gone, too")
    server.start()
    assert server.kms().create_key()


def test_what_stops_one_server_from_starting_stops_several(new_server: Make, tmp_path: Path) -> None:
    server = new_server(workers=2).start()
    server.stop()
    (server.directory / "root.key").unlink()
    assert "StartupRefused: the standard key store does not open" in server.refuse_to_start()


def test_a_port_that_is_taken_is_refused(new_server: Make, server: Server) -> None:
    refused = new_server("other", workers=2, port=server.port).refuse_to_start()
    assert f"StartupRefused: cannot listen on 127.0.0.1:{server.port}" in refused


def whole(connection: socket.socket) -> bytes:
    """An answer with its body, which may come in a segment of its own."""
    answer = b""
    while b"CiphertextBlob" not in answer and (more := connection.recv(65_536)):
        answer += more
    return answer


def test_requests_are_answered_while_everything_stops(server: Server) -> None:
    """No client that was accepted is dropped without an answer."""
    kms = server.kms()
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    with contextlib.ExitStack() as stack:
        bodies = []
        for _ in range(8):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=30))
            body = b'{"KeyId":"%b","Plaintext":"eA=="}' % key.encode()
            lines = [f"{name}: {value}" for name, value in server.signed("Encrypt", body)]
            lines.append(f"content-length: {len(body)}")
            lines.append("expect: 100-continue")
            connection.sendall(("\r\n".join(["POST / HTTP/1.1", *lines]) + "\r\n\r\n").encode())
            assert connection.recv(65_536).startswith(b"HTTP/1.1 100 "), "a worker waits for the body"
            bodies.append((connection, body))
        process = server.terminate()
        for connection, rest in bodies:
            connection.sendall(rest)
        answers = [whole(connection) for connection, _ in bodies]
        assert all(b"CiphertextBlob" in answer for answer in answers), answers
        assert process.wait(40) == 0
    server._forget()


def keystead(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "controlplane", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_command_takes_workers_as_option_and_as_setting(tmp_path: Path) -> None:
    made = keystead(tmp_path, "init", str(tmp_path / "new"), "--listen", "127.0.0.1:0")
    made.communicate(timeout=60)
    settings = tmp_path / "new" / "keystead.toml"
    assert "# workers = 2" in settings.read_text()
    for text, more, expected in (
        ("", ["--workers", "2"], 2),
        ("workers = 3\n", [], 3),
        ("workers = 3\n", ["--workers", "1"], 0),
    ):
        changed = tmp_path / "new" / "other.toml"
        changed.write_text(text + settings.read_text())
        process = keystead(tmp_path, "serve", "--config", str(changed), *more)
        try:
            assert process.stdout is not None
            assert "is ready on 127.0.0.1:" in process.stdout.readline()
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            assert len(children) == expected
        finally:
            process.terminate()
            _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors


@pytest.mark.parametrize("value", ["0", "65", "many"])
def test_an_impossible_number_of_workers_is_refused(tmp_path: Path, value: str) -> None:
    process = keystead(tmp_path, "serve", "--config", str(tmp_path / "none.toml"), "--workers", value)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "workers" in errors
