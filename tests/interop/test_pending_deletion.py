"""A key that is pending deletion and still used: whoever looks, wherever, sees by whom, in time to cancel."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.harness import ROOT, TOKEN, Server, document, eventually, refusal


def counted(server: Server, key_id: str) -> dict[str, float]:
    """The metric, by operation."""
    text = server.http("GET", "/metrics").body.decode()
    pattern = rf'^keystead_pending_deletion_uses_total{{key_id="{key_id}",operation="(\w+)"}} ([\d.]+)$'
    return {operation: float(count) for operation, count in re.findall(pattern, text, re.MULTILINE)}


def test_a_refused_use_is_seen_everywhere(shared_server: Server) -> None:
    shared_server.apply("going", [document("Key", "going")])
    kms = shared_server.kms()
    key = shared_server.ok("GET", "/v1/keys/going")
    key_id = key["status"]["keyId"]
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
    kms.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=7)
    for _ in range(3):
        assert refusal(kms.decrypt, CiphertextBlob=blob).type == "KMSInvalidStateException"
    assert refusal(kms.generate_data_key, KeyId=key_id, KeySpec="AES_256").type == "KMSInvalidStateException"
    kms.describe_key(KeyId=key_id)  # to look is no use
    assert counted(shared_server, key_id) == {"Decrypt": 3.0, "GenerateDataKey": 1.0}
    uses = shared_server.ok("GET", "/v1/keys/going/refused-uses")
    assert {(use["operation"], use["count"]) for use in uses} == {("Decrypt", 3), ("GenerateDataKey", 1)}
    assert all(use["principal"].startswith("arn:aws:iam::") for use in uses)
    events = shared_server.ok("GET", f"/v1/events?uid={key['metadata']['uid']}")["items"]
    refused = {event["message"]: event["count"] for event in events if event["reason"] == "UseRefused"}
    assert sorted(refused.values()) == [1, 3]
    assert any("Decrypt" in message for message in refused)
    described = subprocess.run(
        [sys.executable, "-m", "controlplane", "describe", "key", "going"],
        env={"KEYSTEAD_URL": shared_server.url, "KEYSTEAD_TOKEN": TOKEN, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert "Refused uses since deletion was scheduled" in described
    assert "GenerateDataKey" in described
    kms.cancel_key_deletion(KeyId=key_id)
    assert kms.describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"] == "Disabled"
    kms.enable_key(KeyId=key_id)
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    assert shared_server.ok("GET", "/v1/keys/going/refused-uses") == []


def test_each_refused_use_has_its_audit_record(private_server: Server) -> None:
    kms = private_server.kms()
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=7)
    for _ in range(2):
        refusal(kms.encrypt, KeyId=key_id, Plaintext=b"x")
    lines = [
        json.loads(line)["record"]
        for path in (private_server.directory / "audit").rglob("segment-*.jsonl")
        for line in path.read_text().splitlines()
    ]
    refused = [each for each in lines if each.get("operation") == "Encrypt" and key_id in (each.get("resource") or "")]
    assert [each["decision"] for each in refused] == ["failed", "failed"]
    assert all(each["principal"] and each["time"] for each in refused)


def test_scheduling_twice_and_cancelling_twice_are_refused_and_change_nothing(shared_server: Server) -> None:
    kms = shared_server.kms()
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    refused = refusal(kms.cancel_key_deletion, KeyId=key_id)
    assert (refused.type, "is not pending deletion" in refused.message) == ("KMSInvalidStateException", True)
    first = kms.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=30)
    refused = refusal(kms.schedule_key_deletion, KeyId=key_id, PendingWindowInDays=7)
    assert (refused.type, "is pending deletion" in refused.message) == ("KMSInvalidStateException", True)
    assert kms.describe_key(KeyId=key_id)["KeyMetadata"]["DeletionDate"] == first["DeletionDate"]
    kms.cancel_key_deletion(KeyId=key_id)
    assert refusal(kms.cancel_key_deletion, KeyId=key_id).type == "KMSInvalidStateException"


@pytest.mark.parametrize("days", [6, 31])
def test_a_window_of_another_length_leaves_the_key_as_it_was(shared_server: Server, days: int) -> None:
    kms = shared_server.kms()
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    before = kms.describe_key(KeyId=key_id)["KeyMetadata"]
    assert refusal(kms.schedule_key_deletion, KeyId=key_id, PendingWindowInDays=days).type == "ValidationException"
    assert kms.describe_key(KeyId=key_id)["KeyMetadata"] == before


def test_whichever_worker_is_asked_tells_the_uses_of_all(new_server: Callable[..., Server]) -> None:
    server = new_server(workers=2).start()
    key_id = server.kms().create_key()["KeyMetadata"]["KeyId"]
    server.kms().schedule_key_deletion(KeyId=key_id, PendingWindowInDays=7)
    clients: list[Any] = [server.kms() for _ in range(12)]  # connections of their own: the kernel spreads them
    for kms in clients:
        refusal(kms.encrypt, KeyId=key_id, Plaintext=b"x")
    eventually(lambda: counted(server, key_id) == {"Encrypt": 12.0}, "every use is counted")
    assert [counted(server, key_id) for _ in range(8)] == [{"Encrypt": 12.0}] * 8
