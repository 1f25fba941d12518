"""The order of decisions, who a statement is about, what grants may still do, and what is remembered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from time import process_time
from typing import Any

import pytest

from controlplane.domain.policy import (
    ADMINISTRATOR_POLICY,
    Because,
    Decision,
    default_key_policy,
    evaluate,
    evaluation,
    locks_out,
)

ACCOUNT = "111122223333"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"
ALICE = f"arn:aws:iam::{ACCOUNT}:user/alice"
BOB = f"arn:aws:iam::{ACCOUNT}:user/bob"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/Ops"
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/Ops/monday"
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"


def allow(principal: Any = None, **changes: Any) -> dict[str, Any]:
    made = {"Effect": "Allow", "Action": "kms:*", "Resource": "*"} | changes
    return made if principal is None else {"Principal": principal, **made}


def deny(principal: Any = None, **changes: Any) -> dict[str, Any]:
    return allow(principal, Effect="Deny", **changes)


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def ask(
    key_policy: str | None,
    *identity: str,
    principal: str = ALICE,
    action: str = "kms:Encrypt",
    resource: str = KEY,
    **more: Any,
) -> Decision:
    return evaluate(
        principal=principal,
        account=ACCOUNT,
        action=action,
        resource=resource,
        key_policy=key_policy,
        identity_policies=identity,
        **more,
    )


DELEGATES = default_key_policy(ACCOUNT)
MAY = document(allow())

# ---- order -----------------------------------------------------------------------------------------------------------


def test_nothing_is_allowed_without_a_statement() -> None:
    assert ask(DELEGATES) == Decision(False, "no statement allows it", because=Because.NOT_BY_IDENTITY)
    elsewhere = document(allow({"AWS": "999999999999"}))
    assert ask(elsewhere) == Decision(False, "no statement allows it", because=Because.NOT_BY_RESOURCE)
    assert ask(elsewhere, MAY).because is Because.NOT_BY_RESOURCE


def test_the_default_key_policy_lets_identity_policies_decide() -> None:
    assert ask(DELEGATES, ADMINISTRATOR_POLICY) == Decision(
        True, "allowed by statement Administrator of an identity policy"
    )
    unmentioned = Decision(False, "no statement allows it", because=Because.NOT_BY_IDENTITY)
    assert ask(DELEGATES, document(allow(Action="kms:Decrypt"))) == unmentioned


def test_an_account_id_means_what_its_root_arn_means() -> None:
    assert ask(document(allow({"AWS": ACCOUNT})), MAY).allowed
    assert not ask(document(allow({"AWS": "999999999999"})), MAY).allowed


def test_a_key_policy_that_names_the_caller_allows_alone() -> None:
    assert ask(document(allow({"AWS": ALICE}))).allowed
    assert ask(document(allow("*"))).allowed
    assert ask(document(allow({"AWS": "*"}))).allowed
    assert not ask(document(allow({"AWS": BOB}))).allowed


def test_identity_policies_do_not_help_where_the_key_policy_does_not_delegate() -> None:
    decision = ask(document(allow({"AWS": BOB})), MAY)
    assert not decision.allowed and not decision.explicit
    assert decision.reason == "the key policy does not let identity policies of the account decide"


def test_the_root_user_needs_no_identity_policy() -> None:
    assert ask(DELEGATES, principal=ROOT).allowed


def test_without_a_key_identity_policies_decide() -> None:
    assert ask(None, document(allow(Action="kms:ListKeys")), action="kms:ListKeys", resource="*").allowed
    assert not ask(None, action="kms:ListKeys", resource="*").allowed


@pytest.mark.parametrize("principal", ["*", {"AWS": "*"}, {"AWS": ALICE}, {"AWS": ROOT}, {"AWS": ACCOUNT}])
def test_a_deny_of_the_key_policy_wins(principal: Any) -> None:
    decision = ask(document(allow({"AWS": ALICE}), allow({"AWS": ROOT}), deny(principal, Sid="No")), MAY)
    assert decision == Decision(False, "denied by statement No of the key policy", True, Because.DENIED_BY_RESOURCE)


def test_a_deny_of_an_identity_policy_wins() -> None:
    decision = ask(document(allow({"AWS": ALICE})), MAY, document(deny(Sid="No")))
    assert decision == Decision(False, "denied by statement No of an identity policy", True, Because.DENIED_BY_IDENTITY)


@pytest.mark.parametrize(
    "changes", [{"Action": "kms:Decrypt"}, {"Resource": KEY + "0"}, {"NotAction": "kms:Enc*", "Action": None}]
)
def test_a_deny_of_something_else_does_not_matter(changes: dict[str, Any]) -> None:
    no = {name: value for name, value in deny("*", **changes).items() if value is not None}
    assert ask(document(allow({"AWS": ALICE}), no)).allowed


def test_a_deny_of_somebody_else_does_not_matter() -> None:
    for other in ({"AWS": BOB}, {"Service": "*"}, {"Federated": "*"}, {"CanonicalUser": "*"}, {"AWS": "999999999999"}):
        assert ask(document(allow({"AWS": ALICE}), deny(other))).allowed


@pytest.mark.parametrize("kind", ["Service", "Federated", "CanonicalUser"])
def test_other_kinds_of_principals_are_nobody_of_ours(kind: str) -> None:
    assert not ask(document(allow({kind: ["*", ALICE, ROOT]})), MAY).allowed


def test_denied_without_a_deny_leaves_room_for_a_grant() -> None:
    assert not ask(DELEGATES).explicit
    assert not ask(document(deny("*", Action="kms:Decrypt"), allow({"AWS": BOB}))).explicit


def test_a_policy_that_cannot_be_read_denies_explicitly() -> None:
    for key_policy, identity in [("{", (MAY,)), (document(allow("*")), (MAY, "{")), (None, ("{",))]:
        decision = ask(key_policy, *identity)
        assert not decision.allowed and decision.explicit
        assert "does not parse" in decision.reason


# ---- actions and resources -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "covers"),
    [("*", True), ("kms:*", True), ("KMS:encrypt", True), ("kms:Enc*", True), ("kms:E?crypt", True), ("kms:E", False)],
)
def test_action_patterns_ignore_case(pattern: str, covers: bool) -> None:
    assert ask(document(allow("*", Action=pattern))).allowed is covers
    other = allow("*")
    other["NotAction"] = other.pop("Action") and pattern
    assert ask(document(other)).allowed is not covers


@pytest.mark.parametrize(
    ("pattern", "covers"),
    [
        ("*", True),
        (KEY, True),
        (KEY.upper(), False),
        ("arn:aws:kms:*:*:key/*", True),
        ("arn:aws:kms:us-east-?:111122223333:key/1234*", True),
        ("arn:aws:kms:eu-*:*:key/*", False),
    ],
)
def test_resource_patterns(pattern: str, covers: bool) -> None:
    assert ask(DELEGATES, document(allow(Resource=pattern))).allowed is covers
    other = allow()
    other["NotResource"] = other.pop("Resource") and pattern
    assert ask(DELEGATES, document(other)).allowed is not covers


def test_a_resource_with_a_variable_follows_the_request() -> None:
    mine = document(allow(Resource=f"arn:aws:kms:us-east-1:{ACCOUNT}:key/${{aws:PrincipalTag/key}}"))
    name = KEY.rpartition("/")[2]
    assert ask(DELEGATES, mine, context={"aws:PrincipalTag/key": name}).allowed
    assert not ask(DELEGATES, mine, context={"aws:PrincipalTag/key": "*"}).allowed
    assert not ask(DELEGATES, mine, context={}).allowed


def test_not_resource_with_a_variable_without_value_allows_nothing_and_denies() -> None:
    but = {"NotResource": "arn:aws:kms:us-east-1:1:key/${aws:PrincipalTag/key}"}
    yes = {name: value for name, value in (allow() | but).items() if name != "Resource"}
    no = {name: value for name, value in (deny() | but).items() if name != "Resource"}
    assert not ask(None, document(yes)).allowed
    assert ask(None, document(yes), context={"aws:PrincipalTag/key": "x"}).allowed
    assert ask(None, MAY, document(no)).explicit


# ---- principals ------------------------------------------------------------------------------------------------------


def test_a_session_is_its_role() -> None:
    assert ask(document(allow({"AWS": ROLE})), principal=SESSION).allowed
    assert ask(document(allow({"AWS": SESSION})), principal=SESSION).allowed
    assert not ask(document(allow({"AWS": SESSION})), principal=SESSION.replace("monday", "tuesday")).allowed
    assert ask(document(allow("*"), deny({"AWS": ROLE})), principal=SESSION).explicit
    assert not ask(document(allow({"AWS": ROLE.replace(ACCOUNT, "999999999999")})), principal=SESSION).allowed


def test_every_arn_that_stands_for_the_caller_counts() -> None:
    deep = f"arn:aws:iam::{ACCOUNT}:role/team/path/Ops"
    assert ask(document(allow({"AWS": deep})), principal=SESSION, principals=frozenset({deep})).allowed
    assert ask(document(allow("*"), deny({"AWS": deep})), principal=SESSION, principals=frozenset({deep})).explicit


def test_not_principal_denies_all_but_who_is_named_exactly() -> None:
    def asked(principal: str, *names: str) -> bool:
        but = {"NotPrincipal": {"AWS": list(names)}} | deny()
        return ask(document(allow("*"), but), principal=principal).allowed

    assert asked(ALICE, ALICE, ROOT)
    assert not asked(BOB, ALICE, ROOT)
    assert not asked(ALICE, ROOT)
    assert not asked(SESSION, ROLE, ROOT)
    assert asked(SESSION, SESSION, ROLE, ROOT)
    assert asked(ROOT, ACCOUNT)
    assert ask(document(allow("*"), {"NotPrincipal": "*"} | deny())).allowed


# ---- conditions and the context --------------------------------------------------------------------------------------

SECURE = {"Bool": {"aws:SecureTransport": "true"}}
INSECURE = {"Bool": {"aws:SecureTransport": "false"}}


def test_each_step_of_the_order_heeds_conditions() -> None:
    secure, insecure = {"aws:SecureTransport": "true"}, {"aws:SecureTransport": "false"}
    direct = document(allow({"AWS": ALICE}, Condition=SECURE))
    assert ask(direct, context=secure).allowed and not ask(direct, context=insecure).allowed
    delegated = document(allow({"AWS": ROOT}, Condition=SECURE))
    assert ask(delegated, MAY, context=secure).allowed and not ask(delegated, MAY, context=insecure).allowed
    may = document(allow(Condition=SECURE))
    assert ask(DELEGATES, may, context=secure).allowed and not ask(DELEGATES, may, context=insecure).allowed
    for policies in (
        (document(allow({"AWS": ALICE}), deny("*", Condition=INSECURE)),),
        (document(allow({"AWS": ALICE})), document(deny(Condition=INSECURE))),
    ):
        assert ask(*policies, context=secure).allowed
        assert ask(*policies, context=insecure).explicit


def test_the_first_statement_that_applies_is_the_reason() -> None:
    text = document(allow("*", Sid="Secure", Condition=SECURE), allow("*", Sid="Insecure", Condition=INSECURE))
    assert ask(text, context={"aws:SecureTransport": "false"}).reason == (
        "allowed by statement Insecure of the key policy"
    )


class Builder:
    def __init__(self, context: Mapping[str, str]) -> None:
        self.context, self.calls = context, 0

    def __call__(self) -> Mapping[str, str]:
        self.calls += 1
        return self.context


def test_the_context_is_built_only_where_a_covering_statement_depends_on_it() -> None:
    text = document(
        allow({"AWS": ALICE}, Action="kms:Encrypt"),
        deny("*", Action="kms:Decrypt", Condition=INSECURE),
        deny({"AWS": BOB}, Condition=INSECURE),
        allow({"AWS": ALICE}, Action="kms:Sign", Resource=f"{KEY}0", Condition=SECURE),
        allow({"AWS": ALICE}, Action="kms:Encrypt", Condition=SECURE),
    )
    builder = Builder({"aws:SecureTransport": "true"})
    assert ask(text, context=builder).allowed
    assert not ask(text, context=builder, action="kms:Sign").allowed
    assert builder.calls == 0
    ask(text, context=builder, action="kms:Decrypt")
    assert builder.calls == 1


def test_an_answer_from_memory_heeds_the_context_of_its_own_request() -> None:
    text = document(allow({"AWS": ALICE}, Condition=SECURE))
    for _ in range(3):
        assert ask(text, context={"aws:SecureTransport": "true"}).allowed
        assert not ask(text, context={"aws:SecureTransport": "false"}).allowed


def test_an_answer_from_memory_heeds_resource_and_principals() -> None:
    may = document(allow(Resource=KEY))
    for _ in range(3):
        assert ask(DELEGATES, may).allowed
        assert not ask(DELEGATES, may, resource=f"{KEY}0").allowed
        assert not ask(document(allow({"AWS": ROLE}))).allowed
        assert ask(document(allow({"AWS": ROLE})), principals=frozenset({ROLE})).allowed


@pytest.mark.parametrize("context", [{"a:b": 7}, {"a:b": ["x"]}, {"a:b": (1,)}, {7: "x"}, Builder.__call__])
def test_a_context_that_cannot_be_read_denies_explicitly(context: Any) -> None:
    decision = ask(document(allow({"AWS": ALICE}, Condition=SECURE)), context=context)
    assert not decision.allowed and decision.explicit


def test_memory_is_bounded_by_weight() -> None:
    memory: evaluation._Memory[int, str] = evaluation._Memory(100)
    for number in range(1000):
        memory.put(number, "x", 10)
        memory.put(number, "x", 10)
    assert list(memory.entries) == list(range(990, 1000))
    memory.put(1000, "large", 100)
    assert list(memory.entries) == [1000]


LONG = "a" * 8_000


@pytest.mark.parametrize(
    ("condition", "context"),
    [
        ({"StringLike": {"x:y": [f"*{'a?' * 900}b*"] * 15}}, {"x:y": LONG}),
        ({"StringLike": {"x:y": ["*?" + "${x:z}" * 300] * 15}}, {"x:y": LONG, "x:z": LONG}),
        (
            {"StringLike": {"x:y": [f"*${{x:z}}?{number}*" for number in range(100)]}},
            {"x:y": LONG[:4_100], "x:z": LONG[:4_000]},
        ),
        (
            {"ForAllValues:StringLike": {"x:y": ["*", *(f"?{number}*a*" for number in range(249))]}},
            {"x:y": tuple(f"{number:08}" for number in range(1_000))},
        ),
        ({"StringEquals": {"x:y": ["${x:z}" * 40] * 100}}, {"x:y": LONG, "x:z": LONG}),
    ],
)  # fmt: skip
def test_a_hostile_policy_costs_less_than_a_second(condition: dict[str, Any], context: dict[str, Any]) -> None:
    text = document(allow(Condition=condition))
    assert len(text) < 32_768
    started = process_time()
    assert not ask(None, text, context=context).reason.startswith("a policy does not parse")
    assert process_time() - started < 1


# ---- the lock-out check ----------------------------------------------------------------------------------------------


def out(text: str, *identity: str, **more: Any) -> bool:
    return locks_out(text, principal=ALICE, account=ACCOUNT, identity_policies=identity, **more)


def test_a_policy_that_leaves_the_caller_no_way_back_locks_out() -> None:
    assert out(document(allow({"AWS": BOB})), MAY)
    assert out(document(allow({"AWS": ALICE}, Action="kms:Encrypt")))
    assert out(document(allow({"AWS": ALICE}), deny("*", Action="kms:Put*")))
    assert out(DELEGATES, document(allow(Action="kms:CreateKey")))
    assert out("{", MAY)


def test_a_policy_that_lets_the_caller_put_the_next_one_does_not() -> None:
    assert not out(DELEGATES, ADMINISTRATOR_POLICY)
    assert not out(document(allow({"AWS": ALICE}, Action="kms:PutKeyPolicy")))
    assert not out(document(allow({"AWS": ROLE})), principals=frozenset({ROLE}))
    assert not out(document(allow("*", Condition=SECURE)), context={"aws:SecureTransport": "true"})
    assert not out(DELEGATES, document(allow(Resource="arn:aws:kms:*:*:key/*")), resource=KEY)
