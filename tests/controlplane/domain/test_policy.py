"""Who may: a deny wins, the account is asked only where the key policy lets it, and what is not understood denies.

Told here from outside, through ``evaluate`` and ``parse_policy`` alone, with the rules written down once more as an
oracle; ``test_policy_*`` go into conditions, variables, documents and wildcards.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.domain import policy
from controlplane.domain.policy import Decision, evaluate, parse_policy
from controlplane.errors import InvalidPolicy

ACCOUNT = "123456789012"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"
ALICE = f"arn:aws:iam::{ACCOUNT}:user/alice"
BOB = f"arn:aws:iam::{ACCOUNT}:user/bob"
KEY = f"arn:aws:kms:eu-central-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"


def statement(effect: str = "Allow", **elements: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": "kms:*", "Resource": "*", **elements}


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def decide(
    key_policy: str | None,
    *identity: str,
    principal: str = ALICE,
    action: str = "kms:Encrypt",
    resource: str = KEY,
) -> Decision:
    return evaluate(
        principal=principal,
        account=ACCOUNT,
        action=action,
        resource=resource,
        key_policy=key_policy,
        identity_policies=identity,
    )


def allows(key_policy: str | None, *identity: str, **request: str) -> bool:
    return decide(key_policy, *identity, **request).allowed


DELEGATING = policy.default_key_policy(ACCOUNT)
ALLOW_ALL = document(statement())
DENY_ALL = document(statement("Deny"))
TO_ALICE = document(statement(Principal={"AWS": ALICE}))


# ---- the order -------------------------------------------------------------------------------------------------------


def test_no_statement_means_no() -> None:
    assert not allows(TO_ALICE, principal=BOB)
    assert not allows(DELEGATING)
    assert not allows(None)


def test_the_key_policy_may_allow_a_principal_by_itself() -> None:
    assert allows(TO_ALICE)
    assert allows(document(statement(Principal="*")), principal=BOB)
    assert allows(document(statement(Principal={"AWS": "*"})), principal=BOB)


@pytest.mark.parametrize("named", [ROOT, ACCOUNT])
def test_the_account_in_a_key_policy_lets_identity_policies_decide_and_allows_nobody_itself(named: str) -> None:
    key_policy = document(statement(Principal={"AWS": named}))
    assert allows(key_policy, ALLOW_ALL)
    assert not allows(key_policy)
    assert not allows(key_policy, document(statement(Action="kms:Decrypt")))


def test_an_identity_policy_alone_opens_no_key() -> None:
    decision = decide(document(statement(Principal={"AWS": BOB})), ALLOW_ALL)
    assert not decision.allowed
    assert "does not let identity policies" in decision.reason


def test_delegation_reaches_as_far_as_its_statement() -> None:
    key_policy = document(statement(Principal={"AWS": ROOT}, Action="kms:Describe*"))
    assert allows(key_policy, ALLOW_ALL, action="kms:DescribeKey")
    assert not allows(key_policy, ALLOW_ALL, action="kms:Encrypt")


@pytest.mark.parametrize("denied", ["*", {"AWS": ALICE}, {"AWS": [BOB, ALICE]}, {"AWS": ROOT}, {"AWS": ACCOUNT}])
def test_an_explicit_deny_of_the_key_policy_wins(denied: Any) -> None:
    key_policy = document(statement(Principal={"AWS": ALICE}), statement("Deny", Principal=denied, Sid="No"))
    decision = decide(key_policy, ALLOW_ALL)
    assert (decision.allowed, decision.reason) == (False, "denied by statement No of the key policy")


def test_an_explicit_deny_of_an_identity_policy_wins_over_the_key_policy() -> None:
    assert not allows(TO_ALICE, DENY_ALL)
    assert not allows(TO_ALICE, ALLOW_ALL, DENY_ALL)


def test_a_deny_for_another_principal_action_or_resource_does_not_concern_the_request() -> None:
    others = (
        statement("Deny", Principal={"AWS": BOB}),
        statement("Deny", Principal="*", Action="kms:Decrypt"),
        statement("Deny", Principal="*", Resource=KEY[:-1]),
        statement("Deny", Principal={"Service": "ec2.amazonaws.com"}),
    )
    assert allows(document(statement(Principal={"AWS": ALICE}), *others))


def test_without_a_key_identity_policies_decide_alone() -> None:
    assert allows(None, ALLOW_ALL, action="kms:CreateKey", resource="*")
    assert not allows(None, ALLOW_ALL, DENY_ALL, action="kms:CreateKey", resource="*")


def test_the_decision_names_the_statement() -> None:
    assert decide(document(statement(Principal="*", Sid="Everyone"))).reason.startswith("allowed by statement Everyone")
    assert decide(document(statement(Principal="*"))).reason.startswith("allowed by statement #1 ")


# ---- what is not understood ------------------------------------------------------------------------------------------

UNKNOWN: list[dict[str, Any]] = [
    {"Condition": {"StringResembles": {"kms:ViaService": "ec2"}}},
    {"Condition": ["StringEquals"]},
    {"NotPrincipal": {"AWS": BOB}},
    {"NotAction": "kms:Decrypt"},
    {"NotResource": "nothing"},
    {"Foo": None},
    {"action": "kms:*"},
]


@pytest.mark.parametrize("element", UNKNOWN, ids=json.dumps)
def test_an_allow_with_an_unknown_element_allows_nobody(element: dict[str, Any]) -> None:
    assert not allows(document(statement(Principal={"AWS": ALICE}, **element)))
    assert not allows(document(statement(Principal={"AWS": ROOT}, **element)), ALLOW_ALL)
    assert not allows(DELEGATING, document(statement(**element))) if "NotPrincipal" not in element else True


@pytest.mark.parametrize("element", UNKNOWN, ids=json.dumps)
def test_a_deny_with_an_unknown_element_denies(element: dict[str, Any]) -> None:
    permits = statement(Principal={"AWS": ALICE})
    assert not allows(document(permits, statement("Deny", **{"Principal": {"AWS": ALICE}, **element})))
    if "NotPrincipal" not in element:
        assert not allows(TO_ALICE, document(statement("Deny", **element)))


@pytest.mark.parametrize(
    "negated", [{"NotAction": "kms:Decrypt"}, {"NotResource": "nothing"}, {"NotPrincipal": {"AWS": BOB}}]
)
def test_a_deny_by_what_is_not_named_denies_though_the_usual_element_is_absent(negated: dict[str, Any]) -> None:
    raw = statement("Deny", Principal="*")
    raw.pop(next(iter(negated)).removeprefix("Not"))
    assert not allows(document(statement(Principal={"AWS": ALICE}), {**raw, **negated}))


WRONG: list[Any] = [
    "",
    "{",
    "[]",
    '"Allow"',
    "{}",
    '{"Statement": []}',
    '{"Statement": "Allow"}',
    '{"Statement": [1]}',
    "[" * 100_000,
    document({"Effect": "Allow", "Action": "kms:*", "Resource": "*"}),  # no Principal
    document(statement("allow", Principal="*")),
    document(statement("Permit", Principal="*")),
    document({"Principal": "*", "Action": "kms:*", "Resource": "*"}),
    document(statement(Principal="*", Action=1)),
    document(statement(Principal="*", Action=["kms:*", 1])),
    document(statement(Principal="*", Action=None)),
    document(statement(Principal="*", Resource={})),
    document(statement(Principal=ALICE)),
    document(statement(Principal=[ALICE])),
    document(statement(Principal={"AWS": 1})),
    document(statement("Deny", Principal={"aws": "*"})),
    document(statement("Deny", Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:user/*"})),
    document(statement(Principal={"AWS": ALICE})).replace('"Effect"', '"Effect": "Deny", "Effect"'),
]


@pytest.mark.parametrize("text", WRONG, ids=lambda text: text[:60])
def test_a_policy_that_cannot_be_read_says_why_and_denies_even_what_others_allow(text: str) -> None:
    with pytest.raises(InvalidPolicy):
        parse_policy(text)
    assert not allows(text, ALLOW_ALL)


def test_an_identity_policy_that_cannot_be_read_denies_what_the_key_policy_allows() -> None:
    assert not allows(TO_ALICE, "{")
    assert not allows(TO_ALICE, document(statement(Principal="*")))


@given(st.text(max_size=200) | st.recursive(st.none() | st.text() | st.booleans(), st.lists).map(json.dumps))
def test_text_that_is_no_policy_denies_and_never_raises(text: str) -> None:
    assert not allows(text, ALLOW_ALL)
    assert not allows(TO_ALICE, text)


# ---- wildcards -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "action", "matches"),
    [
        ("kms:Encrypt", "kms:Encrypt", True),
        ("KMS:encrypt", "kms:Encrypt", True),
        ("kms:*", "kms:Encrypt", True),
        ("*", "kms:Encrypt", True),
        ("kms:En?rypt", "kms:Encrypt", True),
        ("kms:Encrypt?", "kms:Encrypt", False),
        ("kms:Encryp", "kms:Encrypt", False),
        ("kms:*Key*", "kms:GenerateDataKeyWithoutPlaintext", True),
        ("s3:*", "kms:Encrypt", False),
        ("", "kms:Encrypt", False),
    ],
)
def test_actions_match_with_wildcards_in_any_case(pattern: str, action: str, matches: bool) -> None:
    assert allows(document(statement(Principal="*", Action=pattern)), action=action) is matches


def test_resources_match_with_wildcards_in_their_own_case() -> None:
    for pattern, matches in (
        ("*", True),
        (KEY, True),
        (KEY.upper(), False),
        (KEY[:-3] + "?ab", True),
        (KEY + "?", False),
    ):
        assert allows(document(statement(Principal="*", Resource=[pattern]))) is matches, pattern


def oracle(pattern: str, text: str) -> bool:
    parts = (".*" if char == "*" else "." if char == "?" else re.escape(char) for char in pattern)
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


# ---- properties ------------------------------------------------------------------------------------------------------

principals = st.sampled_from(["*", {"AWS": "*"}, {"AWS": ALICE}, {"AWS": BOB}, {"AWS": ROOT}, {"AWS": [ACCOUNT, BOB]}])
elements = st.fixed_dictionaries(
    {
        "Action": st.sampled_from(["*", "kms:*", "kms:Encrypt", ["kms:De*", "kms:Encrypt"], "kms:Decrypt"]),
        "Resource": st.sampled_from(["*", KEY, "arn:aws:kms:*:*:key/*", "arn:aws:s3:::x"]),
    }
)
effects = st.sampled_from(["Allow", "Deny"])
identity_statements = st.builds(lambda effect, rest: {"Effect": effect, **rest}, effects, elements)
key_statements = st.builds(lambda some, who: {**some, "Principal": who}, identity_statements, principals)
key_documents = st.lists(key_statements, min_size=1, max_size=4)
identity_documents = st.lists(identity_statements, min_size=1, max_size=3)
requests = st.fixed_dictionaries(
    {"principal": st.sampled_from([ALICE, BOB]), "action": st.sampled_from(["kms:Encrypt", "kms:Decrypt", "kms:Sign"])}
)


@given(of_key=key_documents, of_identity=identity_documents, request=requests, data=st.data())
def test_an_added_deny_never_widens_and_an_added_allow_never_narrows(
    of_key: list[dict[str, Any]], of_identity: list[dict[str, Any]], request: dict[str, str], data: st.DataObject
) -> None:
    before = allows(document(*of_key), document(*of_identity), **request)
    position = data.draw(st.integers(0, len(of_key)))
    added = data.draw(key_statements)
    after = allows(document(*of_key[:position], added, *of_key[position:]), document(*of_identity), **request)
    assert after <= before if added["Effect"] == "Deny" else after >= before
    added = data.draw(identity_statements)
    after = allows(document(*of_key), document(*of_identity, added), **request)
    assert after <= before if added["Effect"] == "Deny" else after >= before


@given(of_key=key_documents, of_identity=identity_documents, request=requests, data=st.data())
def test_the_order_of_statements_decides_nothing(
    of_key: list[dict[str, Any]], of_identity: list[dict[str, Any]], request: dict[str, str], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(of_key))
    before = allows(document(*of_key), document(*of_identity), **request)
    assert allows(document(*shuffled), document(*of_identity), **request) is before


@given(of_key=key_documents, of_identity=identity_documents, request=requests)
def test_evaluation_agrees_with_the_rules_told_once_more(
    of_key: list[dict[str, Any]], of_identity: list[dict[str, Any]], request: dict[str, str]
) -> None:
    def covering(statements: list[dict[str, Any]], effect: str) -> Iterator[dict[str, Any]]:
        for each in statements:
            actions = [each["Action"]] if isinstance(each["Action"], str) else each["Action"]
            if (
                each["Effect"] == effect
                and any(oracle(one, request["action"]) for one in actions)
                and oracle(each["Resource"], KEY)
            ):
                yield each

    def named(each: dict[str, Any], *who: str) -> bool:
        names = each["Principal"] if isinstance(each["Principal"], str) else each["Principal"]["AWS"]
        return bool({names} & set(who) if isinstance(names, str) else set(names) & set(who))

    me = request["principal"]
    denied = any(named(each, me, "*", ROOT, ACCOUNT) for each in covering(of_key, "Deny"))
    denied = denied or any(covering(of_identity, "Deny"))
    direct = any(named(each, me, "*") for each in covering(of_key, "Allow"))
    delegated = any(named(each, ROOT, ACCOUNT) for each in covering(of_key, "Allow"))
    expected = not denied and (direct or (delegated and any(covering(of_identity, "Allow"))))
    assert allows(document(*of_key), document(*of_identity), **request) is expected


def test_the_default_key_policy_is_awss() -> None:
    assert json.loads(DELEGATING)["Statement"] == [
        {
            "Sid": "Enable IAM User Permissions",
            "Effect": "Allow",
            "Principal": {"AWS": ROOT},
            "Action": "kms:*",
            "Resource": "*",
        }
    ]
    assert allows(DELEGATING, policy.ADMINISTRATOR_POLICY)
