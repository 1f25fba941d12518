"""Rules of an XKS proxy: who decides, and what the log is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.domain.xks import FIELDS, Rules, Verdict
from controlplane.schema.xksproxies import XksEffect, XksRule

ALICE = "arn:aws:iam::123456789012:user/Alice"
KEY = "arn:aws:kms:us-east-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
FACTS = {
    "awsPrincipalArn": ALICE,
    "kmsKeyArn": KEY,
    "kmsOperation": "Encrypt",
    "kmsViaService": "ebs.us-east-2.amazonaws.com",
    "awsSourceVpc": "vpc-1",
    "awsSourceVpce": "vpce-1",
    "externalKeyId": "payments",
}


def test_without_rules_everything_is_allowed() -> None:
    assert Rules(()).decide({}) == Verdict(True, "the proxy has no rules")


def test_with_rules_what_none_allows_is_denied() -> None:
    rules = Rules((XksRule(name="bob", principals=("arn:aws:iam::123456789012:user/Bob",)),))
    assert rules.decide(FACTS) == Verdict(False, "no rule of the proxy allows it")


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_of_a_rule_is_about_its_field_of_the_request(field: str) -> None:
    value = FACTS[FIELDS[field]]
    for pattern in (value, value[:-2] + "*", "?" * len(value), "*"):
        rules = Rules((XksRule(name="r", **{field: ("nobody", pattern)}),))
        assert rules.decide(FACTS) == Verdict(True, "allowed by rule r of the proxy")
        assert not rules.decide({**FACTS, FIELDS[field]: None}).allowed
        assert not rules.decide({name: held for name, held in FACTS.items() if held != value}).allowed
    for pattern in (value[:-1], value + "?", value.swapcase()):
        assert not Rules((XksRule(name="r", **{field: (pattern,)}),)).decide(FACTS).allowed


def test_every_field_of_a_rule_has_to_match() -> None:
    rules = Rules((XksRule(name="r", principals=(ALICE,), operations=("Decrypt",)),))
    assert not rules.decide(FACTS).allowed
    assert rules.decide({**FACTS, "kmsOperation": "Decrypt"}).allowed


RULES = st.builds(
    XksRule,
    name=st.sampled_from(["a", "b", "c", "d"]),
    effect=st.sampled_from(XksEffect),
    operations=st.lists(st.sampled_from(["Encrypt", "Decrypt", "*"]), max_size=2).map(tuple),
    principals=st.lists(st.sampled_from([ALICE, "arn:*", "x"]), max_size=2).map(tuple),
)


@given(st.lists(RULES, max_size=5), st.randoms())
def test_a_denial_wins_wherever_it_stands(rules: list[XksRule], order: object) -> None:
    allowed = Rules(rules).decide(FACTS).allowed
    order.shuffle(rules)  # type: ignore[attr-defined]
    assert Rules(rules).decide(FACTS).allowed is allowed
    matching = [
        rule.effect
        for rule in rules
        if (not rule.operations or set(rule.operations) & {"Encrypt", "*"})
        and (not rule.principals or set(rule.principals) & {ALICE, "arn:*"})
    ]
    assert allowed is (not rules or (XksEffect.DENY not in matching and bool(matching)))
