"""What policies learn of a request: the builder makes what stands in the table of condition keys, and nothing else."""

from __future__ import annotations

import ipaddress
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.access import context
from controlplane.access.authorise import Authoriser, Request
from controlplane.access.caller import Caller, CallerType, Identity
from controlplane.clock import ManualClock
from controlplane.domain.policy import CONDITION_KEYS, KeyType, condition_key
from controlplane.schema.keys import DesiredKey, KeySpec, KeyStatus, KeyUsage, Origin, PolicySource
from controlplane.schema.meta import Key, Metadata

ACCOUNT = "111122223333"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ROLE = f"arn:aws:iam::{ACCOUNT}:role/ops"
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/ops/monday"

OF_OPERATIONS = {
    "aws:RequestTag/*",
    "aws:TagKeys",
    "kms:BypassPolicyLockoutSafetyCheck",
    "kms:DataKeyPairSpec",
    "kms:EncryptionAlgorithm",
    "kms:ExpirationModel",
    "kms:GrantConstraintSourceArn",
    "kms:GrantConstraintType",
    "kms:GrantIsForAWSResource",
    "kms:GrantOperations",
    "kms:GranteePrincipal",
    "kms:GranteeServicePrincipal",
    "kms:KeyAgreementAlgorithm",
    "kms:MacAlgorithm",
    "kms:MessageType",
    "kms:PolicyName",
    "kms:PrimaryRegion",
    "kms:ReEncryptOnSameKey",
    "kms:RecipientAttestation:ImageSha384",
    "kms:RecipientAttestation:NitroTPMPCR*",
    "kms:RecipientAttestation:PCR*",
    "kms:ReplicaRegion",
    "kms:RetiringPrincipal",
    "kms:RetiringServicePrincipal",
    "kms:RotationPeriodInDays",
    "kms:ScheduleKeyDeletionPendingWindowInDays",
    "kms:SigningAlgorithm",
    "kms:TrailingDaysWithoutKeyUsage",
    "kms:ValidTo",
    "kms:WrappingAlgorithm",
    "kms:WrappingKeySpec",
    "sts:ExternalId",
    "sts:RoleSessionName",
    "sts:SourceIdentity",
}
"""Given by the handler of an operation that has them (``Request.conditions``)."""

NEVER = {
    "aws:CalledVia",
    "aws:CalledViaFirst",
    "aws:CalledViaLast",
    "aws:FederatedProvider",
    "aws:MultiFactorAuthAge",
    "aws:Referer",
    "aws:SourceAccount",
    "aws:SourceArn",
    "aws:SourceVpc",
    "aws:SourceVpce",
    "aws:VpcSourceIp",
    "kms:ViaService",
}
"""No request here comes from a service, a VPC, a federation or a second factor."""


def user(**more: Any) -> Identity:
    return Identity(f"arn:aws:iam::{ACCOUNT}:user/alice", ACCOUNT, CallerType.USER, "alice", "AIDAX", (), **more)


def session(**more: Any) -> Identity:
    return Identity(
        SESSION,
        ACCOUNT,
        CallerType.ROLE,
        "ops",
        "AROAX:monday",
        (),
        role_arn=ROLE,
        issued_at=NOW.timestamp() - 60,
        **more,
    )


def caller(identity: Identity, **more: Any) -> Caller:
    values: dict[str, Any] = {"source": "10.1.2.3", "secure": True, "user_agent": "Boto3/1.44", **more}
    return Caller(identity=identity, region="us-east-1", request_id="r", **values)


def key(**spec: Any) -> Key:
    values: dict[str, Any] = {
        "region": "us-east-1",
        "key_spec": KeySpec.SYMMETRIC_DEFAULT,
        "key_usage": KeyUsage.ENCRYPT_DECRYPT,
        "origin": Origin.AWS_KMS,
        **spec,
    }
    return Key(
        metadata=Metadata(name="k", uid="u", generation=1, resource_version=1, created_at=NOW),
        spec=DesiredKey(**values),
        status=KeyStatus(
            key_id="k",
            arn=f"arn:aws:kms:us-east-1:{ACCOUNT}:key/k",
            created_at=NOW,
            primary_region=values["region"] if values.get("multi_region") else None,
        ),
    )


def built(who: Identity | Caller, of: Key | None = None, **more: Any) -> context.Conditions:
    return context.of_request(who if isinstance(who, Caller) else caller(who), of, NOW.timestamp(), **more)


def everything() -> context.Conditions:
    """Of a session and of a user, on a key that has all."""
    whole = key(multi_region=True, aliases=("a", "b"), tags={"team": "t"})
    tags = {"team": "x"}
    return built(user(tags=tags)) | built(
        session(tags=tags, source_identity="alice"),
        whole,
        key_id="alias/a",
        encryption_context={"app": "1"},
        more=context.of_tags({"t": "v"}),
    )


# ---- the table -------------------------------------------------------------------------------------------------------


def test_the_builder_makes_every_key_of_the_table_but_those_of_operations_and_those_no_request_has() -> None:
    made = {found.name for name in everything() if (found := condition_key(name)) is not None}
    assert made | OF_OPERATIONS | NEVER == set(CONDITION_KEYS)
    assert not made & NEVER
    assert made & OF_OPERATIONS == {"aws:RequestTag/*", "aws:TagKeys"}


def test_every_key_that_is_made_stands_in_the_table_with_its_type_and_number() -> None:
    for name, value in everything().items():
        known = condition_key(name)
        assert known is not None, name
        assert isinstance(value, tuple) is known.multivalued, name
        for each in value if isinstance(value, tuple) else (value,):
            _reads(known.type, each, name)


def _reads(kind: KeyType, value: str, name: str) -> None:
    match kind:
        case KeyType.BOOL:
            assert value in ("true", "false"), name
        case KeyType.NUMERIC:
            float(value)
        case KeyType.DATE:
            assert value.isdigit() or datetime.fromisoformat(value).tzinfo is not None, name
        case KeyType.IP_ADDRESS:
            ipaddress.ip_address(value)
        case KeyType.ARN:
            assert value.count(":") >= 5, name
        case KeyType.STRING:
            assert isinstance(value, str), name


# ---- what stands in it -----------------------------------------------------------------------------------------------


def test_a_user_has_a_name_and_no_session() -> None:
    found = built(user(tags={"team": "blue"}))
    assert found["aws:username"] == "alice"
    assert found["aws:userid"] == "AIDAX"
    assert found["aws:PrincipalArn"] == f"arn:aws:iam::{ACCOUNT}:user/alice"
    assert found["aws:PrincipalType"] == "User"
    assert found["aws:PrincipalTag/team"] == "blue"
    assert not {"aws:TokenIssueTime", "aws:MultiFactorAuthPresent"} & found.keys()


def test_a_session_is_its_role_and_has_no_user_name() -> None:
    found = built(session())
    assert found["aws:PrincipalArn"] == ROLE
    assert found["aws:userid"] == "AROAX:monday"
    assert found["aws:PrincipalType"] == "AssumedRole"
    assert found["aws:TokenIssueTime"] == "2026-01-02T03:03:05Z"
    assert found["aws:MultiFactorAuthPresent"] == "false"
    assert "aws:username" not in found


def test_a_peer_without_an_address_and_an_agent_without_a_name_are_absent() -> None:
    found = built(caller(user(), source="unknown", user_agent="", secure=False))
    assert not {"aws:SourceIp", "aws:UserAgent"} & found.keys()
    assert found["aws:SecureTransport"] == "false"


def test_a_key_brings_what_it_is_and_only_what_it_is() -> None:
    found = built(user(), key(aliases=("a", "b/c"), tags={"team": "t"}))
    assert found["kms:KeySpec"] == found["kms:CustomerMasterKeySpec"] == "SYMMETRIC_DEFAULT"
    assert found["kms:KeyUsage"] == "ENCRYPT_DECRYPT"
    assert found["kms:KeyOrigin"] == "AWS_KMS"
    assert found["kms:MultiRegion"] == "false"
    assert found["kms:ResourceAliases"] == ("alias/a", "alias/b/c")
    assert found["aws:ResourceTag/team"] == "t"
    assert found["aws:ResourceAccount"] == ACCOUNT
    assert "kms:MultiRegionKeyType" not in found
    assert not {name for name in built(user()) if name.startswith(("kms:Key", "kms:Multi", "aws:Resource"))}


def test_a_multi_region_key_is_primary_or_replica() -> None:
    primary = key(multi_region=True)
    assert built(user(), primary)["kms:MultiRegionKeyType"] == "PRIMARY"
    replica = key(multi_region=True, region="eu-central-1")
    object_ = Key(
        metadata=replica.metadata,
        spec=replica.spec,
        status=KeyStatus(key_id="k", arn=replica.status.arn, created_at=NOW, primary_region="us-east-1"),
    )
    assert built(user(), object_)["kms:MultiRegionKeyType"] == "REPLICA"


@pytest.mark.parametrize(
    ("written", "alias"),
    [
        ("alias/a", "alias/a"),
        (f"arn:aws:kms:us-east-1:{ACCOUNT}:alias/a/b", "alias/a/b"),
        (f"arn:aws:kms:us-east-1:{ACCOUNT}:key/k", None),
        ("k", None),
        ("", None),
    ],
)
def test_the_alias_of_a_request_is_what_the_caller_wrote(written: str, alias: str | None) -> None:
    assert built(user(), key(aliases=("a",)), key_id=written).get("kms:RequestAlias") == alias


@given(pairs=st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=5))
def test_an_encryption_context_becomes_keys_of_its_own_family_alone(pairs: dict[str, str]) -> None:
    plain, found = built(user(), key()), built(user(), key(), encryption_context=pairs)
    added = found.keys() - plain.keys()
    assert all(name == "kms:EncryptionContextKeys" or name.startswith("kms:EncryptionContext:") for name in added)
    assert {name: found[name] for name in plain} == plain
    assert {name: found[f"kms:EncryptionContext:{name}"] for name in pairs} == pairs


# ---- lazily ----------------------------------------------------------------------------------------------------------


class Told(ManualClock):
    """Counts who asks for the time: the builder does, once."""

    asked = 0

    def time(self) -> float:
        self.asked += 1
        return super().time()


def test_no_context_is_built_for_policies_that_do_not_depend_on_it() -> None:
    clock = Told()
    authoriser = Authoriser(lambda uid, name: (), clock)
    administrator = Identity(
        f"arn:aws:iam::{ACCOUNT}:user/a", ACCOUNT, CallerType.USER, "a", "A", (_policy({"Action": "*"}),)
    )
    request = Request(caller(administrator), "Encrypt", {"a": "b"})
    assert authoriser.decide(request, key()).allowed
    assert clock.asked == 0
    depends = _policy({"Action": "*", "Condition": {"Bool": {"aws:SecureTransport": "true"}}})
    conditional = Identity(f"arn:aws:iam::{ACCOUNT}:user/a", ACCOUNT, CallerType.USER, "a", "A", (depends,))
    assert authoriser.decide(Request(caller(conditional), "Encrypt"), key()).allowed
    assert clock.asked == 1
    assert not authoriser.decide(Request(caller(conditional, secure=False), "Encrypt"), key()).allowed


def _policy(statement: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Resource": "*", **statement}})


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"StringEquals": {"kms:EncryptionContext:app": "1"}}, True),
        ({"StringEquals": {"kms:EncryptionContext:App": "1"}}, True),  # names of keys have no case
        ({"StringEquals": {"kms:EncryptionContext:app": "2"}}, False),
        ({"ForAllValues:StringEquals": {"kms:EncryptionContextKeys": ["app", "more"]}}, True),
        ({"ForAllValues:StringEquals": {"kms:EncryptionContextKeys": ["more"]}}, False),
        ({"StringEquals": {"kms:CallerAccount": ACCOUNT}}, True),
        ({"StringLike": {"kms:RequestAlias": "alias/p*"}}, True),
        ({"ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/b"}}, True),
        ({"ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/c"}}, False),
        ({"StringEquals": {"aws:ResourceTag/team": "${aws:PrincipalTag/team}"}}, True),
        ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, True),
        ({"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, False),
        ({"DateLessThan": {"aws:CurrentTime": "2027-06-01T00:00:00Z"}}, True),
        ({"DateGreaterThan": {"aws:EpochTime": "1900000000"}}, False),
        ({"Null": {"kms:ViaService": "true"}}, True),
        ({"StringEquals": {"kms:EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}}, True),
        ({"StringEquals": {"aws:RequestedRegion": "eu-central-1"}}, False),
        ({"StringLike": {"aws:UserAgent": "Boto3/*"}}, True),
    ],
)
def test_a_key_policy_decides_by_the_request(condition: dict[str, Any], holds: bool) -> None:
    identity = user(tags={"team": "blue"})
    document = _policy({"Action": "kms:*", "Principal": {"AWS": identity.arn}, "Condition": condition})
    of = key(policy=PolicySource(document=document), aliases=("payments", "b"), tags={"team": "blue"})
    request = Request(
        caller(identity),
        "Encrypt",
        {"app": "1"},
        conditions={"kms:EncryptionAlgorithm": "SYMMETRIC_DEFAULT"},
        key_id="alias/payments",
    )
    assert Authoriser(lambda uid, name: (), ManualClock()).decide(request, of).allowed is holds
