"""What holds for every policy: more denies never widen, junk never allows, nothing raises."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from controlplane.domain.policy import ADMINISTRATOR_POLICY, Decision, evaluate, locks_out, parse_policy
from controlplane.domain.policy.conditions import OPERATORS
from controlplane.errors import InvalidPolicy

ACCOUNT = "111122223333"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"
ALICE = f"arn:aws:iam::{ACCOUNT}:user/alice"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/Ops"
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/Ops/monday"
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/k"

KEYS = ["aws:username", "aws:SecureTransport", "aws:TagKeys", "kms:EncryptionContext:App", "aws:SourceIp"]
VALUES = ["alice", "true", "10.0.0.1", "${aws:username}", "${aws:PrincipalTag/t, 'alice'}", "a*", "5", KEY]


READABLE = {
    "String": ["alice", "true", "a*", "${aws:username}", "${aws:PrincipalTag/t, 'alice'}", "5"],
    "Numeric": ["5", "10", 7],
    "Date": ["2030-01-01", "1593561599"],
    "Bool": ["true", False],
    "Null": ["true", False],
    "Binary": ["AAAA"],
    "Ip": ["10.0.0.0/8", "10.0.0.1"],
    "NotIp": ["10.0.0.0/8"],
    "Arn": [KEY, "arn:aws:*:*:*:*", "arn:aws:iam::1:user/${aws:username}"],
}
"""Policy values that each family of operators can read."""


@st.composite
def conditions(draw: st.DrawFn) -> dict[str, Any]:
    blocks: dict[str, Any] = {}
    for name in draw(st.lists(st.sampled_from(sorted(OPERATORS)), max_size=2)):
        family = next(family for family in READABLE if name.startswith(family))
        values = st.lists(st.sampled_from(READABLE[family]), min_size=1, max_size=2)
        prefix = draw(st.sampled_from(["", "", "ForAllValues:", "ForAnyValue:"]))
        suffix = "" if name == "Null" else draw(st.sampled_from(["", "IfExists"]))
        keys = [key for key in KEYS if prefix != "ForAllValues:" or "Context:" not in key]
        blocks[prefix + name + suffix] = draw(st.dictionaries(st.sampled_from(keys), values, min_size=1, max_size=2))
    return {"Condition": blocks} if blocks else {}


@st.composite
def statements(draw: st.DrawFn, *, key: bool, effect: str | None = None) -> dict[str, Any]:
    patterns = st.lists(st.sampled_from(["*", "kms:*", "kms:Encrypt", "kms:D*"]), min_size=1, max_size=2)
    resources = st.sampled_from(["*", KEY, "arn:aws:kms:*:*:key/*", "arn:aws:kms:*:*:key/${aws:username}"])
    made: dict[str, Any] = {
        "Effect": effect or draw(st.sampled_from(["Allow", "Deny"])),
        draw(st.sampled_from(["Action", "Action", "NotAction"])): draw(patterns),
        draw(st.sampled_from(["Resource", "Resource", "NotResource"])): draw(resources),
    }
    if key:
        element = draw(st.sampled_from(["Principal", "NotPrincipal"])) if made["Effect"] == "Deny" else "Principal"
        made[element] = draw(
            st.one_of(
                st.just("*"),
                st.fixed_dictionaries({"AWS": st.sampled_from([ROOT, ACCOUNT, ALICE, ROLE, SESSION, "999999999999"])}),
                st.just({"Service": "logs.amazonaws.com"}),
            )
        )
    return made | draw(conditions())


contexts = st.dictionaries(
    st.sampled_from([*KEYS, "aws:tagkeys", "kms:encryptioncontext:APP"]),
    st.one_of(st.sampled_from(VALUES), st.tuples(), st.tuples(st.sampled_from(VALUES), st.sampled_from(VALUES))),
)
key_policies = st.lists(statements(key=True), min_size=1, max_size=4)
identity_policies = st.lists(statements(key=False), max_size=3)
principals = st.sampled_from([ALICE, SESSION, ROOT])


def write(statements: list[dict[str, Any]]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def decide(principal: str, key: list[dict[str, Any]], identity: list[dict[str, Any]], context: Any) -> Decision:
    return evaluate(
        principal=principal,
        account=ACCOUNT,
        action="kms:Encrypt",
        resource=KEY,
        key_policy=write(key) if key else None,
        identity_policies=(write(identity),) if identity else (),
        context=context,
    )


@given(principals, key_policies, identity_policies, contexts, statements(key=True, effect="Deny"), st.integers(0, 4))
def test_a_further_deny_in_the_key_policy_never_widens(
    principal: str, key: list[Any], identity: list[Any], context: Any, further: Any, place: int
) -> None:
    before = decide(principal, key, identity, context)
    after = decide(principal, [*key[:place], further, *key[place:]], identity, context)
    assert before.allowed or not after.allowed
    assert after.explicit or not before.explicit


@given(principals, key_policies, identity_policies, contexts, statements(key=False, effect="Deny"))
def test_a_further_deny_in_an_identity_policy_never_widens(
    principal: str, key: list[Any], identity: list[Any], context: Any, further: Any
) -> None:
    before = decide(principal, key, identity, context)
    after = decide(principal, key, [*identity, further], context)
    assert before.allowed or not after.allowed


@given(principals, key_policies, identity_policies, contexts, st.data())
def test_one_allow_less_never_widens(
    principal: str, key: list[Any], identity: list[Any], context: Any, data: st.DataObject
) -> None:
    allows = [s for s in (*key, *identity) if s["Effect"] == "Allow"]
    if not allows:
        assert not decide(principal, key, identity, context).allowed
        return
    gone = data.draw(st.sampled_from(allows))
    before = decide(principal, key, identity, context)
    nobody = {"Effect": "Allow", "Principal": {"Service": "x"}, "Action": "*", "Resource": "*"}
    rest = [nobody if s is gone else s for s in key]
    after = decide(principal, rest, [s for s in identity if s is not gone], context)
    assert before.allowed or not after.allowed


@given(principals, key_policies, identity_policies, contexts)
def test_what_is_allowed_follows_from_statements_one_by_one(
    principal: str, key: list[Any], identity: list[Any], context: Any
) -> None:
    """An oracle for the order: ask about each statement alone, then put the answers together as AWS says."""

    def alone(statement: dict[str, Any], *, of_key: bool) -> Decision:
        yes = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        if statement["Effect"] == "Deny":
            if of_key:
                return decide(principal, [{"Principal": "*", **yes}, statement], [], context)
            return decide(principal, [{"Principal": "*", **yes}], [statement], context)
        return decide(principal, [statement], [], context) if of_key else decide(principal, [], [statement], context)

    def delegates(statement: dict[str, Any]) -> bool:
        yes = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        return decide(principal, [statement], [yes], context).allowed

    denied = any(alone(s, of_key=True).explicit for s in key if s["Effect"] == "Deny") or any(
        alone(s, of_key=False).explicit for s in identity if s["Effect"] == "Deny"
    )
    direct = any(alone(s, of_key=True).allowed for s in key if s["Effect"] == "Allow")
    delegated = any(delegates(s) for s in key if s["Effect"] == "Allow")
    by_identity = any(alone(s, of_key=False).allowed for s in identity if s["Effect"] == "Allow")
    decision = decide(principal, key, identity, context)
    assert decision.explicit is denied
    assert decision.allowed is (not denied and (direct or (delegated and by_identity)))


ELEMENTS = [
    "Version", "Id", "Statement", "Sid", "Effect", "Principal", "NotPrincipal", "AWS", "Action", "NotAction",
    "Resource", "NotResource", "Condition", "StringLike", "IpAddress", "Null", *KEYS,
]  # fmt: skip

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from([*VALUES, ROOT]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=4) | st.sampled_from(ELEMENTS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.one_of(st.text(), json_values.map(json.dumps)))
def test_junk_is_refused_as_an_invalid_policy_and_allows_nothing(text: str) -> None:
    for identity in (False, True):
        try:
            read = parse_policy(text, identity=identity)
        except InvalidPolicy:
            read = ()
        if not read:
            decision = evaluate(
                principal=ALICE,
                account=ACCOUNT,
                action="kms:Encrypt",
                resource=KEY,
                key_policy=None if identity else text,
                identity_policies=(ADMINISTRATOR_POLICY, text) if identity else (ADMINISTRATOR_POLICY,),
            )
            assert not decision.allowed and decision.explicit
    assert isinstance(locks_out(text, principal=ALICE, account=ACCOUNT, identity_policies=()), bool)


@given(st.sampled_from(["Effect", "Action", "Resource", "Principal", "Sid", "Condition"]), json_values, contexts)
def test_a_statement_with_junk_in_it_never_raises(element: str, junk: Any, context: Any) -> None:
    statement = {"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*", element: junk}
    assert isinstance(decide(ALICE, [statement], [], context), Decision)


@given(st.text(max_size=6), conditions())
def test_a_statement_with_an_unknown_element_allows_nothing(name: str, condition: dict[str, Any]) -> None:
    statement = {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*", **condition, f"X{name}": "x"}
    decision = decide(ALICE, [statement], [], {})
    assert not decision.allowed and decision.explicit


@given(
    st.text(), st.text(), st.text(), st.text(), st.frozensets(st.text(max_size=3)),
    st.dictionaries(st.text(max_size=4), st.one_of(st.text(), st.integers(), st.none(), st.lists(st.text()))),
    key_policies,
)  # fmt: skip
def test_evaluate_never_raises(
    principal: str, account: str, action: str, resource: str, names: frozenset[str], context: Any, key: list[Any]
) -> None:
    decision = evaluate(
        principal=principal,
        account=account,
        action=action,
        resource=resource,
        key_policy=write(key),
        identity_policies=(ADMINISTRATOR_POLICY,),
        principals=names,
        context=context,
    )
    assert isinstance(decision, Decision)
