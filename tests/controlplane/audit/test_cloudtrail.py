"""Exported events are shaped as CloudTrail's, for every operation and error that there is."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from controlplane import errors
from controlplane.api.kms.errors import exception_of
from controlplane.audit.cloudtrail import error_code, event
from controlplane.audit.records import AuditEntry, AuditRecord
from controlplane.domain.lifecycle import OPERATIONS

ARN = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"


def shown(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "time": datetime(2026, 1, 31, 12, 0, 1, 999_999, tzinfo=UTC),
        "request_id": "r",
        "principal": "arn:aws:iam::111122223333:user/alice",
        "source": "192.0.2.7",
        "operation": "Encrypt",
        "action": "kms:Encrypt",
        "region": "eu-central-1",
        "decision": "allowed",
        "resource": ARN,
        "encryption_context": {"tenant": "a"},
        "latency_us": 145,
    }
    return event(AuditEntry("chain-0", 7, AuditRecord(**fields | changes)))


def test_a_use_of_a_key_reads_as_in_the_developer_guide() -> None:
    found = shown()
    assert uuid.UUID(found.pop("eventID"))
    assert found == {
        "eventVersion": "1.11",
        "userIdentity": {
            "type": "IAMUser",
            "principalId": "alice",
            "arn": "arn:aws:iam::111122223333:user/alice",
            "accountId": "111122223333",
            "userName": "alice",
        },
        "eventTime": "2026-01-31T12:00:01Z",
        "eventSource": "kms.amazonaws.com",
        "eventName": "Encrypt",
        "awsRegion": "eu-central-1",
        "sourceIPAddress": "192.0.2.7",
        "userAgent": None,
        "requestParameters": {"keyId": ARN, "encryptionContext": {"tenant": "a"}},
        "responseElements": None,
        "additionalEventData": {
            "decision": "allowed",
            "reason": "",
            "action": "kms:Encrypt",
            "latencyMicroseconds": 145,
            "chain": "chain-0",
            "sequence": 7,
        },
        "requestID": "r",
        "readOnly": True,
        "resources": [{"accountId": "111122223333", "type": "AWS::KMS::Key", "ARN": ARN}],
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": "111122223333",
        "eventCategory": "Management",
    }


def test_an_event_has_the_same_id_in_every_export_and_another_than_every_other() -> None:
    assert shown()["eventID"] == shown()["eventID"]
    assert shown(request_id="s")["eventID"] != shown()["eventID"]


def test_what_the_server_does_by_itself_is_a_service_event() -> None:
    found = shown(principal="keystead:reconciler", operation="DeleteKey", source="reconciler")
    assert found["eventType"] == "AwsServiceEvent"
    assert found["userIdentity"] == {
        "type": "AWSService", "accountId": "111122223333", "invokedBy": "keystead:reconciler",
    }  # fmt: skip
    assert found["readOnly"] is False


def test_requests_to_the_reconciliation_api_are_told_apart() -> None:
    found = shown(operation="ApplyPlan", action="keystead:Apply", resource="*", encryption_context=None)
    assert (found["eventSource"], found["requestParameters"], found["resources"]) == ("keystead", None, [])
    assert found["readOnly"] is False


def classes(base: type[errors.KeysteadError] = errors.KeysteadError) -> list[type[errors.KeysteadError]]:
    own = [each for each in base.__subclasses__() if each.__module__ == errors.__name__]
    return own + [deeper for each in own for deeper in classes(each)]


@pytest.mark.parametrize("kind", classes(), ids=lambda kind: kind.__name__)
def test_an_error_is_named_as_the_kms_door_answers_it(kind: type[errors.KeysteadError]) -> None:
    if issubclass(kind, errors.InvalidSpec | errors.Unauthenticated | errors.AccessDenied):
        return  # the first no KMS request meets; the others are AccessDenied in CloudTrail
    answered = exception_of(kind("x")).type
    assert error_code(kind.code) == answered
    found = shown(decision="failed", error=kind.code, reason="why")
    assert (found["errorCode"], found["errorMessage"]) == (answered, "why")


def test_operations_that_change_a_key_are_not_read_only() -> None:
    reading = {name for name in OPERATIONS if shown(operation=name)["readOnly"]}
    changing = set(OPERATIONS) - reading
    assert {"Encrypt", "Sign", "GetPublicKey", "DescribeKey", "ListGrants", "GetParametersForImport"} <= reading
    assert {"EnableKey", "CreateGrant", "PutKeyPolicy", "ImportKeyMaterial", "RotateKeyOnDemand"} <= changing
    assert not any(name.startswith(("Create", "Put", "Update", "Delete", "Schedule", "Tag")) for name in reading)
