"""``keystead audit``: against a server that runs, and on the files it left."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from controlplane.cli import main as cli
from tests.harness import TOKEN, Server, document


@pytest.fixture
def run(capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch, shared_server: Server) -> Any:
    monkeypatch.setenv("KEYSTEAD_URL", shared_server.url)
    monkeypatch.setenv("KEYSTEAD_TOKEN", TOKEN)

    def run(*arguments: object, code: int = 0) -> str:
        found = cli.main([str(argument) for argument in arguments])
        captured = capsysbinary.readouterr()
        assert found == code, (captured.out, captured.err)
        return (captured.err if code and "--json" not in arguments else captured.out).decode()

    return run


@pytest.fixture
def key(shared_server: Server) -> str:
    """Name of a key that was encrypted with three times."""
    import uuid

    fresh = f"t-{uuid.uuid4()}"
    shared_server.apply(fresh, [document("Key", fresh, aliases=[fresh])])
    for _ in range(3):
        shared_server.kms().encrypt(KeyId=f"alias/{fresh}", Plaintext=b"x")
    return fresh


def test_query_shows_the_newest_records(run: Any, key: str) -> None:
    shown = run("audit", "query", "--key", key, "--operation", "Encrypt", "--since", "1h")
    assert len(shown.splitlines()) == 4
    assert "user/admin" in shown
    two = json.loads(run("audit", "query", "--key", f"alias/{key}", "--operation", "Encrypt", "--limit", 2, "--json"))
    assert [each["record"]["operation"] for each in two["items"]] == ["Encrypt", "Encrypt"]
    assert "No record" in run("audit", "query", "--key", key, "--decision", "denied")
    assert "No record" in run("audit", "query", "--key", key, "--until", "2020-01-01")
    assert "such as" in run("audit", "query", "--since", "yesterday", code=1)


def test_export_writes_every_record_once_to_a_new_file(run: Any, key: str, tmp_path: Path) -> None:
    out = tmp_path / "events.jsonl"
    told = json.loads(run("audit", "export", "--key", key, "--out", out, "--json"))
    events = [json.loads(line) for line in out.read_text().splitlines()]
    assert told == {"file": str(out), "records": len(events)}
    assert [each["eventName"] for each in events].count("Encrypt") == 3
    assert events == sorted(events, key=lambda each: each["eventTime"])
    assert out.stat().st_mode & 0o077 == 0
    before = out.read_bytes()
    assert "not written over" in run("audit", "export", "--key", key, "--out", out, code=1)
    assert out.read_bytes() == before
    assert "nothing is left of it" in run("audit", "export", "--out", tmp_path / "no" / "file", code=1)
    assert [each.name for each in tmp_path.iterdir()] == ["events.jsonl"]
    piped = run("audit", "export", "--key", key, "--operation", "Encrypt", "--format", "keystead")
    assert [json.loads(line)["record"]["operation"] for line in piped.splitlines()] == ["Encrypt"] * 3


def test_the_files_of_a_stopped_server_are_read_and_checked(run: Any, new_server: Any, tmp_path: Path) -> None:
    server = new_server().start()
    server.apply("set", [document("Key", "k", aliases=["k"])])
    arn = server.ok("GET", "/v1/keys/k")["status"]["arn"]
    server.kms().encrypt(KeyId=arn, Plaintext=b"x")
    online = server.ok("GET", f"/v1/audit?key={arn}&operation=Encrypt")["items"]
    server.stop()
    audit = server.directory / "audit"
    found = json.loads(run("audit", "query", "--directory", audit, "--key", arn, "--operation", "Encrypt", "--json"))
    assert found["items"] == online
    assert "The journal is whole" in run("audit", "verify", audit)
    assert json.loads(run("audit", "verify", audit, "--json"))["ok"] is True

    edited = tmp_path / "edited"
    shutil.copytree(audit, edited)
    (segment,) = edited.glob("chain-0/segment-*.jsonl")
    lines = segment.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b"user/admin", b"user/mallo")
    segment.write_bytes(b"".join(lines))
    failed = json.loads(run("audit", "verify", edited, "--json", code=1))
    assert (failed["ok"], failed["bad"][0]["line"]) == (False, 4)
    assert "there is no audit journal here" in json.dumps(
        json.loads(run("audit", "verify", tmp_path, "--json", code=1))
    )
    assert "is not a directory" in run("audit", "query", "--directory", tmp_path / "none", code=1)


def test_a_checkpoint_kept_elsewhere_finds_what_was_cut_from_the_end(run: Any, new_server: Any, tmp_path: Path) -> None:
    server = new_server().start()
    server.apply("set", [document("Key", "k")])
    kept = tmp_path / "kept.json"
    at = ("--url", server.url)
    assert "Saved in" in run("audit", "checkpoint", *at, "--out", kept)
    assert "not written over" in run("audit", "checkpoint", *at, "--out", kept, code=1)
    shown = json.loads(run("audit", "checkpoint", *at, "--json"))
    key = tmp_path / "key.pem"
    key.write_text(shown["publicKey"])
    server.kill()
    audit = server.directory / "audit"
    assert "signed up to record" in run("audit", "verify", audit, "--checkpoint", kept, "--public-key", key)

    (segment,) = audit.glob("chain-0/segment-*.jsonl")
    lines = segment.read_bytes().splitlines(keepends=True)
    cut = shown["checkpoints"][0]["statement"]["head"]["seq"]
    segment.write_bytes(b"".join(lines[:cut]))
    told = run("audit", "verify", audit, "--json", code=1)
    assert f"the chain ends at record {cut - 1}; it had {cut}" in told
    (audit / "chain-0" / "checkpoints.jsonl").unlink()
    assert "No checkpoint is here" in run("audit", "verify", audit)
    assert "they were removed" in run("audit", "verify", audit, "--checkpoint", kept, "--json", code=1)
    garbage = tmp_path / "garbage"
    garbage.write_text("{}")
    assert "is not what" in run("audit", "verify", audit, "--checkpoint", garbage, code=1)
    assert "no public key of Ed25519" in run("audit", "verify", audit, "--public-key", garbage, code=1)


def test_segments_are_archived_only_from_a_journal(run: Any, shared_server: Server, tmp_path: Path) -> None:
    told = json.loads(
        run("audit", "archive", shared_server.directory / "audit", "--to", tmp_path / "archive", "--json")
    )
    assert told == {"segments": 0, "octets": 0, "waiting": 0}
    assert "is not a directory" in run("audit", "archive", tmp_path / "none", "--to", tmp_path / "archive", code=1)
