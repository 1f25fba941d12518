"""Key policies as boto3 sees them: kept byte for byte, refused with a reason, none that locks its writer out."""

from __future__ import annotations

import json
import time
import uuid
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
    assert refusal(kms.list_key_policies, KeyId=key_id, Marker="x").type == "ValidationException"


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


# ---- other callers ---------------------------------------------------------------------------------------------------


def person(server: Server, *statements: dict[str, Any], **spec: Any) -> Any:
    """A boto3 client of a user with an identity policy of these statements, and its ARN."""
    made = server.person(f"p-{uuid.uuid4()}", *statements, **spec)
    return server.kms_of(made), made.arn


def may(action: Any, **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": "*", **more}


def denied(call: Any, **arguments: Any) -> None:
    assert refusal(call, **arguments).type == "AccessDeniedException", arguments


def test_identity_policies_count_only_where_the_key_policy_lets_the_account_decide(
    shared_server: Server, kms: Any, key_id: str
) -> None:
    theirs, arn = person(shared_server, may("kms:Encrypt"))
    theirs.encrypt(KeyId=key_id, Plaintext=b"x")
    denied(theirs.decrypt, CiphertextBlob=b"x" * 100, KeyId=key_id)
    put(kms, key_id, policy(allow(ADMIN)))
    denied(theirs.encrypt, KeyId=key_id, Plaintext=b"x")
    put(kms, key_id, policy(allow(ADMIN), allow(arn, "kms:Decrypt")))
    denied(theirs.encrypt, KeyId=key_id, Plaintext=b"x")
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
    assert theirs.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def test_a_deny_in_an_identity_policy_beats_the_key_policy(shared_server: Server, kms: Any, key_id: str) -> None:
    theirs, arn = person(shared_server, may("kms:*"), {**may("kms:Enc*"), "Effect": "Deny"})
    put(kms, key_id, policy(allow(), allow(arn)))
    theirs.describe_key(KeyId=key_id)
    denied(theirs.encrypt, KeyId=key_id, Plaintext=b"x")


def test_a_denial_says_what_is_missing_and_names_no_statement(shared_server: Server, kms: Any, key_id: str) -> None:
    theirs, arn = person(shared_server, {**may("kms:Sign"), "Effect": "Deny", "Sid": "Secret"})
    start = f"User: {arn} is not authorized to perform: kms:{{}} on resource: "

    def told(call: Any, action: str, **more: Any) -> str:
        refused = refusal(call, KeyId=key_id, **more)
        assert refused.message.startswith(start.format(action)), refused
        return refused.message.rpartition(key_id)[2]

    encrypt = (theirs.encrypt, "Encrypt")
    sign = {"Message": b"x", "SigningAlgorithm": "ECDSA_SHA_256"}
    assert told(*encrypt, Plaintext=b"x") == " because no identity-based policy allows the kms:Encrypt action"
    assert told(theirs.sign, "Sign", **sign) == " with an explicit deny in an identity-based policy"
    put(kms, key_id, policy(allow(ADMIN)))
    assert told(*encrypt, Plaintext=b"x") == " because no resource-based policy allows the kms:Encrypt action"
    put(kms, key_id, policy(allow(ADMIN), {**allow(arn, Sid="Hidden"), "Effect": "Deny"}))
    assert told(*encrypt, Plaintext=b"x") == " with an explicit deny in a resource-based policy"


def test_not_principal_spares_only_who_is_named(shared_server: Server, kms: Any, key_id: str) -> None:
    theirs, arn = person(shared_server, may("kms:*"))
    other, _ = person(shared_server, may("kms:*"))
    deny = {"Effect": "Deny", "NotPrincipal": {"AWS": [ADMIN, arn]}, "Action": "kms:Encrypt", "Resource": "*"}
    put(kms, key_id, policy(allow(), deny))
    theirs.encrypt(KeyId=key_id, Plaintext=b"x")
    denied(other.encrypt, KeyId=key_id, Plaintext=b"x")


def test_tags_of_key_and_caller_can_be_compared(shared_server: Server, kms: Any) -> None:
    same = {"StringEquals": {"aws:ResourceTag/team": "${aws:PrincipalTag/team}"}}
    blue, _ = person(shared_server, may("kms:Encrypt", Condition=same), tags={"team": "blue"})
    none, _ = person(shared_server, may("kms:Encrypt", Condition=same))
    key_id = kms.create_key(Tags=[{"TagKey": "team", "TagValue": "blue"}])["KeyMetadata"]["KeyId"]
    blue.encrypt(KeyId=key_id, Plaintext=b"x")
    denied(none.encrypt, KeyId=key_id, Plaintext=b"x")
    kms.tag_resource(KeyId=key_id, Tags=[{"TagKey": "team", "TagValue": "red"}])
    denied(blue.encrypt, KeyId=key_id, Plaintext=b"x")
    kms.untag_resource(KeyId=key_id, TagKeys=["team"])
    denied(blue.encrypt, KeyId=key_id, Plaintext=b"x")


def test_create_key_is_held_to_what_the_key_is_to_be(shared_server: Server) -> None:
    limits = {
        "StringEquals": {"kms:KeySpec": "ECC_NIST_P256", "kms:KeyUsage": "SIGN_VERIFY", "aws:RequestTag/team": "blue"},
        "ForAllValues:StringEquals": {"aws:TagKeys": ["team", "stage"]},
        "Bool": {"kms:MultiRegion": "false", "kms:BypassPolicyLockoutSafetyCheck": "false"},
    }
    theirs, _ = person(shared_server, may("kms:CreateKey", Condition=limits), may("kms:TagResource", Condition=limits))
    untagging, _ = person(shared_server, may("kms:CreateKey"))
    tag = {"TagKey": "team", "TagValue": "blue"}
    good = {"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY", "Tags": [tag]}
    theirs.create_key(**good)
    refused = refusal(untagging.create_key, **good)
    assert refused.type == "AccessDeniedException"
    assert "is not authorized to perform: kms:TagResource on resource: *" in refused.message
    untagging.create_key(**{**good, "Tags": []})
    for wrong in (
        {"KeySpec": "ECC_NIST_P384"},
        {"KeyUsage": "KEY_AGREEMENT"},
        {"MultiRegion": True},
        {"BypassPolicyLockoutSafetyCheck": True},
        {"Tags": [{**tag, "TagValue": "red"}]},
        {"Tags": [tag, {"TagKey": "other", "TagValue": "x"}]},
        {"Tags": []},
    ):
        denied(theirs.create_key, **{**good, **wrong})
    denied(theirs.create_key)


def test_a_key_in_use_can_be_kept_from_deletion(shared_server: Server, kms: Any, key_id: str) -> None:
    idle = {"NumericGreaterThanEquals": {"kms:TrailingDaysWithoutKeyUsage": "30"}}
    careful, _ = person(shared_server, may(["kms:DisableKey", "kms:ScheduleKeyDeletion"], Condition=idle))
    kms.encrypt(KeyId=key_id, Plaintext=b"x")
    denied(careful.schedule_key_deletion, KeyId=key_id)
    denied(careful.disable_key, KeyId=key_id)
    today = {"NumericLessThan": {"kms:TrailingDaysWithoutKeyUsage": "1"}}
    window = {"NumericGreaterThan": {"kms:ScheduleKeyDeletionPendingWindowInDays": "20"}}
    hasty, _ = person(shared_server, may("kms:ScheduleKeyDeletion", Condition={**today, **window}))
    denied(hasty.schedule_key_deletion, KeyId=key_id, PendingWindowInDays=7)
    hasty.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=21)


def test_circumstances_of_the_request_can_be_asked(shared_server: Server, key_id: str) -> None:
    for condition, allowed in (
        ({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, True),
        ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, False),
        ({"Bool": {"aws:SecureTransport": "true"}}, False),
        ({"StringLike": {"aws:UserAgent": "Boto3/*"}}, True),
        ({"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}, True),
        ({"DateLessThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}, False),
        ({"StringEquals": {"aws:RequestedRegion": "us-east-1"}}, True),
        ({"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}}, False),
        ({"Null": {"kms:ViaService": "true", "aws:SourceVpc": "true"}}, True),
        ({"StringEquals": {"kms:EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}}, True),
        ({"StringLike": {"aws:username": "p-*"}}, True),
    ):
        theirs, _ = person(shared_server, may("kms:Encrypt", Condition=condition))
        if allowed:
            theirs.encrypt(KeyId=key_id, Plaintext=b"x")
        else:
            denied(theirs.encrypt, KeyId=key_id, Plaintext=b"x")


def test_a_huge_policy_is_judged_in_good_time(shared_server: Server, kms: Any, key_id: str) -> None:
    """As many statements as fit, each with a condition on every request."""
    _, arn = person(shared_server)
    condition = {"StringNotLike": {"kms:EncryptionContext:k": "*a*b*c*d*e*"}}
    statements = [allow()]
    while len(policy(*statements)) < 32_000:
        statements.append({**allow(arn, f"kms:Encrypt{len(statements)}*"), "Condition": condition})
    put(kms, key_id, policy(*statements))
    started = time.monotonic()
    for _ in range(20):
        kms.encrypt(KeyId=key_id, Plaintext=b"x", EncryptionContext={"k": "abcd" * 1_000})
    assert time.monotonic() - started < 20
