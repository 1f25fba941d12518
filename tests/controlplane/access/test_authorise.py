"""The authoriser: the order of policies and grants, and that no grant helps against a deny."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.access.authorise import Authoriser, Request
from controlplane.access.caller import Caller, CallerType, Identity
from controlplane.clock import ManualClock
from controlplane.domain.policy import ADMINISTRATOR_POLICY, Decision
from controlplane.schema.grants import Grant, GrantConstraints, GrantOperation
from controlplane.schema.keys import DesiredKey, KeyStatus, KeyUsage, PolicySource
from controlplane.schema.meta import Key, Metadata

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ACCOUNT = "111122223333"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"
ALICE = f"arn:aws:iam::{ACCOUNT}:user/alice"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/ops"
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/ops/monday"
KEY_ARN = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/k"
UID = "uid-of-k"
Op = GrantOperation


def statement(effect: str, action: str | Sequence[str], principal: Any = None, **more: Any) -> dict[str, Any]:
    made = {"Effect": effect, "Action": action, "Resource": "*", **more}
    return made if principal is None else {**made, "Principal": principal}


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


NOBODY = policy(statement("Allow", "kms:Sign", {"AWS": "999999999999"}))
"""A key policy that allows nobody of the account anything."""
ACCOUNT_DECIDES = policy(statement("Allow", "kms:*", {"AWS": ROOT}))
MAY_DECRYPT = policy(statement("Allow", "kms:Decrypt"))


def key(document: str | None = NOBODY) -> Key:
    return Key(
        metadata=Metadata(name="k", uid=UID, generation=1, resource_version=1, created_at=NOW),
        spec=DesiredKey(
            region="us-east-1",
            key_usage=KeyUsage.ENCRYPT_DECRYPT,
            policy=PolicySource(document=document) if document is not None else None,
        ),
        status=KeyStatus(key_id="k", arn=KEY_ARN, created_at=NOW),
    )


def caller(principal: str = ALICE, *policies: str) -> Caller:
    kind = CallerType.USER if ":user/" in principal else CallerType.ROLE
    return Caller(Identity(principal, ACCOUNT, kind, "alice", "AIDA", policies), "us-east-1", "r", "127.0.0.1")


def grant(grantee: str = ALICE, *operations: Op, **more: Any) -> Grant:
    return Grant(
        grant_id="ab" * 32,
        key_arn=KEY_ARN,
        created_at=NOW,
        issuing_account=ROOT,
        operations=operations or (Op.DECRYPT,),
        grantee_principal=grantee,
        **more,
    )


def decide(request: Request, of: Key | None, grants: Iterable[Grant] = ()) -> Decision:
    held = tuple(grants)
    authoriser = Authoriser(
        lambda uid, name: tuple(g for g in held if uid == UID and g.grantee_principal == name), ManualClock()
    )
    return authoriser.decide(request, of)


# ---- policies --------------------------------------------------------------------------------------------------------


def test_a_key_without_a_policy_leaves_it_to_the_account() -> None:
    assert decide(Request(caller(ALICE, MAY_DECRYPT), "Decrypt"), key(None)).allowed
    assert not decide(Request(caller(ALICE, MAY_DECRYPT), "Encrypt"), key(None)).allowed
    assert not decide(Request(caller(ALICE), "Decrypt"), key(None)).allowed


def test_an_administrator_is_nobody_to_a_key_whose_policy_does_not_say_so() -> None:
    assert not decide(Request(caller(ALICE, ADMINISTRATOR_POLICY), "Decrypt"), key(NOBODY)).allowed


def test_the_action_may_be_another_than_the_operation() -> None:
    request = Request(caller(ALICE, policy(statement("Allow", "kms:ReEncryptFrom"))), "ReEncrypt")
    assert not decide(request, key(ACCOUNT_DECIDES)).allowed
    request.action = "kms:ReEncryptFrom"
    assert decide(request, key(ACCOUNT_DECIDES)).allowed


# ---- grants ----------------------------------------------------------------------------------------------------------


def test_a_grant_allows_where_no_policy_does() -> None:
    decision = decide(Request(caller(), "Decrypt"), key(), [grant()])
    assert decision.allowed
    assert decision.reason == f"allowed by grant {'ab' * 32}"
    assert not decide(Request(caller(), "Decrypt"), key()).allowed
    assert not decide(Request(caller(), "Encrypt"), key(), [grant()]).allowed


@pytest.mark.parametrize(
    ("principal", "grantee", "helps"),
    [
        (SESSION, SESSION, True),
        (SESSION, ROLE, True),
        (SESSION.replace("monday", "tuesday"), SESSION, False),
        (ROLE, SESSION, False),
        # names that look like each other
        (f"arn:aws:sts::{ACCOUNT}:assumed-role/ops/alice", ALICE, False),
        (f"arn:aws:iam::{ACCOUNT}:user/ops", ROLE, False),
        (f"arn:aws:sts::{ACCOUNT}:assumed-role/ops2/monday", ROLE, False),
        ("arn:aws:sts::999999999999:assumed-role/ops/monday", ROLE, False),
        (f"arn:aws:iam::{ACCOUNT}:user/root", ROOT, False),
        (f"arn:aws:iam::{ACCOUNT}:user/Alice", ALICE, False),
        (f"arn:aws:iam::{ACCOUNT}:user/аlice", ALICE, False),  # a Cyrillic letter
    ],
)
def test_a_grant_is_its_grantees(principal: str, grantee: str, helps: bool) -> None:
    assert decide(Request(caller(principal), "Decrypt"), key(), [grant(grantee)]).allowed is helps


def test_a_grant_to_the_account_leaves_it_to_identity_policies() -> None:
    assert not decide(Request(caller(), "Decrypt"), key(), [grant(ROOT)]).allowed
    decision = decide(Request(caller(ALICE, MAY_DECRYPT), "Decrypt"), key(), [grant(ROOT)])
    assert decision.allowed
    assert "to which grant" in decision.reason
    assert not decide(Request(caller(ALICE, MAY_DECRYPT), "Encrypt"), key(), [grant(ROOT)]).allowed


def test_a_grant_on_one_key_is_none_on_another() -> None:
    other = Authoriser(lambda uid, name: (grant(),) if uid == "another uid" else (), ManualClock())
    assert not other.decide(Request(caller(), "Decrypt"), key()).allowed


def test_operations_that_no_grant_can_allow_are_not_looked_for() -> None:
    for operation in ("PutKeyPolicy", "ScheduleKeyDeletion", "ListGrants", "RevokeGrant"):
        assert not decide(Request(caller(), operation), key(), [grant(ALICE, *Op)]).allowed


def test_a_grant_made_through_a_grant_is_no_wider() -> None:
    parent = grant(ALICE, Op.CREATEGRANT, Op.DECRYPT)
    assert decide(Request(caller(), "CreateGrant", grant=grant("arn", Op.DECRYPT)), key(), [parent]).allowed
    assert not decide(Request(caller(), "CreateGrant", grant=grant("arn", Op.ENCRYPT)), key(), [parent]).allowed
    assert not decide(Request(caller(), "CreateGrant"), key(), [parent]).allowed


DENIALS = [
    statement("Deny", "kms:Decrypt", {"AWS": ALICE}),
    statement("Deny", "*", "*"),
    statement("Deny", "kms:*", {"AWS": ROOT}),
    statement("Deny", "kms:D*", "*"),
]
CONTEXTS = st.one_of(st.none(), st.dictionaries(st.sampled_from("ab"), st.sampled_from("12"), max_size=2))


@given(
    denial=st.sampled_from(DENIALS),
    by_key=st.booleans(),
    operations=st.lists(st.sampled_from(list(Op)), max_size=4),
    grantee=st.sampled_from([ALICE, ROOT]),
    context=CONTEXTS,
)
def test_no_grant_helps_against_an_explicit_deny(
    denial: dict[str, Any], by_key: bool, operations: list[Op], grantee: str, context: dict[str, str] | None
) -> None:
    own = {name: value for name, value in denial.items() if name != "Principal"}
    of = key(policy(statement("Allow", "kms:*", "*"), denial)) if by_key else key(policy(statement("Allow", "*", "*")))
    who = caller(ALICE, ADMINISTRATOR_POLICY, *(() if by_key else (policy(own),)))
    decision = decide(Request(who, "Decrypt", context), of, [grant(grantee, Op.DECRYPT, *operations)])
    assert not decision.allowed
    assert decision.explicit


@given(text=st.one_of(st.text(max_size=40), st.sampled_from(['{"Statement":[]}', "[]", '{"Version":"2030-01-01"}'])))
def test_a_policy_that_cannot_be_read_denies_whatever_grants_there_are(text: str) -> None:
    for of, who in ((key(text), caller(ALICE, ADMINISTRATOR_POLICY)), (key(ACCOUNT_DECIDES), caller(ALICE, text))):
        decision = decide(Request(who, "Decrypt"), of, [grant(), grant(ROOT)])
        assert not decision.allowed
        assert decision.explicit


@given(
    constraint=st.dictionaries(st.sampled_from("ab"), st.sampled_from("12"), min_size=1, max_size=2),
    subset=st.booleans(),
    context=CONTEXTS,
    grantee=st.sampled_from([ALICE, ROOT]),
)
def test_a_grant_with_a_constraint_never_allows_another_context(
    constraint: dict[str, str], subset: bool, context: dict[str, str] | None, grantee: str
) -> None:
    name = "encryption_context_subset" if subset else "encryption_context_equals"
    made = grant(grantee, Op.DECRYPT, constraints=GrantConstraints(**{name: constraint}))
    decision = decide(Request(caller(ALICE, MAY_DECRYPT), "Decrypt", context), key(), [made])
    given_ = context or {}
    assert decision.allowed is (constraint.items() <= given_.items() if subset else constraint == given_)


# ---- who may retire --------------------------------------------------------------------------------------------------


def test_the_retiring_principal_retires_without_any_policy() -> None:
    made = grant("arn", retiring_principal=ALICE)
    assert decide(Request(caller(), "RetireGrant", grant=made), key()).allowed
    assert not decide(Request(caller(SESSION), "RetireGrant", grant=made), key()).allowed


def test_the_account_may_let_identity_policies_decide_about_retiring_and_a_key_policy_alone_may_not() -> None:
    made = grant("arn")
    allowing = key(policy(statement("Allow", "kms:*", {"AWS": ALICE})))
    assert not decide(Request(caller(), "RetireGrant", grant=made), allowing).allowed
    may = caller(ALICE, policy(statement("Allow", "kms:RetireGrant")))
    assert decide(Request(may, "RetireGrant", grant=made), key()).allowed


def test_a_deny_holds_the_retiring_principal_back() -> None:
    made = grant("arn", retiring_principal=ALICE)
    denying = key(policy(statement("Deny", "kms:RetireGrant", "*")))
    assert not decide(Request(caller(), "RetireGrant", grant=made), denying).allowed


def test_a_grant_that_is_not_there_is_nobodys_to_retire() -> None:
    assert not decide(Request(caller(), "RetireGrant"), key(), [grant(ALICE, Op.RETIREGRANT)]).allowed
