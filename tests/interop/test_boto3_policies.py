"""Key policies as boto3 sees them: kept byte for byte, refused with a reason, none that locks its writer out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.harness import ACCOUNT, Server, refusal

ROOT = f"arn:aws:iam::{ACCOUNT}:root"
ADMIN = f"arn:aws:iam::{ACCOUNT}:user/admin"


@pytest.fixture(scope="session")
def kms(shared_server: Server) -> Any:
    return shared_server.kms()


@pytest.fixture
def key_id(kms: Any) -> str:
    return kms.create_key()["KeyMetadata"]["KeyId"]


def policy(*statements: dict[str, Any], **more: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements), **more})


def allow(principal: Any = ROOT, action: Any = "kms:*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": action, "Resource": "*", **more}


def put(kms: Any, key_id: str, text: str, **more: Any) -> None:
    kms.put_key_policy(KeyId=key_id, Policy=text, **more)


# ---- kept as put -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        policy(allow()),
        json.dumps(json.loads(policy(allow())), indent=7),
        '{"Statement":[{"Resource":"*","Principal":"*","Effect":"Allow","Action":"kms:*"}],\t"Version":"2012-10-17"}\n\n',
        policy(allow(Sid="öÿ \u00a0")).replace("\\u00f6", "ö"),
        '{"Version":"2012-10-17","Id":"\\u006bey","Statement":[{"Effect":"Allow","Principal":{"AWS":["' + ROOT + '"]},'
        '"Action":["kms:*"],"Resource":["*"]}]}',
    ],
    ids=["plain", "indented", "unordered", "latin-1", "escapes"],
)
def test_a_policy_comes_back_byte_for_byte(kms: Any, key_id: str, text: str) -> None:
    put(kms, key_id, text)
    answer = kms.get_key_policy(KeyId=key_id)
    assert answer["Policy"] == text
    assert answer["PolicyName"] == "default"
    created = kms.create_key(Policy=text)["KeyMetadata"]
    assert kms.get_key_policy(KeyId=created["Arn"], PolicyName="default")["Policy"] == text


def test_a_policy_can_be_as_long_as_the_quota_and_no_longer(kms: Any, key_id: str) -> None:
    text = policy(allow(), Id="x")
    longest = text.replace('"Id": "x"', '"Id": "' + "x" * (32_768 - len(text) + 1) + '"')
    put(kms, key_id, longest)
    assert kms.get_key_policy(KeyId=key_id)["Policy"] == longest
    refused = refusal(kms.put_key_policy, KeyId=key_id, Policy=longest.replace("x", "xx", 1))
    assert refused.type == "LimitExceededException"
    assert refusal(kms.create_key, Policy=longest.replace("x", "xx", 1)).type == "LimitExceededException"


def test_a_key_has_one_policy_and_it_is_called_default(kms: Any, key_id: str) -> None:
    answer = kms.list_key_policies(KeyId=key_id)
    assert (answer["PolicyNames"], answer["Truncated"]) == (["default"], False)
    pages = kms.get_paginator("list_key_policies").paginate(KeyId=key_id, PaginationConfig={"PageSize": 1})
    assert [name for page in pages for name in page["PolicyNames"]] == ["default"]
    assert refusal(kms.get_key_policy, KeyId=key_id, PolicyName="AWS_RAM").type == "NotFoundException"
    assert refusal(kms.get_key_policy, KeyId=key_id, PolicyName="other").type == "NotFoundException"
    text = kms.get_key_policy(KeyId=key_id)["Policy"]
    ram = refusal(kms.put_key_policy, KeyId=key_id, Policy=text, PolicyName="AWS_RAM")
    assert ram == ("ValidationException", "The AWS_RAM policy can only be managed by the RAM service.", 400)
    assert refusal(kms.put_key_policy, KeyId=key_id, Policy=text, PolicyName="other").type == "NotFoundException"
    put(kms, key_id, text, PolicyName="default")
    assert refusal(kms.list_key_policies, KeyId=key_id, Marker="x").type == "InvalidMarkerException"


def test_policies_take_a_key_and_no_alias(kms: Any, key_id: str) -> None:
    for call, more in ((kms.get_key_policy, {}), (kms.list_key_policies, {}), (kms.put_key_policy, {"Policy": "{}"})):
        assert refusal(call, KeyId="alias/none", **more).type == "ValidationException"
        assert refusal(call, KeyId="11111111-2222-3333-4444-555555555555", **more).type == "NotFoundException"


# ---- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nothing", "not valid JSON"),
        ("[]", "not a JSON object"),
        ("{" * 30_000, "not valid JSON"),
        ('{"Version":"2012-10-17","Statement":[]}', "no Statement"),
        ('{"Version":"2031-01-01","Statement":[{}]}', "Version is 2012-10-17"),
        (policy(allow(Condition={"StringLikes": {"aws:username": "a"}})), "no condition operator"),
        (policy(allow(f"arn:aws:iam::{ACCOUNT}:user/*")), "is not an account id"),
        (policy(allow("arn:aws:iam::{ACCOUNT}:user/аdmin".encode("ascii", "ignore").decode())), "is not an account id"),
        (policy({**allow(), "Permission": "all"}), "unknown element"),
        (policy(allow()).replace('"Allow"', '"Allow", "Effect": "Deny"'), "stands twice"),
    ],
)
def test_a_policy_that_cannot_be_read_is_refused_and_changes_nothing(
    kms: Any, key_id: str, text: str, says: str
) -> None:
    before = kms.get_key_policy(KeyId=key_id)["Policy"]
    for call, arguments in ((kms.put_key_policy, {"KeyId": key_id}), (kms.create_key, {})):
        for more in ({}, {"BypassPolicyLockoutSafetyCheck": True}):
            refused = refusal(call, Policy=text, **arguments, **more)
            assert refused.type == "MalformedPolicyDocumentException"
            assert says in refused.message
    assert kms.get_key_policy(KeyId=key_id)["Policy"] == before


def test_characters_outside_the_models_pattern_are_refused(kms: Any, key_id: str) -> None:
    for text in (policy(allow()) + "\u0100", policy(allow()) + "\x00"):
        assert refusal(kms.put_key_policy, KeyId=key_id, Policy=text).type == "ValidationException"


# ---- the lock-out check ----------------------------------------------------------------------------------------------

LOCKING = [
    policy(allow(f"arn:aws:iam::{ACCOUNT}:user/somebody")),
    policy(allow("999999999999")),
    policy(allow(action="kms:Encrypt")),
    policy(allow(), {**allow(ADMIN, "kms:PutKeyPolicy"), "Effect": "Deny"}),
    policy(allow(Condition={"Bool": {"aws:SecureTransport": "true"}})),
    policy(allow(Condition={"StringEquals": {"aws:PrincipalTag/team": "nobody's"}})),
]


@pytest.mark.parametrize("text", LOCKING)
def test_no_policy_locks_its_writer_out_by_accident(kms: Any, key_id: str, text: str) -> None:
    before = kms.get_key_policy(KeyId=key_id)["Policy"]
    wanted = (
        "MalformedPolicyDocumentException",
        "The new key policy will not allow you to update the key policy in the future.",
        400,
    )
    assert refusal(kms.put_key_policy, KeyId=key_id, Policy=text) == wanted
    assert refusal(kms.create_key, Policy=text) == wanted
    assert kms.get_key_policy(KeyId=key_id)["Policy"] == before


def test_who_insists_is_locked_out(kms: Any, key_id: str) -> None:
    put(kms, key_id, LOCKING[0], BypassPolicyLockoutSafetyCheck=True)
    assert refusal(kms.get_key_policy, KeyId=key_id).type == "AccessDeniedException"
    assert refusal(kms.encrypt, KeyId=key_id, Plaintext=b"x").type == "AccessDeniedException"
    other = kms.create_key(Policy=LOCKING[0], BypassPolicyLockoutSafetyCheck=True)["KeyMetadata"]["KeyId"]
    assert refusal(kms.describe_key, KeyId=other).type == "AccessDeniedException"


def test_a_policy_holds_with_the_next_request(kms: Any, key_id: str) -> None:
    put(kms, key_id, policy(allow(), {**allow("*", "kms:Encrypt"), "Effect": "Deny", "Sid": "Rest"}))
    refused = refusal(kms.encrypt, KeyId=key_id, Plaintext=b"x")
    assert refused.type == "AccessDeniedException"
    assert refused.message.startswith(f"User: {ADMIN} is not authorized to perform: kms:Encrypt on resource: arn:aws:")
    put(kms, key_id, policy(allow()))
    kms.encrypt(KeyId=key_id, Plaintext=b"x")


def test_a_key_policy_sees_the_encryption_context_and_the_alias(kms: Any, key_id: str) -> None:
    alias = f"alias/policy-{key_id}"
    kms.create_alias(AliasName=alias, TargetKeyId=key_id)
    only = {"StringEquals": {"kms:EncryptionContext:app": "billing"}}
    put(
        kms,
        key_id,
        policy(
            allow(ADMIN, ["kms:PutKeyPolicy", "kms:GetKeyPolicy"]),
            allow(ADMIN, "kms:Encrypt", Condition=only),
            allow(ADMIN, "kms:Decrypt", Condition={"StringEquals": {"kms:RequestAlias": alias}}),
        ),
    )
    context = {"app": "billing"}
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"x", EncryptionContext=context)["CiphertextBlob"]
    for wrong in ({"app": "Billing"}, {"App": "x"}, {}, {"app": "billing", "APP": "other"}):
        assert refusal(kms.encrypt, KeyId=key_id, Plaintext=b"x", EncryptionContext=wrong).type == (
            "AccessDeniedException"
        )
    asked = {"CiphertextBlob": blob, "EncryptionContext": context}
    assert kms.decrypt(**asked, KeyId=alias)["Plaintext"] == b"x"
    assert refusal(kms.decrypt, **asked, KeyId=key_id).type == "AccessDeniedException"
    assert refusal(kms.decrypt, **asked).type == "AccessDeniedException"


def test_a_policy_that_is_slow_to_match_for_a_regular_expression_is_not_here(kms: Any, key_id: str) -> None:
    """Many stars over a long value: what takes a backtracking matcher for ever is decided at once."""
    stars = "*a" * 500 + "b"
    condition = {"StringNotLike": {"kms:EncryptionContext:k": stars}}
    put(kms, key_id, policy(allow(Condition=condition)), BypassPolicyLockoutSafetyCheck=True)
    kms.encrypt(KeyId=key_id, Plaintext=b"x", EncryptionContext={"k": "a" * 8_000})
