"""Grants: which may be made, what one allows, and that neither a context nor a child grant widens it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.domain.grants import OPERATIONS, allows, check, covers, may_retire, operations_of
from controlplane.errors import InvalidArn, InvalidInput
from controlplane.schema.grants import Grant, GrantConstraints, GrantOperation
from controlplane.schema.keys import KeySpec, KeyUsage
from plugins.sdk.vocabulary import KEY_SPECS

ACCOUNT = "111122223333"
ALICE = f"arn:aws:iam::{ACCOUNT}:user/alice"
BOB = f"arn:aws:iam::{ACCOUNT}:user/bob"
SERVICE = "logs.us-east-1.amazonaws.com"
SOURCE = f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:a"
Op = GrantOperation
WITH_CONTEXT = [op for op in Op if op.startswith(("Decrypt", "Encrypt", "GenerateDataKey", "ReEncrypt"))]


def grant(*operations: Op, **more: Any) -> Grant:
    values: dict[str, Any] = {"grantee_principal": ALICE, **more}
    if constraints := values.pop("when", None):
        values["constraints"] = GrantConstraints(**constraints)
    return Grant(
        grant_id="ab" * 32,
        key_arn="arn:aws:kms:us-east-1:111122223333:key/k",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        issuing_account=f"arn:aws:iam::{ACCOUNT}:root",
        operations=operations or (Op.DECRYPT,),
        **values,
    )


def refused(made: Grant, spec: KeySpec = KeySpec.SYMMETRIC_DEFAULT, usage: KeyUsage = KeyUsage.ENCRYPT_DECRYPT) -> str:
    with pytest.raises(InvalidInput) as caught:
        check(made, spec, usage)
    return caught.value.message


# ---- which may be made -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [spec for spec in KeySpec if spec is not KeySpec.SM2])
def test_every_operation_of_a_key_can_be_granted_and_no_other(spec: KeySpec) -> None:
    for usage in KEY_SPECS[spec].algorithms:
        possible = operations_of(spec, usage)
        assert {Op.DESCRIBEKEY, Op.CREATEGRANT, Op.RETIREGRANT} <= possible
        assert (Op.GETPUBLICKEY in possible) is not KEY_SPECS[spec].symmetric
        assert (Op.GENERATEDATAKEY in possible) is (spec is KeySpec.SYMMETRIC_DEFAULT)
        for operation in Op:
            if operation in possible:
                check(grant(operation), spec, usage)
            else:
                assert f"Operations {operation} cannot be granted" in refused(grant(operation), spec, usage)


def test_every_operation_can_be_granted_on_some_key() -> None:
    everywhere = {
        op for spec, row in KEY_SPECS.items() for usage in row.algorithms for op in operations_of(spec, usage)
    }
    assert everywhere == set(Op)


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"grantee_principal": None}, "either GranteePrincipal or GranteeServicePrincipal"),
        ({"grantee_service_principal": SERVICE}, "either GranteePrincipal or GranteeServicePrincipal"),
        ({"retiring_principal": BOB, "retiring_service_principal": SERVICE}, "either RetiringPrincipal or"),
        ({"grantee_principal": None, "grantee_service_principal": SERVICE}, "must have a SourceArn"),
        (
            {"grantee_principal": None, "grantee_service_principal": SERVICE, "when": {"source_arn": SOURCE}},
            "must have a RetiringPrincipal",
        ),
        ({"operations": ()}, "at least one operation"),
        (
            {"when": {"encryption_context_equals": {"a": "b"}, "encryption_context_subset": {"a": "b"}}},
            "either EncryptionContextEquals or EncryptionContextSubset",
        ),
        ({"when": {"encryption_context_equals": {}}}, "1 to 8 pairs"),
        ({"when": {"encryption_context_subset": {str(n): "v" for n in range(9)}}}, "1 to 8 pairs"),
        ({"when": {"encryption_context_subset": {"a": "v" * 385}}}, "at most 384 characters"),
    ],
)
def test_a_grant_that_cannot_be_is_refused_with_what_would_be_right(members: dict[str, Any], says: str) -> None:
    operations = members.get("operations", (Op.DECRYPT,))
    more = {name: value for name, value in members.items() if name != "operations"}
    assert says in refused(msgspec.structs.replace(grant(**more), operations=operations))


@pytest.mark.parametrize(
    "principal",
    ["alice", "*", "arn:aws:iam::1:user/a", f"arn:aws:iam::{ACCOUNT}:user/*", f"arn:aws:iam::{ACCOUNT}:group/a", "a.b"],
)
@pytest.mark.parametrize("member", ["grantee_principal", "retiring_principal"])
def test_a_principal_is_an_arn_or_a_service(principal: str, member: str) -> None:
    with pytest.raises(InvalidArn, match="ARN does not refer to a valid principal"):
        check(grant(**{member: principal}), KeySpec.SYMMETRIC_DEFAULT, KeyUsage.ENCRYPT_DECRYPT)


@pytest.mark.parametrize("principal", [ALICE, f"arn:aws:iam::{ACCOUNT}:root", "dynamodb.us-east-1.amazonaws.com"])
def test_users_accounts_and_services_can_be_granted(principal: str) -> None:
    check(grant(grantee_principal=principal), KeySpec.SYMMETRIC_DEFAULT, KeyUsage.ENCRYPT_DECRYPT)


def test_a_context_constraint_needs_a_symmetric_key() -> None:
    made = grant(Op.SIGN, when={"encryption_context_equals": {"a": "b"}})
    assert "symmetric encryption key" in refused(made, KeySpec.RSA_2048, KeyUsage.SIGN_VERIFY)


# ---- what one allows -------------------------------------------------------------------------------------------------


def test_a_grant_allows_its_grantee_what_it_lists() -> None:
    made = grant(Op.DECRYPT, Op.DESCRIBEKEY)
    assert allows(made, {ALICE}, Op.DECRYPT, {"any": "context"})
    assert allows(made, {ALICE}, Op.DESCRIBEKEY, None)
    assert not allows(made, {ALICE}, Op.ENCRYPT, None)
    assert not allows(made, {BOB}, Op.DECRYPT, None)


def test_each_grant_operation_has_its_permission() -> None:
    assert set(OPERATIONS.values()) == set(Op)
    assert OPERATIONS["kms:ReEncryptFrom"] is Op.REENCRYPTFROM


def test_a_source_arn_is_on_no_request() -> None:
    made = grant(Op.DECRYPT, Op.DESCRIBEKEY, Op.CREATEGRANT, when={"source_arn": SOURCE})
    for operation in (Op.DECRYPT, Op.DESCRIBEKEY, Op.CREATEGRANT):
        assert not allows(made, {ALICE}, operation, None, made)


pairs = st.dictionaries(st.sampled_from(["a", "A", "b", "а", ""]), st.sampled_from(["1", "2", "１", ""]), max_size=3)
held = st.dictionaries(st.sampled_from(["a", "A", "b"]), st.sampled_from(["1", "2"]), min_size=1, max_size=2)


@given(constraint=held, context=st.one_of(st.none(), pairs), operation=st.sampled_from(WITH_CONTEXT))
def test_a_constraint_holds_for_its_context_alone(
    constraint: dict[str, str], context: dict[str, str] | None, operation: Op
) -> None:
    """Names and values are compared as they are: case, look-alikes and width make another context."""
    equals = grant(operation, when={"encryption_context_equals": constraint})
    subset = grant(operation, when={"encryption_context_subset": constraint})
    present = context or {}
    assert allows(equals, {ALICE}, operation, context) is (present == constraint)
    assert allows(subset, {ALICE}, operation, context) is all(present.get(k) == v for k, v in constraint.items())


def test_a_context_constraint_does_not_hold_back_describe_key() -> None:
    assert allows(grant(Op.DESCRIBEKEY, when={"encryption_context_equals": {"a": "b"}}), {ALICE}, Op.DESCRIBEKEY, None)


# ---- a grant through a grant -----------------------------------------------------------------------------------------

constraints = st.one_of(
    st.none(),
    st.builds(lambda pairs: GrantConstraints(encryption_context_equals=pairs), held),
    st.builds(lambda pairs: GrantConstraints(encryption_context_subset=pairs), held),
)
operations = st.lists(st.sampled_from([Op.DECRYPT, Op.ENCRYPT, Op.CREATEGRANT, Op.DESCRIBEKEY]), min_size=1, max_size=4)


@given(data=st.data(), outer=constraints, inner=constraints, context=pairs)
def test_a_child_grant_never_allows_what_its_parent_does_not(
    data: st.DataObject, outer: GrantConstraints | None, inner: GrantConstraints | None, context: dict[str, str]
) -> None:
    parent = grant(*data.draw(operations), Op.CREATEGRANT, constraints=outer)
    child = grant(*data.draw(operations), constraints=inner, grantee_principal=BOB)
    assert allows(parent, {ALICE}, Op.CREATEGRANT, None, child) is covers(parent, child)
    if covers(parent, child):
        for operation in (Op.DECRYPT, Op.ENCRYPT, Op.DESCRIBEKEY):
            if allows(child, {BOB}, operation, context):
                assert allows(parent, {ALICE}, operation, context)


def test_a_grant_to_create_grants_is_none_without_the_operation_or_the_child() -> None:
    assert not allows(grant(Op.DECRYPT), {ALICE}, Op.CREATEGRANT, None, grant(Op.DECRYPT))
    assert not allows(grant(Op.CREATEGRANT), {ALICE}, Op.CREATEGRANT, None)
    assert covers(grant(Op.DECRYPT), grant(Op.DECRYPT))


def test_a_child_keeps_the_source_arn_of_its_parent() -> None:
    parent = grant(when={"source_arn": SOURCE})
    assert not covers(parent, grant())
    assert not covers(parent, grant(when={"source_arn": SOURCE + "b"}))
    assert covers(parent, grant(when={"source_arn": SOURCE}))


# ---- retiring --------------------------------------------------------------------------------------------------------


def test_the_retiring_principal_may_retire_and_a_grantee_that_was_allowed_to() -> None:
    assert may_retire(grant(retiring_principal=BOB), {BOB})
    assert not may_retire(grant(retiring_principal=BOB), {ALICE})
    assert may_retire(grant(Op.RETIREGRANT), {ALICE})
    assert not may_retire(grant(Op.RETIREGRANT), {BOB})
    assert not may_retire(grant(retiring_principal=None), {BOB})
