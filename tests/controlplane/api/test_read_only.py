"""A database that cannot be written for a while, under a running server: writes are refused with words, reads and
cryptographic requests are answered, nothing is lost or half done, and it goes on by itself afterwards."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import Server, document, eventually, refusal
from tests.hsm import need


@pytest.fixture
def flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """While this file is there, the database of servers that start from now on is read-only."""
    library, source = tmp_path / "readonly.so", Path(__file__).parents[2] / "readonly.c"
    command = [need("gcc"), "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", library, source, "-ldl"]
    subprocess.run(command, check=True, timeout=60)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("READ_ONLY_WHILE", str(tmp_path / "read-only"))
    return tmp_path / "read-only"


def test_a_database_that_is_read_only_for_a_while_refuses_writes_answers_reads_and_loses_nothing(
    new_server: Callable[..., Server], flag: Path
) -> None:
    server = new_server().start()
    server.apply("set", [document("Key", "a", description="before")])
    arn = server.ok("GET", "/v1/keys/a")["status"]["arn"]
    kms = server.kms()
    blob = kms.encrypt(KeyId=arn, Plaintext=b"kept")["CiphertextBlob"]
    plan = server.plan("set", [document("Key", "a", description="after"), document("Key", "b")])
    flag.touch()
    probe = document("Principal", "probe")
    eventually(lambda: server.rest("PUT", "/v1/principals/probe", probe).status == 503, "the database is read-only")

    answers = [
        server.rest("POST", f"/v1/plans/{plan['id']}/apply", {}),
        server.rest("PUT", "/v1/keys/c", document("Key", "c")),
        server.rest("POST", "/v1/plans", {"specSet": "set", "documents": []}),
    ]
    for answer in answers:
        assert answer.status == 503, (answer, server.log()[-3000:])
        assert answer.json()["code"] == "StoreUnavailable"
        assert "cannot be used now" in answer.json()["detail"]
        assert "nothing was changed" in answer.json()["detail"]
    for write in (
        lambda: kms.create_key(),
        lambda: kms.tag_resource(KeyId=arn, Tags=[{"TagKey": "x", "TagValue": "1"}]),
        lambda: kms.schedule_key_deletion(KeyId=arn),
    ):
        refused = refusal(write)
        assert refused.status == 500, refused
        assert refused.type in ("KMSInternalException", "DependencyTimeoutException")
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"kept"
    assert kms.encrypt(KeyId=arn, Plaintext=b"more")["KeyId"] == arn
    assert kms.list_resource_tags(KeyId=arn)["Tags"] == []
    assert server.ok("GET", "/v1/keys/a")["spec"]["description"] == "before"
    assert server.ok("GET", "/v1/audit?operation=ApplyPlan&limit=1")["items"][0]["record"]["decision"] == "failed"
    assert server.rest("GET", "/healthz").status == 200

    flag.unlink()
    server.ok("POST", f"/v1/plans/{plan['id']}/apply", {})
    eventually(lambda: server.ok("GET", "/v1/keys/b")["status"].get("materials"), "the reconciler goes on")
    assert server.ok("GET", "/v1/keys/a")["spec"]["description"] == "after"
    assert server.rest("GET", "/v1/keys/c").status == 404, "half done"
    assert [each["metadata"]["name"] for each in server.ok("GET", "/v1/keys")["items"]] == ["a", "b"]
    server.stop()
