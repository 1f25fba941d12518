"""A policy is read whole or refused with what is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controlplane.domain.policy import ADMINISTRATOR_POLICY, default_key_policy, evaluate, parse_policy
from controlplane.errors import InvalidPolicy

ACCOUNT = "111122223333"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"
ALICE = f"arn:aws:iam::{ACCOUNT}:user/alice"


def statement(**changes: Any) -> dict[str, Any]:
    """A key policy statement; a change to None takes the element away."""
    whole = {"Effect": "Allow", "Principal": {"AWS": ROOT}, "Action": "kms:*", "Resource": "*"} | changes
    return {name: value for name, value in whole.items() if value is not None}


def document(*statements: Any, **elements: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)} | elements)


@pytest.mark.parametrize(
    "text",
    [
        document(statement()),
        document(statement(), Id="key-consolepolicy-2"),
        document(statement(Sid="Enable IAM User Permissions")),
        document(statement(), Version="2008-10-17"),
        json.dumps({"Statement": statement()}),
        document(statement(Principal="*")),
        document(statement(Principal={"AWS": "*"})),
        document(statement(Principal={"AWS": [ACCOUNT, ALICE, f"arn:aws:iam::{ACCOUNT}:role/path/to/Role+x"]})),
        document(statement(Principal={"AWS": f"arn:aws:sts::{ACCOUNT}:assumed-role/Role/session@example.com"})),
        document(statement(Principal={"AWS": f"arn:aws:sts::{ACCOUNT}:federated-user/bob"})),
        document(statement(Principal={"AWS": f"arn:aws-us-gov:iam::{ACCOUNT}:root"})),
        document(statement(Principal={"Service": "logs.us-east-1.amazonaws.com", "AWS": ALICE})),
        document(statement(Principal={"Federated": "accounts.google.com"})),
        document(statement(Principal={"CanonicalUser": "79a59df900b949e5"})),
        document(statement(Effect="Deny", Principal=None, NotPrincipal={"AWS": [ALICE, ROOT]})),
        document(statement(Action=None, NotAction=["kms:Decrypt", "*"])),
        document(statement(Resource=None, NotResource="arn:aws:kms:*:*:key/*")),
        document(statement(Condition={})),
        document(statement(Condition={"Null": {"kms:EncryptionContextKeys": False}})),
        default_key_policy(ACCOUNT),
    ],
)
def test_reads_what_aws_accepts(text: str) -> None:
    assert parse_policy(text)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ('{"Statement": [NaN]}', "not a JSON value"),
        ("[" * 100_000, "not valid JSON"),
        ('{"Statement":' + "[" * 100_000 + "]" * 100_000 + "}", "not valid JSON"),
        ("null", "not a JSON object"),
        ("[]", "not a JSON object"),
        ("{}", "no Statement"),
        (document(), "no Statement"),
        (document("x"), "statement 1 is not an object"),
        (document(statement(), Version="2012-10-18"), "Version is"),
        (document(statement(), Version=None), "Version is"),
        (document(statement(), Id=7), "Id is a string"),
        (document(statement(), Extra=1), "unknown element 'Extra'"),
        (document(statement(Sid=7)), "Sid is a string"),
        (document(statement(Effect="allow")), "Effect is Allow or Deny"),
        (document(statement(Effect=None)), "Effect is Allow or Deny"),
        (document(statement(action="kms:*")), "unknown element 'action'; write Action"),
        (document(statement(Scope="x")), "unknown element 'Scope'"),
        (document(statement(Action=None)), "either Action or NotAction"),
        (document(statement(NotAction="kms:*")), "either Action or NotAction"),
        (document(statement(Action=[])), "Action is a string"),
        (document(statement(Action=5)), "Action is a string"),
        (document(statement(Action=["kms:*", 5])), "Action is a string"),
        (document(statement(Action="kms")), "service:name"),
        (document(statement(Action="kms:${aws:username}")), "service:name"),
        (document(statement(Action="kms:" + "*" * 2048)), "at most"),
        (document(statement(Resource=None)), "either Resource or NotResource"),
        (document(statement(Resource="")), "Resource is a string"),
        (document(statement(Resource="arn:aws:kms:*:*:key/${")), "policy variable"),
        (document(statement(Resource="arn:aws:kms:${aws:RequestedRegion}:1:key/x")), "last part"),
        (document(statement(Principal=None)), "names its Principal"),
        (document(statement(NotPrincipal="*")), "names its Principal"),
        (document(statement(Principal=None, NotPrincipal={"AWS": ALICE})), "Deny statements only"),
        (document(statement(Principal=ALICE)), 'Principal is "*" or an object'),
        (document(statement(Principal={})), 'Principal is "*" or an object'),
        (document(statement(Principal={"AWS": []})), "Principal.AWS is a string"),
        (document(statement(Principal={"User": ALICE})), "unknown element 'User'"),
        (document(statement(Principal={"AWS": "alice"})), "is not an account id"),
        (document(statement(Principal={"AWS": "1111"})), "is not an account id"),
        (document(statement(Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:user/*"})), "is not an account id"),
        (document(statement(Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:user/a?"})), "is not an account id"),
        (document(statement(Principal={"AWS": "arn:aws:iam::*:root"})), "is not an account id"),
        (document(statement(Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:group/x"})), "is not an account id"),
        (document(statement(Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:user/${{aws:username}}"})), "not an account id"),
        (document(statement(Principal={"AWS": f"arn:aws:sts::{ACCOUNT}:assumed-role/Role/*"})), "is not an account id"),
        (document(statement(Condition=None) | {"Condition": None}), "Condition is an object"),
        (document(statement(Sid="Mine", Effect="X")), "statement Mine: Effect"),
        ('{"Statement":{"Effect":"Allow","Effect":"Deny"}}', "'Effect' stands twice"),
    ],
)
def test_refuses_with_what_is_wrong(text: str, wrong: str) -> None:
    with pytest.raises(InvalidPolicy) as refused:
        parse_policy(text)
    assert wrong in refused.value.message
    decision = evaluate(
        principal=ALICE,
        account=ACCOUNT,
        action="kms:Encrypt",
        resource="*",
        key_policy=text,
        identity_policies=(ADMINISTRATOR_POLICY,),
    )
    assert not decision.allowed and decision.explicit


@pytest.mark.parametrize("element", ["Principal", "NotPrincipal"])
def test_an_identity_policy_names_no_principal(element: str) -> None:
    text = document(statement(Principal=None) | {element: "*"})
    with pytest.raises(InvalidPolicy, match=f"has no {element}"):
        parse_policy(text, identity=True)
    assert parse_policy(document(statement(Principal=None)), identity=True)


@pytest.mark.parametrize("element", ["Resource", "NotResource"])
def test_a_trust_policy_names_no_resource(element: str) -> None:
    trust = {"Effect": "Allow", "Principal": {"AWS": ALICE}, "Action": "sts:AssumeRole"}
    (read,) = parse_policy(document(trust), trust=True)
    assert read.any_resource
    with pytest.raises(InvalidPolicy, match=f"has no {element}"):
        parse_policy(document(trust | {element: "*"}), trust=True)
    with pytest.raises(InvalidPolicy, match="either Resource or NotResource"):
        parse_policy(document(trust))
    with pytest.raises(InvalidPolicy, match="names its Principal"):
        parse_policy(document({"Effect": "Allow", "Action": "sts:AssumeRole"}), trust=True)


def test_a_trust_policy_excepts_nobody() -> None:
    """IAM User Guide, "NotPrincipal": it stands in no trust policy."""
    but = {"Effect": "Deny", "NotPrincipal": {"AWS": ALICE}, "Action": "sts:AssumeRole"}
    assert parse_policy(document(but | {"Resource": "*"}))
    with pytest.raises(InvalidPolicy, match="a trust policy has no NotPrincipal"):
        parse_policy(document(but), trust=True)


def test_the_same_text_is_judged_apart_as_what_it_is() -> None:
    """A trust policy that is remembered is none for a key, and the other way round."""
    trust = document({"Effect": "Allow", "Principal": {"AWS": ALICE}, "Action": "*"})

    def asked(**more: Any) -> bool:
        return evaluate(
            principal=ALICE,
            account=ACCOUNT,
            action="sts:AssumeRole",
            resource="*",
            key_policy=trust,
            identity_policies=(),
            **more,
        ).allowed

    assert [asked(trust=True), asked(), asked(trust=True), asked()] == [True, False, True, False]


def test_a_message_is_safe_to_print() -> None:
    with pytest.raises(InvalidPolicy) as refused:
        parse_policy(document(statement(Principal={"AWS": "\ud800\x1b[2J" + "x" * 10_000})))
    assert refused.value.message.isascii() and len(refused.value.message) < 300
    (read,) = parse_policy(document(statement(Sid="\ud800" + "x" * 10_000)))
    assert len(read.label.encode()) <= 128
