"""Grants as boto3 sees them: making, listing, retiring, revoking, and how each is refused."""

from __future__ import annotations

import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore import xform_name

from tests.harness import ACCOUNT, OTHER_REGION, REGION, Person, Server, refusal
from tests.interop.keyring import Keyring

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
    asked = {"KeyId": kms.create_key()["KeyMetadata"]["KeyId"], "GranteePrincipal": ROLE, "Operations": ["Decrypt"]}
    made.append(kms.create_grant(**asked, RetiringPrincipal=retiring)["GrantId"])
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


def with_tokens(server: Server, kms: Any, keyring: Keyring) -> dict[str, dict[str, Any]]:
    """A request of every operation that takes grant tokens, good in all but those."""
    data, ecc = keyring.id(), keyring.id("ECC_NIST_P256")
    mac, agreed, kem = keyring.id("HMAC_256"), keyring.id("ECC_NIST_P256", "KEY_AGREEMENT"), keyring.id("ML_KEM_768")
    blob = kms.encrypt(KeyId=data, Plaintext=b"x")["CiphertextBlob"]
    signed = {"KeyId": ecc, "Message": b"x", "SigningAlgorithm": "ECDSA_SHA_256"}
    tagged = {"KeyId": mac, "Message": b"x", "MacAlgorithm": "HMAC_SHA_256"}
    public = keyring.public_key("ECC_NIST_P256", "KEY_AGREEMENT")
    return {
        "CreateGrant": {"KeyId": data, "GranteePrincipal": ROLE, "Operations": ["Decrypt"], "DryRun": True},
        "Decapsulate": {
            "KeyId": kem,
            "SharedSecretCiphertextBlob": b"x" * 1088,
            "EncapsulationAlgorithm": "ML_KEM",
        },
        "Decrypt": {"CiphertextBlob": blob},
        "DeriveSharedSecret": {"KeyId": agreed, "KeyAgreementAlgorithm": "ECDH", "PublicKey": public},
        "DescribeKey": {"KeyId": data},
        "Encapsulate": {"KeyId": kem, "EncapsulationAlgorithm": "ML_KEM"},
        "Encrypt": {"KeyId": data, "Plaintext": b"x"},
        "GenerateDataKey": {"KeyId": data, "KeySpec": "AES_256"},
        "GenerateDataKeyPair": {"KeyId": data, "KeyPairSpec": "ECC_NIST_P256"},
        "GenerateDataKeyPairWithoutPlaintext": {"KeyId": data, "KeyPairSpec": "ECC_NIST_P256"},
        "GenerateDataKeyWithoutPlaintext": {"KeyId": data, "KeySpec": "AES_256"},
        "GenerateMac": tagged,
        "GetPublicKey": {"KeyId": ecc},
        "ReEncrypt": {"CiphertextBlob": blob, "DestinationKeyId": data},
        "Sign": signed,
        "Verify": {**signed, "Signature": kms.sign(**signed)["Signature"]},
        "VerifyMac": {**tagged, "Mac": kms.generate_mac(**tagged)["Mac"]},
    }


def test_every_operation_that_takes_grant_tokens_refuses_one_that_is_none(
    shared_server: Server, kms: Any, keyring: Keyring, key: dict[str, Any]
) -> None:
    model = kms.meta.service_model
    taking = {
        name for name in model.operation_names if "GrantTokens" in model.operation_model(name).input_shape.members
    }
    requests = with_tokens(shared_server, kms, keyring)
    assert requests.keys() == taking
    good = kms.create_grant(KeyId=key["KeyId"], GranteePrincipal=ROLE, Operations=["Decrypt"])["GrantToken"]
    for name, request in requests.items():
        call = getattr(kms, xform_name(name))
        kind = "ValidationException" if name == "DescribeKey" else "InvalidGrantTokenException"
        assert refusal(call, **request, GrantTokens=["bm9uZQ=="]) == (kind, "The grant token is not valid.", 400), name
        assert refusal(call, **request, GrantTokens=[good, "bm9uZQ=="]).type == kind, name
        if name not in ("CreateGrant", "Decapsulate"):
            assert call(**request, GrantTokens=[good])


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


# ---- what a grant gives ----------------------------------------------------------------------------------------------


@pytest.fixture
def nobody(shared_server: Server) -> Person:
    """A user without any policy."""
    return shared_server.person(f"p-{uuid.uuid4()}")


def test_a_grant_gives_its_grantee_what_it_lists_at_once_and_takes_it_back_at_once(
    shared_server: Server, kms: Any, key: dict[str, Any], nobody: Person
) -> None:
    theirs, key_id = shared_server.kms_of(nobody), key["KeyId"]
    assert refusal(theirs.encrypt, KeyId=key_id, Plaintext=b"x").type == "AccessDeniedException"
    made = kms.create_grant(KeyId=key_id, GranteePrincipal=nobody.arn, Operations=["Encrypt", "DescribeKey"])
    blob = theirs.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
    assert theirs.describe_key(KeyId=key_id)["KeyMetadata"]["Arn"] == key["Arn"]
    for call, more in (
        (theirs.decrypt, {"CiphertextBlob": blob}),
        (theirs.generate_data_key, {"KeyId": key_id, "KeySpec": "AES_256"}),
        (theirs.list_grants, {"KeyId": key_id}),
        (theirs.revoke_grant, {"KeyId": key_id, "GrantId": made["GrantId"]}),
        (theirs.retire_grant, {"GrantToken": made["GrantToken"]}),
        (theirs.put_key_policy, {"KeyId": key_id, "Policy": "{}"}),
        (theirs.create_grant, {"KeyId": key_id, "GranteePrincipal": nobody.arn, "Operations": ["Decrypt"]}),
    ):
        assert refusal(call, **more).type == "AccessDeniedException"
    other = kms.create_key()["KeyMetadata"]["KeyId"]
    assert refusal(theirs.encrypt, KeyId=other, Plaintext=b"x").type == "AccessDeniedException"
    kms.revoke_grant(KeyId=key_id, GrantId=made["GrantId"])
    assert refusal(theirs.encrypt, KeyId=key_id, Plaintext=b"x").type == "AccessDeniedException"


def test_re_encrypt_takes_a_grant_on_each_key(
    shared_server: Server, kms: Any, key: dict[str, Any], nobody: Person
) -> None:
    theirs, other = shared_server.kms_of(nobody), kms.create_key()["KeyMetadata"]["KeyId"]
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    asked = {"CiphertextBlob": blob, "DestinationKeyId": other}
    kms.create_grant(KeyId=key["KeyId"], GranteePrincipal=nobody.arn, Operations=["ReEncryptFrom"])
    assert refusal(theirs.re_encrypt, **asked).type == "AccessDeniedException"
    made = kms.create_grant(KeyId=other, GranteePrincipal=nobody.arn, Operations=["ReEncryptTo"])
    theirs.re_encrypt(**asked)
    kms.revoke_grant(KeyId=other, GrantId=made["GrantId"])
    assert refusal(theirs.re_encrypt, **asked).type == "AccessDeniedException"


@pytest.mark.parametrize("member", ["EncryptionContextEquals", "EncryptionContextSubset"])
def test_a_constraint_is_held_to_the_context_of_the_request(
    shared_server: Server, kms: Any, key: dict[str, Any], nobody: Person, member: str
) -> None:
    theirs, key_id = shared_server.kms_of(nobody), key["KeyId"]
    kms.create_grant(
        KeyId=key_id,
        GranteePrincipal=nobody.arn,
        Operations=["Encrypt", "Decrypt", "GenerateDataKey", "DescribeKey"],
        Constraints={member: {"app": "billing"}},
    )
    theirs.describe_key(KeyId=key_id)
    more = {"app": "billing", "more": "x"}
    for context, allowed in (
        ({"app": "billing"}, True),
        (more, member == "EncryptionContextSubset"),
        ({}, False),
        ({"app": "Billing"}, False),
        ({"App": "billing"}, False),
        ({"app": "billing "}, False),
        ({"аpp": "billing"}, False),  # a Cyrillic letter
    ):
        blob = kms.encrypt(KeyId=key_id, Plaintext=b"x", EncryptionContext=context)["CiphertextBlob"]
        calls = (
            (theirs.encrypt, {"KeyId": key_id, "Plaintext": b"x"}),
            (theirs.decrypt, {"CiphertextBlob": blob}),
            (theirs.generate_data_key, {"KeyId": key_id, "KeySpec": "AES_256"}),
        )
        for call, asked in calls:
            if allowed:
                call(**asked, EncryptionContext=context)
            else:
                assert refusal(call, **asked, EncryptionContext=context).type == "AccessDeniedException", context


def test_no_grant_helps_against_a_deny(shared_server: Server, kms: Any, key: dict[str, Any], nobody: Person) -> None:
    theirs, key_id = shared_server.kms_of(nobody), key["KeyId"]
    kms.create_grant(KeyId=key_id, GranteePrincipal=nobody.arn, Operations=["Encrypt"])
    theirs.encrypt(KeyId=key_id, Plaintext=b"x")
    allow = {"Effect": "Allow", "Principal": {"AWS": ROOT}, "Action": "kms:*", "Resource": "*"}
    deny = {**allow, "Effect": "Deny", "Principal": {"AWS": nobody.arn}, "Action": "kms:Enc*"}
    kms.put_key_policy(KeyId=key_id, Policy=json.dumps({"Version": "2012-10-17", "Statement": [allow, deny]}))
    assert refusal(theirs.encrypt, KeyId=key_id, Plaintext=b"x").type == "AccessDeniedException"


def test_a_grantee_who_may_create_grants_gives_no_more_than_it_has(
    shared_server: Server, kms: Any, key: dict[str, Any], nobody: Person
) -> None:
    theirs, key_id = shared_server.kms_of(nobody), key["KeyId"]
    friend = shared_server.person(f"p-{uuid.uuid4()}")
    context = {"app": "billing"}
    kms.create_grant(
        KeyId=key_id,
        GranteePrincipal=nobody.arn,
        Operations=["CreateGrant", "Encrypt", "RetireGrant"],
        Constraints={"EncryptionContextSubset": context},
    )
    asked = {"KeyId": key_id, "GranteePrincipal": friend.arn, "Operations": ["Encrypt"]}
    narrow = {"Constraints": {"EncryptionContextSubset": {**context, "more": "x"}}}
    for wider in (
        asked,
        {**asked, "Constraints": {"EncryptionContextSubset": {"app": "other"}}},
        {**asked, **narrow, "Operations": ["Encrypt", "Decrypt"]},
    ):
        assert refusal(theirs.create_grant, **wider).type == "AccessDeniedException"
    child = theirs.create_grant(**asked, **narrow)
    friends = shared_server.kms_of(friend)
    friends.encrypt(KeyId=key_id, Plaintext=b"x", EncryptionContext={**context, "more": "x"})
    assert refusal(friends.encrypt, KeyId=key_id, Plaintext=b"x", EncryptionContext=context).type == (
        "AccessDeniedException"
    )
    assert refusal(theirs.retire_grant, GrantToken=child["GrantToken"]).type == "AccessDeniedException", "not its own"


def test_who_may_retire_a_grant(shared_server: Server, kms: Any, key: dict[str, Any], nobody: Person) -> None:
    theirs, key_id = shared_server.kms_of(nobody), key["KeyId"]
    asked = {"KeyId": key_id, "GranteePrincipal": ROLE, "Operations": ["Decrypt"]}
    strange = kms.create_grant(**asked)
    ids = {"KeyId": key_id, "GrantId": strange["GrantId"]}
    assert refusal(theirs.retire_grant, **ids).type == "AccessDeniedException"
    assert refusal(theirs.retire_grant, **{**ids, "GrantId": NONE}).type == "AccessDeniedException", "no hint either"
    theirs.retire_grant(GrantToken=kms.create_grant(**asked, RetiringPrincipal=nobody.arn)["GrantToken"])
    own = {**asked, "GranteePrincipal": nobody.arn, "Operations": ["Encrypt", "RetireGrant"]}
    theirs.retire_grant(KeyId=key_id, GrantId=kms.create_grant(**own)["GrantId"])
    may = {"Effect": "Allow", "Action": "kms:RetireGrant", "Resource": key["Arn"]}
    delegate = shared_server.person(f"p-{uuid.uuid4()}", may)
    shared_server.kms_of(delegate).retire_grant(**ids)
    assert listed(kms, key) == []


def test_a_policy_can_limit_which_grants_are_made(
    shared_server: Server, kms: Any, key: dict[str, Any], nobody: Person
) -> None:
    limits = {
        "StringEquals": {"kms:GrantConstraintType": "EncryptionContextSubset", "kms:GranteePrincipal": nobody.arn},
        "ForAllValues:StringEquals": {"kms:GrantOperations": ["Encrypt", "DescribeKey"]},
        "Bool": {"kms:GrantIsForAWSResource": "false"},
        "StringLike": {"kms:EncryptionContext:app": "b*"},
    }
    may = {"Effect": "Allow", "Action": "kms:CreateGrant", "Resource": "*", "Condition": limits}
    giver = shared_server.kms_of(shared_server.person(f"p-{uuid.uuid4()}", may))
    good = {
        "KeyId": key["KeyId"],
        "GranteePrincipal": nobody.arn,
        "Operations": ["Encrypt"],
        "Constraints": {"EncryptionContextSubset": {"app": "billing"}},
    }
    giver.create_grant(**good)
    for wrong in (
        {"GranteePrincipal": ROLE},
        {"Operations": ["Encrypt", "Decrypt"]},
        {"Constraints": {"EncryptionContextEquals": {"app": "billing"}}},
        {"Constraints": {"EncryptionContextSubset": {"app": "other"}}},
    ):
        assert refusal(giver.create_grant, **{**good, **wrong}).type == "AccessDeniedException", wrong
    del good["Constraints"]
    assert refusal(giver.create_grant, **good).type == "AccessDeniedException"


def test_the_retiring_principal_is_what_list_retirable_grants_is_allowed_on(
    shared_server: Server, kms: Any, key: dict[str, Any], nobody: Person
) -> None:
    may = {"Effect": "Allow", "Action": "kms:ListRetirableGrants", "Resource": nobody.arn}
    asker = shared_server.kms_of(shared_server.person(f"p-{uuid.uuid4()}", may))
    kms.create_grant(KeyId=key["KeyId"], GranteePrincipal=ROLE, Operations=["Decrypt"], RetiringPrincipal=nobody.arn)
    assert len(asker.list_retirable_grants(RetiringPrincipal=nobody.arn)["Grants"]) == 1
    assert refusal(asker.list_retirable_grants, RetiringPrincipal=ROLE).type == "AccessDeniedException"


def test_the_audit_says_which_grant_allowed(private_server: Server) -> None:
    kms, nobody = private_server.kms(), private_server.person("p")
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    made = kms.create_grant(KeyId=key_id, GranteePrincipal=nobody.arn, Operations=["Encrypt"])
    private_server.kms_of(nobody).encrypt(KeyId=key_id, Plaintext=b"x")
    refusal(private_server.kms_of(nobody).decrypt, CiphertextBlob=b"x" * 100, KeyId=key_id)
    lines = b"".join(each.read_bytes() for each in private_server.directory.rglob("segment-*.jsonl")).decode()
    records = [json.loads(line)["record"] for line in lines.splitlines()]
    of_theirs = {each["operation"]: each for each in records if each.get("principal") == nobody.arn}
    assert of_theirs["Encrypt"]["reason"] == f"allowed by grant {made['GrantId']}"
    assert (of_theirs["Decrypt"]["decision"], of_theirs["Decrypt"]["reason"]) == ("denied", "no statement allows it")
