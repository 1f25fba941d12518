"""Grants as boto3 sees them: making, listing, retiring, revoking, and how each is refused."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.harness import ACCOUNT, OTHER_REGION, REGION, Server, refusal

ROLE = f"arn:aws:iam::{ACCOUNT}:role/reader"
USER = f"arn:aws:iam::{ACCOUNT}:user/alice"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"
NONE = "0" * 64


@pytest.fixture(scope="session")
def kms(shared_server: Server) -> Any:
    return shared_server.kms()


@pytest.fixture
def key(kms: Any) -> dict[str, Any]:
    return kms.create_key(Description="of one test")["KeyMetadata"]


def members(answer: dict[str, Any]) -> set[str]:
    return answer.keys() - {"ResponseMetadata"}


def listed(kms: Any, key: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return kms.list_grants(KeyId=key["KeyId"], **more)["Grants"]


def test_a_grant_is_answered_with_its_id_and_a_token_and_listed_whole(kms: Any, key: dict[str, Any]) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    made = kms.create_grant(
        KeyId=key["Arn"],
        GranteePrincipal=ROLE,
        RetiringPrincipal=USER,
        Operations=["Decrypt", "RetireGrant"],
        Constraints={"EncryptionContextSubset": {"app": "ä"}},
        Name="of-one-test",
    )
    assert members(made) == {"GrantId", "GrantToken"}
    assert re.fullmatch("[0-9a-f]{64}", made["GrantId"])
    assert len(made["GrantToken"]) > 100
    (entry,) = listed(kms, key)
    assert before <= entry.pop("CreationDate") <= datetime.now(UTC) + timedelta(seconds=1)
    assert entry == {
        "KeyId": key["Arn"],
        "GrantId": made["GrantId"],
        "Name": "of-one-test",
        "GranteePrincipal": ROLE,
        "RetiringPrincipal": USER,
        "IssuingAccount": ROOT,
        "Operations": ["Decrypt", "RetireGrant"],
        "Constraints": {"EncryptionContextSubset": {"app": "ä"}},
    }


def test_a_grant_to_a_service_shows_the_service(kms: Any, key: dict[str, Any]) -> None:
    source = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:a"
    kms.create_grant(
        KeyId=key["KeyId"],
        GranteeServicePrincipal="logs.us-east-1.amazonaws.com",
        RetiringServicePrincipal="logs.us-east-1.amazonaws.com",
        Operations=["Encrypt"],
        Constraints={"SourceArn": source},
    )
    (entry,) = listed(kms, key, GranteeServicePrincipal="logs.us-east-1.amazonaws.com")
    assert entry["GranteeServicePrincipal"] == entry["RetiringServicePrincipal"] == "logs.us-east-1.amazonaws.com"
    assert entry["Constraints"] == {"SourceArn": source}
    assert entry.keys().isdisjoint({"GranteePrincipal", "RetiringPrincipal", "Name"})
    found = kms.list_retirable_grants(RetiringServicePrincipal="logs.us-east-1.amazonaws.com")["Grants"]
    assert entry["GrantId"] in [each["GrantId"] for each in found]


def test_a_retry_under_the_same_name_answers_the_same_grant_with_a_token_of_its_own(
    kms: Any, key: dict[str, Any]
) -> None:
    asked = {"KeyId": key["KeyId"], "GranteePrincipal": ROLE, "Operations": ["Decrypt"], "Name": "n"}
    first, again = kms.create_grant(**asked), kms.create_grant(**asked)
    assert first["GrantId"] == again["GrantId"]
    assert first["GrantToken"] != again["GrantToken"]
    assert kms.create_grant(**{**asked, "Operations": ["Encrypt"]})["GrantId"] != first["GrantId"]
    assert len(listed(kms, key)) == 2
    kms.retire_grant(GrantToken=again["GrantToken"])
    assert refusal(kms.retire_grant, GrantToken=first["GrantToken"]).type == "NotFoundException"


def test_pages_of_grants_survive_what_happens_between_them(kms: Any, key: dict[str, Any]) -> None:
    made = [
        kms.create_grant(KeyId=key["KeyId"], GranteePrincipal=ROLE, Operations=["Decrypt"])["GrantId"] for _ in range(5)
    ]
    first = kms.list_grants(KeyId=key["KeyId"], Limit=2)
    assert first["Truncated"] is True
    kms.revoke_grant(KeyId=key["KeyId"], GrantId=made[1])
    kms.revoke_grant(KeyId=key["KeyId"], GrantId=made[3])
    rest = kms.list_grants(KeyId=key["KeyId"], Marker=first["NextMarker"])
    assert rest["Truncated"] is False
    assert "NextMarker" not in rest
    assert [each["GrantId"] for each in first["Grants"] + rest["Grants"]] == [made[0], made[1], made[2], made[4]]
    paginator = kms.get_paginator("list_grants").paginate(KeyId=key["KeyId"], PaginationConfig={"PageSize": 1})
    assert [each["GrantId"] for page in paginator for each in page["Grants"]] == [made[0], made[2], made[4]]


def test_grants_are_filtered_by_id_and_by_grantee(kms: Any, key: dict[str, Any]) -> None:
    by_role = kms.create_grant(KeyId=key["KeyId"], GranteePrincipal=ROLE, Operations=["Decrypt"])["GrantId"]
    by_user = kms.create_grant(KeyId=key["KeyId"], GranteePrincipal=USER, Operations=["Decrypt"])["GrantId"]
    assert [each["GrantId"] for each in listed(kms, key, GranteePrincipal=USER)] == [by_user]
    assert [each["GrantId"] for each in listed(kms, key, GrantId=by_role)] == [by_role]
    assert listed(kms, key, GrantId=NONE) == []
    assert listed(kms, key, GrantId=by_role, GranteePrincipal=USER) == []


def test_retirable_grants_are_listed_over_all_keys_of_the_region(shared_server: Server, kms: Any) -> None:
    retiring = f"arn:aws:iam::{ACCOUNT}:user/{uuid.uuid4()}"
    made = []
    for _ in range(3):
        key_id = kms.create_key()["KeyMetadata"]["KeyId"]
        asked = {"KeyId": key_id, "GranteePrincipal": ROLE, "Operations": ["Decrypt"]}
        made.append(kms.create_grant(**asked, RetiringPrincipal=retiring)["GrantId"])
        kms.create_grant(**asked)
    first = kms.list_retirable_grants(RetiringPrincipal=retiring, Limit=2)
    rest = kms.list_retirable_grants(RetiringPrincipal=retiring, Marker=first["NextMarker"])
    assert [each["GrantId"] for each in first["Grants"] + rest["Grants"]] == made
    assert shared_server.kms(OTHER_REGION).list_retirable_grants(RetiringPrincipal=retiring)["Grants"] == []


def test_a_grant_is_retired_by_token_or_by_its_ids_and_revoked_by_its_ids(kms: Any, key: dict[str, Any]) -> None:
    asked = {"KeyId": key["KeyId"], "GranteePrincipal": ROLE, "Operations": ["Decrypt"]}
    by_token, by_ids, revoked = (kms.create_grant(**asked) for _ in range(3))
    kms.retire_grant(GrantToken=by_token["GrantToken"])
    kms.retire_grant(KeyId=key["Arn"], GrantId=by_ids["GrantId"])
    kms.revoke_grant(KeyId=key["KeyId"], GrantId=revoked["GrantId"])
    assert listed(kms, key) == []
    for made in (by_token, by_ids, revoked):
        again = refusal(kms.revoke_grant, KeyId=key["KeyId"], GrantId=made["GrantId"])
        assert again == ("NotFoundException", f"Grant ID {made['GrantId']} is not found for key {key['Arn']}.", 400)


def test_a_dry_run_changes_nothing_and_says_whether_it_would_have_succeeded(kms: Any, key: dict[str, Any]) -> None:
    asked = {"KeyId": key["KeyId"], "GranteePrincipal": ROLE, "Operations": ["Decrypt"]}
    assert refusal(kms.create_grant, **asked, DryRun=True).type == "DryRunOperationException"
    assert listed(kms, key) == []
    made = kms.create_grant(**asked)
    ids = {"KeyId": key["KeyId"], "GrantId": made["GrantId"]}
    assert refusal(kms.retire_grant, **ids, DryRun=True).type == "DryRunOperationException"
    assert refusal(kms.retire_grant, GrantToken=made["GrantToken"], DryRun=True).type == "DryRunOperationException"
    assert refusal(kms.revoke_grant, **ids, DryRun=True).type == "DryRunOperationException"
    assert len(listed(kms, key)) == 1
    gone = {**ids, "GrantId": NONE}
    assert refusal(kms.revoke_grant, **gone, DryRun=True).type == "NotFoundException"
    assert refusal(kms.create_grant, **{**asked, "Operations": ["Sign"]}, DryRun=True).type == "ValidationException"


def test_a_token_is_taken_by_the_operations_that_take_one_and_nothing_else_is(kms: Any, key: dict[str, Any]) -> None:
    made = kms.create_grant(KeyId=key["KeyId"], GranteePrincipal=ROLE, Operations=["Decrypt"])
    asked = {"KeyId": key["KeyId"], "GranteePrincipal": ROLE, "Operations": ["Decrypt"]}
    kms.create_grant(**asked, GrantTokens=[made["GrantToken"]])
    token = made["GrantToken"]
    middle = len(token) // 2
    changed = token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]
    for wrong in (changed, token[:-4], "AAAA", "not base64!", "ä", token + token):
        refused = refusal(kms.create_grant, **asked, GrantTokens=[wrong])
        assert refused == ("InvalidGrantTokenException", "The grant token is not valid.", 400)
        assert refusal(kms.retire_grant, GrantToken=wrong).type == "InvalidGrantTokenException"


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        ({"GranteePrincipal": "alice"}, "InvalidArnException", "ARN does not refer to a valid principal: alice"),
        ({"RetiringPrincipal": "arn:aws:iam::1:x"}, "InvalidArnException", "does not refer to a valid principal"),
        ({"Operations": []}, "ValidationException", "at least one operation"),
        ({"Operations": ["Sign"]}, "ValidationException", "Operations Sign cannot be granted"),
        ({"Operations": ["PutKeyPolicy"]}, "ValidationException", "enum value set"),
        ({"KeyId": "alias/none"}, "ValidationException", "a key ID or key ARN, not an alias"),
        ({"KeyId": str(uuid.UUID(int=0))}, "NotFoundException", "does not exist"),
        ({"Constraints": {"EncryptionContextEquals": {"a": "v" * 385}}}, "ValidationException", "384 characters"),
        ({"GranteeServicePrincipal": "a.b.c"}, "ValidationException", "but not both"),
    ],
)
def test_a_grant_that_cannot_be_is_refused(
    kms: Any, key: dict[str, Any], change: dict[str, Any], kind: str, says: str
) -> None:
    asked = {"KeyId": key["KeyId"], "GranteePrincipal": ROLE, "Operations": ["Decrypt"], **change}
    refused = refusal(kms.create_grant, **asked)
    assert refused.type == kind
    assert says in refused.message
    assert listed(kms, key) == []


def test_grants_are_named_well_or_not_at_all(kms: Any, key: dict[str, Any]) -> None:
    token = kms.create_grant(KeyId=key["KeyId"], GranteePrincipal=ROLE, Operations=["Decrypt"])["GrantToken"]
    for wrong in ({}, {"KeyId": key["KeyId"]}, {"GrantId": NONE}, {"GrantToken": token, "GrantId": NONE}):
        assert refusal(kms.retire_grant, **wrong).type == "ValidationException"
    for call, more in ((kms.revoke_grant, {}), (kms.retire_grant, {}), (kms.list_grants, {})):
        assert refusal(call, KeyId=key["KeyId"], GrantId="x", **more).type == "InvalidGrantIdException"
    assert refusal(kms.list_grants, KeyId=key["KeyId"], Marker="x").type == "InvalidMarkerException"
    assert refusal(kms.list_retirable_grants).type == "ValidationException"
    assert refusal(kms.list_retirable_grants, RetiringPrincipal="x").type == "InvalidArnException"
    assert refusal(kms.list_grants, KeyId=key["KeyId"], Limit=1001).type == "ValidationException"


def test_a_disabled_key_takes_no_grant_and_gives_its_grants_back(kms: Any, key: dict[str, Any]) -> None:
    asked = {"KeyId": key["KeyId"], "GranteePrincipal": ROLE, "Operations": ["Decrypt"]}
    made = kms.create_grant(**asked)
    kms.disable_key(KeyId=key["KeyId"])
    assert refusal(kms.create_grant, **asked).type == "DisabledException"
    assert len(listed(kms, key)) == 1
    kms.schedule_key_deletion(KeyId=key["KeyId"], PendingWindowInDays=7)
    assert refusal(kms.create_grant, **asked).type == "KMSInvalidStateException"
    kms.retire_grant(GrantToken=made["GrantToken"])
    assert listed(kms, key) == []


def test_grants_survive_a_restart(private_server: Server) -> None:
    kms = private_server.kms()
    key = kms.create_key()["KeyMetadata"]
    made = kms.create_grant(KeyId=key["KeyId"], GranteePrincipal=ROLE, Operations=["Decrypt"])
    private_server.kill()
    private_server.start()
    kms = private_server.kms()
    assert [each["GrantId"] for each in listed(kms, key)] == [made["GrantId"]]
    kms.retire_grant(GrantToken=made["GrantToken"])
