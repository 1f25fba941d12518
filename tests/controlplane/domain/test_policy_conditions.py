"""Every condition operator, by the IAM User Guide's own examples: matching, not matching, absent, several values."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controlplane.domain.policy import CONDITION_KEYS, KeyType, condition_key, evaluate, parse_policy
from controlplane.domain.policy.conditions import OPERATORS
from controlplane.errors import InvalidPolicy

ACCOUNT = "111122223333"
ALICE = f"arn:aws:iam::{ACCOUNT}:user/alice"
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"

Context = dict[str, Any]


def policy(effect: str, condition: dict[str, Any], version: str = "2012-10-17", **more: Any) -> str:
    statement = {"Effect": effect, "Action": "kms:*", "Resource": "*", "Condition": condition, **more}
    return json.dumps({"Version": version, "Statement": [statement]})


ALLOW_ALL = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}'


def allows(condition: dict[str, Any], context: Context, version: str = "2012-10-17") -> bool:
    """Whether an Allow with this condition allows."""
    return evaluate(
        principal=ALICE,
        account=ACCOUNT,
        action="kms:Decrypt",
        resource=KEY,
        key_policy=None,
        identity_policies=(policy("Allow", condition, version),),
        context=context,
    ).allowed


def denies(condition: dict[str, Any], context: Context) -> bool:
    """Whether a Deny with this condition denies."""
    return evaluate(
        principal=ALICE,
        account=ACCOUNT,
        action="kms:Decrypt",
        resource=KEY,
        key_policy=None,
        identity_policies=(ALLOW_ALL, policy("Deny", condition)),
        context=context,
    ).explicit


# operator, key, values in the policy, values that match, values that do not
MATCHING: list[tuple[str, str, Any, list[str], list[str]]] = [
    # String
    ("StringEquals", "aws:PrincipalTag/job-category", "iamuser-admin", ["iamuser-admin"], ["IAMUSER-ADMIN", "x", ""]),
    ("StringEquals", "aws:username", ["john", "jane"], ["john", "jane"], ["John", "joh", "johnjane"]),
    ("StringEquals", "aws:username", "j*n", ["j*n"], ["john"]),
    ("StringEqualsIgnoreCase", "aws:PrincipalTag/department", ["finance", "HR"], ["Finance", "hr"], ["legal"]),
    ("StringLike", "s3:prefix", ["", "home/", "home/alice/*"], ["", "home/", "home/alice/x/y"], ["home"]),
    ("StringLike", "ec2:InstanceType", ["t1.*", "t2.*", "m3.*"], ["t1.micro", "m3.large"], ["t3.micro", "xt1.a"]),
    ("StringLike", "aws:UserAgent", "Boto?/*", ["Boto3/1.44"], ["Boto/1", "boto3/1", "Boto3"]),
    # Numeric
    ("NumericEquals", "s3:max-keys", "10", ["10", "10.0", "010"], ["11", "1"]),
    ("NumericLessThan", "s3:max-keys", "10", ["9", "-1", "9.99"], ["10", "11"]),
    ("NumericLessThanEquals", "s3:max-keys", "10", ["10", "9"], ["10.01"]),
    ("NumericGreaterThan", "kms:RotationPeriodInDays", 90, ["91", "90.5"], ["90", "9"]),
    ("NumericGreaterThanEquals", "kms:RotationPeriodInDays", [365, 90], ["90", "100"], ["89"]),
    # Date
    ("DateEquals", "aws:CurrentTime", "2020-04-01T00:00:00Z", ["2020-04-01T02:00:00+02:00"], ["1585699201"]),
    ("DateLessThan", "aws:CurrentTime", "2020-06-30T23:59:59Z", ["2020-06-30T23:59:58Z"], ["2020-06-30T23:59:59Z"]),
    ("DateLessThanEquals", "aws:CurrentTime", "2020-06-30", ["2020-06-30T00:00:00Z"], ["2020-06-30T00:00:00.001Z"]),
    (
        "DateGreaterThan", "aws:TokenIssueTime", "2020-01-01T00:00:01Z",
        ["2020-01-01T00:00:02Z", "2021-01-01T00:00:00Z"], ["2020-01-01T00:00:01Z", "2019-12-31T23:59:59Z"],
    ),
    ("DateGreaterThanEquals", "aws:EpochTime", "1593561599", ["1593561599", "2030-01-01T00:00:00Z"], ["1593561598"]),
    ("DateGreaterThan", "aws:CurrentTime", "2020-01", ["2020-01-01T00:00:00.5Z"], ["2019-12-31"]),
    # Bool
    ("Bool", "aws:SecureTransport", "false", ["false", "False"], ["true"]),
    ("Bool", "aws:SecureTransport", True, ["true"], ["false"]),
    # Binary
    ("BinaryEquals", "key:x", "QmluYXJ5VmFsdWVJbkJhc2U2NA==", ["QmluYXJ5VmFsdWVJbkJhc2U2NA=="], ["QmluYXJ5"]),
    # IP address
    (
        "IpAddress", "aws:SourceIp", ["203.0.113.0/24", "2001:DB8:1234:5678::/64"],
        ["203.0.113.0", "203.0.113.255", "2001:db8:1234:5678::1", "::ffff:203.0.113.9"],
        ["203.0.114.1", "2001:db8:1234:5679::1", "::ffff:203.0.114.1"],
    ),
    ("IpAddress", "aws:SourceIp", "203.0.113.7", ["203.0.113.7"], ["203.0.113.8", "::1"]),
    ("IpAddress", "aws:SourceIp", "0.0.0.0/0", ["1.2.3.4"], ["::1"]),
    # ARN
    (
        "ArnLike", "aws:SourceArn", "arn:aws:someservice:*:111122223333:finance/*",
        ["arn:aws:someservice:us-east-2:111122223333:finance/document.txt"],
        ["arn:aws:someservice:us-east-2:999999999999:store/abc:111122223333:finance/document.txt"],
    ),
    (
        "ArnEquals", "aws:PrincipalArn", "arn:aws:iam::111122223333:role/*",
        ["arn:aws:iam::111122223333:role/a", "arn:aws:iam::111122223333:role/a/b:c"],
        ["arn:aws:iam::111122223333:user/a", "arn:aws:iam::999922223333:role/a", "arn:AWS:iam::111122223333:role/a"],
    ),
    (
        "ArnLike", "aws:SourceArn", "arn:aws:sns:us-?ast-1:123456789012:TOPIC-ID",
        ["arn:aws:sns:us-east-1:123456789012:TOPIC-ID"], ["arn:aws:sns:us-xxast-1:123456789012:TOPIC-ID"],
    ),
]  # fmt: skip

NEGATED = {
    "StringEquals": "StringNotEquals",
    "StringEqualsIgnoreCase": "StringNotEqualsIgnoreCase",
    "StringLike": "StringNotLike",
    "NumericEquals": "NumericNotEquals",
    "DateEquals": "DateNotEquals",
    "IpAddress": "NotIpAddress",
    "ArnEquals": "ArnNotEquals",
    "ArnLike": "ArnNotLike",
}


def test_the_tables_here_name_every_operator() -> None:
    assert {row[0] for row in MATCHING} | set(NEGATED.values()) | {"Null"} == OPERATORS


@pytest.mark.parametrize(("operator", "key", "values", "matching", "others"), MATCHING)
class TestOperator:
    def test_matches_what_it_should(
        self, operator: str, key: str, values: Any, matching: list[str], others: list[str]
    ) -> None:
        for value in matching:
            assert allows({operator: {key: values}}, {key: value}), value
            assert denies({operator: {key: values}}, {key: value}), value

    def test_does_not_match_the_rest(
        self, operator: str, key: str, values: Any, matching: list[str], others: list[str]
    ) -> None:
        for value in others:
            assert not allows({operator: {key: values}}, {key: value}), value
            assert not denies({operator: {key: values}}, {key: value}), value

    def test_negated_matches_the_rest_and_an_absent_key(
        self, operator: str, key: str, values: Any, matching: list[str], others: list[str]
    ) -> None:
        if operator not in NEGATED:
            return
        for name in (NEGATED[operator], f"{NEGATED[operator]}IfExists"):
            for value in others:
                assert allows({name: {key: values}}, {key: value}), value
            for value in matching:
                assert not allows({name: {key: values}}, {key: value}), value
            assert allows({name: {key: values}}, {})
            assert denies({name: {key: values}}, {})

    def test_does_not_match_an_absent_key_unless_if_exists(
        self, operator: str, key: str, values: Any, matching: list[str], others: list[str]
    ) -> None:
        for absent in ({}, {key: ()}):
            assert not allows({operator: {key: values}}, absent)
            assert not denies({operator: {key: values}}, absent)
            assert allows({f"{operator}IfExists": {key: values}}, absent)
            assert denies({f"{operator}IfExists": {key: values}}, absent)

    def test_if_exists_tests_a_key_that_exists(
        self, operator: str, key: str, values: Any, matching: list[str], others: list[str]
    ) -> None:
        assert allows({f"{operator}IfExists": {key: values}}, {key: matching[0]})
        assert not allows({f"{operator}IfExists": {key: values}}, {key: others[0]})

    def test_for_all_values_wants_every_value_and_passes_without_any(
        self, operator: str, key: str, values: Any, matching: list[str], others: list[str]
    ) -> None:
        condition = {f"ForAllValues:{operator}": {key: values}}
        assert allows(condition, {key: tuple(matching)})
        assert allows(condition, {key: matching[0]})
        assert not allows(condition, {key: (*matching, others[0])})
        assert allows(condition, {})
        assert allows(condition, {key: ()})

    def test_for_any_value_wants_one_value_and_fails_without_any(
        self, operator: str, key: str, values: Any, matching: list[str], others: list[str]
    ) -> None:
        condition = {f"ForAnyValue:{operator}": {key: values}}
        assert allows(condition, {key: (*others, matching[0])})
        assert allows(condition, {key: matching[0]})
        assert not allows(condition, {key: tuple(others)})
        assert not allows(condition, {})
        assert not denies(condition, {})

    def test_keys_are_case_insensitive(
        self, operator: str, key: str, values: Any, matching: list[str], others: list[str]
    ) -> None:
        assert allows({operator: {key.upper(): values}}, {key.swapcase(): matching[0]})


@pytest.mark.parametrize(("operator", "negated"), NEGATED.items())
def test_set_operators_on_negated_operators(operator: str, negated: str) -> None:
    _, key, values, matching, others = next(row for row in MATCHING if row[0] == operator)
    every, some = {f"ForAllValues:{negated}": {key: values}}, {f"ForAnyValue:{negated}": {key: values}}
    assert allows(every, {key: tuple(others)}) and not allows(every, {key: (others[0], matching[0])})
    assert allows(some, {key: (others[0], matching[0])}) and not allows(some, {key: tuple(matching)})
    assert allows(every, {}) and not allows(some, {})


@pytest.mark.parametrize("prefix", ["", "ForAllValues:", "ForAnyValue:"])
def test_null_asks_whether_the_key_is_there(prefix: str) -> None:
    key = "aws:TokenIssueTime"
    for absent in ({}, {key: ()}):
        assert allows({f"{prefix}Null": {key: "true"}}, absent)
        assert not allows({f"{prefix}Null": {key: "false"}}, absent)
    for present in ("2020-01-01T00:00:01Z", "", ("a", "b")):
        assert not allows({f"{prefix}Null": {key: "true"}}, {key: present})
        assert allows({f"{prefix}Null": {key: False}}, {key: present})
    assert allows({"Null": {key: ["true", "false"]}}, {})


def test_several_keys_and_operators_are_all_required() -> None:
    """IAM User Guide, "Evaluation logic for conditions with multiple keys or values"."""
    condition = {
        "StringEqualsIgnoreCase": {
            "aws:PrincipalTag/department": ["finance", "hr", "legal"],
            "aws:PrincipalTag/role": ["audit", "security"],
        },
        "StringEquals": {"aws:PrincipalAccount": "123456789012"},
    }
    given = {
        "aws:PrincipalTag/department": "HR",
        "aws:PrincipalTag/role": "audit",
        "aws:PrincipalAccount": "123456789012",
    }
    assert allows(condition, given)
    for key in given:
        assert not allows(condition, given | {key: "other"})
        assert not allows(condition, {name: value for name, value in given.items() if name != key})


def test_the_guides_example_of_allowed_tag_keys() -> None:
    """IAM User Guide, "ForAllValues": the table below its example."""
    condition = {
        "ForAllValues:StringEquals": {"aws:TagKeys": ["environment", "cost-center"]},
        "Null": {"aws:TagKeys": "false"},
    }
    for keys, expected in [
        (("environment",), True),
        (("cost-center",), True),
        (("environment", "cost-center"), True),
        (("environment", "dept"), False),
    ]:
        assert allows(condition, {"aws:TagKeys": keys}) is expected
    assert not allows(condition, {})


def test_several_values_without_a_set_operator_are_decided_to_the_safe_side() -> None:
    condition = {"StringEquals": {"kms:EncryptionContextKeys": ["AppName", "Stage"]}}
    both = {"kms:EncryptionContextKeys": ("AppName", "Stage")}
    assert not allows(condition, both) and denies(condition, both)
    assert allows(condition, {"kms:EncryptionContextKeys": ("AppName",)})
    other = {"kms:EncryptionContextKeys": ("Other", "Another")}
    assert not allows(condition, other) and not denies(condition, other)


def test_a_list_too_long_to_compare_is_decided_to_the_safe_side() -> None:
    many = {"aws:TagKeys": ("a",) * 2_001}
    for prefix in ("", "ForAllValues:", "ForAnyValue:"):
        condition = {f"{prefix}StringEquals": {"aws:TagKeys": "a"}}
        assert not allows(condition, many) and denies(condition, many)


def test_if_exists_under_for_any_value_is_decided_to_the_safe_side() -> None:
    condition = {"ForAnyValue:StringEqualsIfExists": {"aws:TagKeys": "a"}}
    assert not allows(condition, {}) and denies(condition, {})


@pytest.mark.parametrize(
    ("operator", "values", "value"),
    [
        ("NumericEquals", "1", "one"),
        ("NumericNotEquals", "1", "NaN"),
        ("NumericLessThan", "1", "-Infinity"),
        ("DateLessThan", "2030-01-01", "yesterday"),
        ("DateNotEquals", "2030-01-01", "2030-02-30"),
        ("Bool", "true", "yes"),
        ("BinaryEquals", "AAAA", "!"),
        ("IpAddress", "10.0.0.0/8", "localhost"),
        ("NotIpAddress", "10.0.0.0/8", "unix:"),
        ("ArnLike", "arn:aws:iam::1:user/a", "alice"),
        ("ArnNotLike", "arn:aws:iam::1:user/a", "alice"),
    ],
)
def test_a_request_value_that_cannot_be_read_allows_nothing_and_denies(operator: str, values: str, value: str) -> None:
    condition = {operator: {"x:y": values}}
    assert not allows(condition, {"x:y": value})
    assert denies(condition, {"x:y": value})


# ---- encryption context (KMS Developer Guide, "kms:EncryptionContext:context-key") -----------------------------------


def test_the_name_of_an_encryption_context_key_ignores_case_and_its_value_does_not() -> None:
    condition = {"StringEquals": {"kms:EncryptionContext:Appname": "ExampleApp"}}
    assert allows(condition, {"kms:EncryptionContext:AppName": "ExampleApp"})
    assert not allows(condition, {"kms:EncryptionContext:AppName": "exampleapp"})


def test_encryption_context_keys_require_case_as_values() -> None:
    condition = {
        "ForAnyValue:StringEquals": {"kms:EncryptionContextKeys": "AppName"},
        "StringEquals": {"kms:EncryptionContext:AppName": "ExampleApp"},
    }
    assert allows(condition, {"kms:EncryptionContextKeys": ("AppName",), "kms:EncryptionContext:AppName": "ExampleApp"})
    assert not allows(
        condition, {"kms:EncryptionContextKeys": ("appname",), "kms:EncryptionContext:appname": "ExampleApp"}
    )


def test_a_second_key_that_differs_in_case_hides_nothing() -> None:
    name = "kms:EncryptionContext:"
    twice = {f"{name}Stage": "Restricted", f"{name}stage": "Test"}
    condition = {"StringEquals": {f"{name}Stage": "Restricted"}}
    for context in (twice, dict(reversed(twice.items()))):
        assert denies(condition, context)
        assert not allows(condition, context)


@pytest.mark.parametrize("key", ["kms:EncryptionContext:AppName", "aws:RequestTag/team"])
def test_for_all_values_on_a_single_valued_key_is_refused_in_key_policies(key: str) -> None:
    text = policy("Allow", {"ForAllValues:StringEquals": {key: "x"}}, Principal="*")
    with pytest.raises(InvalidPolicy, match="OverlyPermissiveCondition"):
        parse_policy(text)
    assert parse_policy(policy("Allow", {"ForAllValues:StringEquals": {key: "x"}}), identity=True)


# ---- variables -------------------------------------------------------------------------------------------------------


def test_a_variable_stands_for_the_requests_value() -> None:
    condition = {"StringEquals": {"kms:EncryptionContext:user": "${aws:username}"}}
    assert allows(condition, {"kms:EncryptionContext:user": "bob", "aws:username": "bob"})
    assert allows(condition, {"kms:EncryptionContext:user": "bob", "AWS:UserName": "bob"})
    assert not allows(condition, {"kms:EncryptionContext:user": "alice", "aws:username": "bob"})


def test_variables_are_literal_text_in_version_2008_10_17() -> None:
    condition = {"StringEquals": {"aws:username": "${aws:username}"}}
    assert not allows(condition, {"aws:username": "bob"}, "2008-10-17")
    assert allows(condition, {"aws:username": "${aws:username}"}, "2008-10-17")
    assert allows(condition, {"aws:username": "bob"})


@pytest.mark.parametrize("operator", ["StringEquals", "StringLike", "StringEqualsIgnoreCase"])
def test_a_variable_without_value_matches_nothing_and_its_negation_matches(operator: str) -> None:
    condition = {operator: {"x:y": ["${aws:PrincipalTag/team}", "other"]}}
    negated = {NEGATED[operator]: {"x:y": "${aws:PrincipalTag/team}"}}
    assert not allows(condition, {"x:y": "red"})
    assert not allows(condition, {"x:y": ""})
    assert allows(condition, {"x:y": "other"})
    assert denies(negated, {"x:y": "red"})
    assert allows(condition, {"x:y": "red", "aws:PrincipalTag/team": "red"})


def test_a_multivalued_key_is_no_variable() -> None:
    assert not allows({"StringEquals": {"x:y": "${aws:TagKeys}"}}, {"x:y": "a", "aws:TagKeys": ("a",)})


def test_a_default_stands_for_a_missing_value() -> None:
    condition = {"StringEquals": {"x:y": "${aws:PrincipalTag/team, 'company-wide'}"}}
    assert allows(condition, {"x:y": "company-wide"})
    assert not allows(condition, {"x:y": "company-wide", "aws:PrincipalTag/team": "yellow"})
    assert allows(condition, {"x:y": "yellow", "aws:PrincipalTag/team": "yellow"})


def test_the_value_of_a_variable_is_no_wildcard() -> None:
    condition = {"StringLike": {"x:y": "home/${aws:username}/*"}}
    assert allows(condition, {"x:y": "home/*/x", "aws:username": "*"})
    assert not allows(condition, {"x:y": "home/bob/x", "aws:username": "*"})
    assert not allows({"StringLike": {"x:y": "${aws:username, '*'}"}}, {"x:y": "bob"})


def test_special_characters_are_written_as_variables() -> None:
    condition = {"StringLike": {"x:y": "a${*}b${?}c${$}*"}}
    assert allows(condition, {"x:y": "a*b?c$d"})
    assert not allows(condition, {"x:y": "axb?c$d"})
    assert not allows(condition, {"x:y": "a*bxc$d"})


def test_a_variable_stands_in_a_segment_of_an_arn_and_does_not_leave_it() -> None:
    condition = {"ArnLike": {"aws:SourceArn": "arn:aws:kms:*:${aws:PrincipalAccount}:key/${aws:username}"}}
    arn = "arn:aws:kms:eu-west-1:111122223333:key/bob"
    assert allows(condition, {"aws:SourceArn": arn, "aws:PrincipalAccount": "111122223333", "aws:username": "bob"})
    assert not allows(condition, {"aws:SourceArn": arn, "aws:PrincipalAccount": "999922223333", "aws:username": "bob"})
    assert not allows(condition, {"aws:SourceArn": arn, "aws:PrincipalAccount": "111122223333:key/bob"})


def test_bool_takes_a_variable() -> None:
    condition = {"Bool": {"aws:SecureTransport": "${x:y}"}}
    assert allows(condition, {"aws:SecureTransport": "true", "x:y": "True"})
    assert not allows(condition, {"aws:SecureTransport": "true", "x:y": "false"})


# ---- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "condition",
    [
        {"StringMatches": {"a:b": "c"}},
        {"stringequals": {"a:b": "c"}},
        {"StringEqualsifexists": {"a:b": "c"}},
        {"NullIfExists": {"a:b": "true"}},
        {"ForSomeValues:StringEquals": {"a:b": "c"}},
        {":StringEquals": {"a:b": "c"}},
        {"ForAllValues:ForAnyValue:StringEquals": {"a:b": "c"}},
        {"StringEquals": {"username": "c"}},
        {"StringEquals": {"a:": "c"}},
        {"StringEquals": {"a:b": []}},
        {"StringEquals": {"a:b": None}},
        {"StringEquals": {"a:b": {"c": "d"}}},
        {"StringEquals": {"a:b": [["c"]]}},
        {"StringEquals": {}},
        {"StringEquals": "a:b"},
        {"StringEquals": {"a:b": "${unclosed"}},
        {"StringEquals": {"a:b": "${}"}},
        {"StringEquals": {"a:b": "${x:y, z}"}},
        {"StringLike": {"a:b": "*" + "a" * 2048}},
        {"NumericEquals": {"a:b": "ten"}},
        {"NumericEquals": {"a:b": "NaN"}},
        {"NumericEquals": {"a:b": "1e400"}},
        {"NumericEquals": {"a:b": "${x:y}"}},
        {"DateEquals": {"a:b": "2020"}},
        {"DateEquals": {"a:b": "2020-13-01"}},
        {"DateEquals": {"a:b": "2020-*"}},
        {"Bool": {"a:b": "yes"}},
        {"Null": {"a:b": "maybe"}},
        {"BinaryEquals": {"a:b": "not base64"}},
        {"IpAddress": {"a:b": "203.0.113.0/33"}},
        {"IpAddress": {"a:b": "203.0.113.*"}},
        {"IpAddress": {"a:b": "203.0.113.0/255.255.255.0"}},
        {"ArnEquals": {"a:b": "*"}},
        {"ArnEquals": {"a:b": "arn:aws:iam"}},
        {"ForAllValues:StringLike": {"a:b": [f"{number}*" for number in range(251)]}},
        {"StringEquals": {"a:b": [f"${{x:{number}}}" for number in range(101)]}},
    ],
)
def test_a_condition_that_cannot_be_read_is_refused_and_denies(condition: dict[str, Any]) -> None:
    for effect in ("Allow", "Deny"):
        text = policy(effect, condition)
        with pytest.raises(InvalidPolicy):
            parse_policy(text, identity=True)
        assert not allows(condition, {"a:b": "c"})
        assert denies(condition, {"a:b": "c"})


def test_an_unknown_condition_key_is_accepted_and_absent() -> None:
    assert not allows({"StringEquals": {"acme:Colour": "red"}}, {})
    assert allows({"StringNotEquals": {"acme:Colour": "red"}}, {})


# ---- the table of keys -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("KMS:keyspec", "kms:KeySpec"),
        ("kms:EncryptionContext:AppName", "kms:EncryptionContext:*"),
        ("kms:EncryptionContextKeys", "kms:EncryptionContextKeys"),
        ("aws:principaltag/Team", "aws:PrincipalTag/*"),
        ("kms:RecipientAttestation:PCR0", "kms:RecipientAttestation:PCR*"),
        ("kms:RecipientAttestation:NitroTPMPCR16", "kms:RecipientAttestation:NitroTPMPCR*"),
        ("kms:recipientattestation:imagesha384", "kms:RecipientAttestation:ImageSha384"),
    ],
)
def test_a_key_is_found_by_name_or_family(name: str, expected: str) -> None:
    assert condition_key(name) == CONDITION_KEYS[expected]


def test_other_keys_are_unknown() -> None:
    assert condition_key("aws:PrincipalTag/") is None
    assert condition_key("acme:Colour") is None


def test_types_of_keys() -> None:
    assert {key.name for key in CONDITION_KEYS.values() if key.multivalued} == {
        "aws:CalledVia",
        "aws:TagKeys",
        "kms:EncryptionContextKeys",
        "kms:GrantOperations",
        "kms:ResourceAliases",
    }
    assert CONDITION_KEYS["kms:ValidTo"].type is KeyType.DATE
