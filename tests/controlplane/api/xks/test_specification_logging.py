"""The proxy against the specification (AWS KMS External Key Store Proxy API 1.0.3): what is logged, what is not.

Each name begins with the section that it is about.
"""

from __future__ import annotations

import base64
import json
import os
import time
from typing import Any

from tests.xksclient import ALICE, KMS_KEY, XksClient, b64, metadata
from tests.xksproxied import SECRET, Proxied

# ---- Logging ---------------------------------------------------------------------------------------------------------


def audit(proxied: Proxied) -> list[dict[str, Any]]:
    """All records of the audit journal, in order."""
    files = sorted((proxied.server.directory / "audit").glob("chain-*/segment-*.jsonl"))
    return [json.loads(line)["record"] for file in files for line in file.read_bytes().split(b"\n") if line]


def test_logging_request_metadata_time_result_and_error_of_each_request(shared: Proxied, client: XksClient) -> None:
    mark = f"mark-{time.time_ns()}"
    client.encrypt("payments", **metadata(kmsRequestId=mark, kmsViaService="ebs.us-east-2.amazonaws.com"))
    client.encrypt("disabled", **metadata(kmsRequestId=mark))
    found = [
        record
        for record in audit(shared)
        if record.get("details", {}).get("requestMetadata", {}).get("kmsRequestId") == mark
    ]
    succeeded, failed = found
    assert succeeded["decision"] == "allowed"
    assert succeeded["latencyUs"] > 0
    assert succeeded["details"] == {
        "door": "xks",
        "xksProxy": "bank",
        "externalKeyId": "payments",
        "rule": "the proxy has no rules",
        "requestMetadata": {
            "awsPrincipalArn": ALICE,
            "kmsKeyArn": KMS_KEY,
            "kmsOperation": "Encrypt",
            "kmsRequestId": mark,
            "kmsViaService": "ebs.us-east-2.amazonaws.com",
        },
    }
    assert succeeded["principal"] == "arn:aws:iam::000000000000:role/xks-proxy/bank"
    assert succeeded["source"] == "127.0.0.1"
    assert (failed["decision"], failed["error"]) == ("failed", "Disabled")


def test_logging_health_checks_are_logged_with_their_request_id(shared: Proxied, client: XksClient) -> None:
    mark = f"mark-{time.time_ns()}"
    assert client.health(kmsRequestId=mark).status == 200
    assert any(
        record["details"].get("requestMetadata", {}).get("kmsRequestId") == mark
        for record in audit(shared)
        if record.get("operation") == "GetHealthStatus"
    )


def test_logging_every_api_is_logged_with_its_request_id_and_all_the_metadata_time_and_result(
    shared: Proxied, client: XksClient
) -> None:
    mark = f"mark-{time.time_ns()}"
    more = {
        "kmsRequestId": mark,
        "kmsViaService": "ebs.us-east-2.amazonaws.com",
        "awsSourceVpc": "vpc-1",
        "awsSourceVpce": "vpce-1",
    }
    sealed = client.encrypt("payments", **metadata("GenerateDataKey", **more)).json()
    client.decrypt("payments", sealed, **metadata("ReEncrypt", **more))
    client.get_metadata("payments", operation="CreateKey", kmsKeyArn=KMS_KEY, **more)
    client.get_metadata("nobody", operation="CreateKey", kmsKeyArn=KMS_KEY, **more)
    found = [
        record
        for record in audit(shared)
        if record.get("details", {}).get("requestMetadata", {}).get("kmsRequestId") == mark
    ]
    assert [record["operation"] for record in found] == ["Encrypt", "Decrypt", "DescribeKey", "DescribeKey"]
    assert [record["decision"] for record in found] == [*["allowed"] * 3, "failed"]
    assert all(record["latencyUs"] > 0 for record in found)
    assert [record.get("error") for record in found] == [None, None, None, "NotFound"]
    for record, operation in zip(found, ("GenerateDataKey", "ReEncrypt", "CreateKey", "CreateKey"), strict=True):
        assert record["details"]["requestMetadata"] == metadata(operation, **more)["requestMetadata"]


def test_logging_no_plaintext_and_no_secret_is_in_any_log_file_or_database(proxied: Proxied) -> None:
    marker = b"PLAINTEXT-THAT-MUST-NOT-LEAK-" + os.urandom(8).hex().encode()
    client = proxied.client()
    for body in (
        {"plaintext": b64(marker)},
        {"plaintext": b64(marker), "encryptionAlgorithm": "X"},
        {"plaintext": [b64(marker)]},
        {"plaintext": b64(marker), "ciphertextDataIntegrityValueAlgorithm": "SHA_256"},
        {"additionalAuthenticatedData": b64(marker)},
    ):
        answer = client.encrypt("payments", **body)
        if answer.status == 200:
            client.decrypt("payments", answer.json())
    client.encrypt("disabled", marker)
    proxied.client(secret=SECRET[:-1] + "x").encrypt("payments", marker)
    proxied.server.stop()
    secrets = [marker, base64.b64encode(marker)[:-4], SECRET.encode(), SECRET[:-1].encode()]
    files = [path for path in proxied.server.directory.rglob("*") if path.is_file()]
    assert len(files) > 3
    for content in (*(path.read_bytes() for path in files), proxied.server.log().encode()):
        assert not any(secret in content for secret in secrets)
