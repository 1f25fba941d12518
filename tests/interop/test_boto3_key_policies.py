"""The policy of a key as boto3 puts and gets it. What policies decide is in ``test_boto3_policies``."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.harness import ACCOUNT, refusal
from tests.interop.answers import members


def policy(principal: str = f"arn:aws:iam::{ACCOUNT}:root", **more: Any) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "kms:*", "Resource": "*", **more}
    return {"Version": "2012-10-17", "Statement": [statement]}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(policy()),
        json.dumps(policy(), indent=7) + "\n\t ",
        json.dumps(dict(reversed(policy().items()))),
        json.dumps(policy(Sid="\u00fc \u00bf"), ensure_ascii=False),
        json.dumps(policy(Sid="\u00fc \u2028")),
    ],
    ids=["plain", "spaces", "reordered", "unicode", "escapes"],
)
def test_a_policy_comes_back_byte_for_byte(kms: Any, text: str) -> None:
    key_id = kms.create_key(Policy=text)["KeyMetadata"]["KeyId"]
    answer = kms.get_key_policy(KeyId=key_id, PolicyName="default")
    assert members(answer) == {"Policy", "PolicyName"}
    assert answer["PolicyName"] == "default"
    assert answer["Policy"].encode() == text.encode()
    assert kms.get_key_policy(KeyId=key_id)["Policy"] == text


def test_a_key_without_policy_has_the_default_one(kms: Any, key: dict[str, Any]) -> None:
    found = json.loads(kms.get_key_policy(KeyId=key["Arn"], PolicyName="default")["Policy"])
    (statement,) = found["Statement"]
    assert (found["Version"], found["Id"]) == ("2012-10-17", "key-default-1")
    assert statement["Principal"] == {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    assert (statement["Effect"], statement["Action"], statement["Resource"]) == ("Allow", "kms:*", "*")


def test_no_policy_but_the_default_one_exists(kms: Any, key: dict[str, Any]) -> None:
    assert refusal(kms.get_key_policy, KeyId=key["KeyId"], PolicyName="other").type == "NotFoundException"


def test_a_policy_that_locks_its_maker_out_needs_the_bypass(kms: Any) -> None:
    text = json.dumps(policy("arn:aws:iam::111111111111:root"))
    refused = refusal(kms.create_key, Policy=text)
    assert refused == (
        "MalformedPolicyDocumentException",
        "The new key policy will not allow you to update the key policy in the future.",
        400,
    )
    key_id = kms.create_key(Policy=text, BypassPolicyLockoutSafetyCheck=True)["KeyMetadata"]["KeyId"]
    refused = refusal(kms.encrypt, KeyId=key_id, Plaintext=b"x")
    assert (refused.type, refused.status) == ("AccessDeniedException", 400)
    assert refused.message.startswith(
        f"User: arn:aws:iam::{ACCOUNT}:user/admin is not authorized to perform: kms:Encrypt"
    )


@pytest.mark.parametrize("text", ["{", "[]", "null", "{}", '{"Statement": 1}', '{"Statement": [{"Effect": "Maybe"}]}'])
def test_a_policy_that_is_none_is_malformed(kms: Any, text: str) -> None:
    assert refusal(kms.create_key, Policy=text).type == "MalformedPolicyDocumentException"


def test_a_policy_of_more_than_32_kilobytes_is_refused(kms: Any) -> None:
    refused = refusal(kms.create_key, Policy=json.dumps(policy()) + " " * 32_768)
    assert refused.status == 400
    assert refused.type in ("LimitExceededException", "MalformedPolicyDocumentException")


def test_a_policy_element_that_is_not_known_allows_nothing(kms: Any) -> None:
    text = json.dumps(policy(Condition={"Bool": {"aws:MultiFactorAuthPresent": "true"}}))
    key_id = kms.create_key(Policy=text, BypassPolicyLockoutSafetyCheck=True)["KeyMetadata"]["KeyId"]
    assert refusal(kms.encrypt, KeyId=key_id, Plaintext=b"x").type == "AccessDeniedException"
