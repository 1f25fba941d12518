"""Requests of every operation, made from the service model and then spoilt: an answer of the model's form, or one of
the errors that the model documents for this operation. Never a 500, never a shape that a client cannot read.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import botocore.parsers
import botocore.session
import pytest
from botocore.model import ListShape, MapShape, Shape, StringShape, StructureShape
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.api.kms.operations import OPERATIONS
from tests.harness import OTHER_REGION, REGION, Answer, Server

MODEL = botocore.session.get_session().get_service_model("kms")
PARSER = botocore.parsers.JSONParser()
COMMON = {"ValidationException", "SerializationException", "AccessDeniedException"}
SLOW = {"CreateKey", "GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"}
"""Operations that may generate RSA keys: fewer examples of them say as much."""

fuzz = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def known(shared_server: Server) -> dict[str, list[str]]:
    """Identifiers that exist, so that requests get past the look-up."""
    kms = shared_server.kms()
    wishes = (
        {},
        {"MultiRegion": True},
        {"Origin": "EXTERNAL"},
        {"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"},
        {"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"},
        {"KeySpec": "ECC_NIST_P256", "KeyUsage": "KEY_AGREEMENT"},
    )
    keys = [kms.create_key(**wish)["KeyMetadata"] for wish in wishes]
    gone = kms.create_key()["KeyMetadata"]
    kms.schedule_key_deletion(KeyId=gone["KeyId"])
    kms.create_alias(AliasName="alias/fuzz", TargetKeyId=keys[0]["KeyId"])
    grant = kms.create_grant(
        KeyId=keys[0]["KeyId"], GranteePrincipal="arn:aws:iam::000000000000:user/admin", Operations=["Decrypt"]
    )
    blob = kms.encrypt(KeyId=keys[0]["KeyId"], Plaintext=b"fuzz")["CiphertextBlob"]
    return {
        "key": [
            *(key["KeyId"] for key in keys),
            keys[0]["Arn"],
            gone["KeyId"],
            "alias/fuzz",
            "alias/none",
            "arn:aws:kms",
        ],
        "grant": [grant["GrantId"]],
        "token": [grant["GrantToken"]],
        "blob": [base64.b64encode(blob).decode()],
    }


def value(shape: Shape, name: str, known: dict[str, list[str]]) -> st.SearchStrategy[Any]:
    """Values that the model allows for a shape, ones that exist preferred."""
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    match shape:
        case StructureShape():
            return structure(shape, known)
        case ListShape():
            return st.lists(value(shape.member, name, known), min_size=low or 0, max_size=min(high or 3, 3))
        case MapShape():
            return st.dictionaries(st.text("ab:*ü", max_size=4), st.text(max_size=8), max_size=3)
        case StringShape() if shape.enum:
            return st.sampled_from(shape.enum)
    match shape.type_name:
        case "boolean":
            return st.booleans()
        case "integer" | "long":
            return st.integers(low or 0, high or 1000)
        case "timestamp":
            return st.integers(0, 2**33) | st.floats(-1e12, 1e12)
        case "blob":
            made = st.binary(min_size=low or 1, max_size=200).map(lambda octets: base64.b64encode(octets).decode())
            return made | st.sampled_from(known["blob"]) if name.endswith("Blob") else made
    if name.endswith("KeyId"):
        return st.sampled_from(known["key"])
    if name == "GrantId":
        return st.sampled_from(known["grant"]) | st.text("0123456789abcdef", min_size=64, max_size=64)
    if name in ("GrantToken", "GrantTokens"):
        return st.sampled_from(known["token"]) | st.text(min_size=1, max_size=20)
    if name.endswith("Region"):
        return st.sampled_from([REGION, OTHER_REGION, "ap-south-1"])
    if name == "Policy":
        return st.sampled_from(["{}", "[]", json.dumps({"Version": "2012-10-17", "Statement": []}), "\x20"])
    if name == "AliasName":
        return st.sampled_from(["alias/fuzz", "alias/fuzz2", "alias/aws/x", "fuzz", "alias/ä"])
    return st.text("abcdef0123456789-:/.", min_size=low or 0, max_size=min(high or 40, 80))


def structure(shape: StructureShape, known: dict[str, list[str]]) -> st.SearchStrategy[dict[str, Any]]:
    members = {name: value(member, name, known) for name, member in shape.members.items()}
    return st.fixed_dictionaries(
        {name: each for name, each in members.items() if name in shape.required_members},
        optional={name: each for name, each in members.items() if name not in shape.required_members},
    )


junk = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=30),
    st.sampled_from(["", "x" * 10_000, "\x00", "💥", "../../etc/passwd", "${aws:username}", "%s%n", "' OR 1=1 --"]),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)


def assert_of_the_model(operation: str, body: Any, answer: Answer) -> None:
    model = MODEL.operation_model(operation)
    told = f"{operation} {str(body)[:2000]} -> {answer.status} {answer.body[:500]!r}"
    if answer.status == 200:
        if model.output_shape is None:
            assert answer.body == b"", told
        else:
            wire = {"headers": answer.headers, "status_code": 200, "body": answer.body}
            parsed = PARSER.parse(wire, model.output_shape)
            assert set(model.output_shape.required_members) <= parsed.keys(), told
            assert json.loads(answer.body).keys() <= model.output_shape.members.keys(), told
        return
    documented = {shape.name for shape in model.error_shapes} | COMMON
    assert answer.status in (400, 500, 503), told
    assert answer.headers["x-amzn-errortype"] in documented, told
    assert answer.headers["x-amzn-errortype"] != "KMSInternalException", told
    assert json.loads(answer.body)["__type"] == answer.headers["x-amzn-errortype"]


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
@settings(fuzz, max_examples=20)
@given(data=st.data())
def test_requests_of_the_model_are_answered_in_its_form_or_refused_with_its_errors(
    shared_server: Server, known: dict[str, list[str]], operation: str, data: st.DataObject
) -> None:
    shape = MODEL.operation_model(operation).input_shape
    body = data.draw(structure(shape, known)) if shape is not None else {}
    if operation in SLOW and "RSA" in str(body):
        return
    assert_of_the_model(operation, body, shared_server.call(operation, body))


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
@settings(fuzz, max_examples=20)
@given(data=st.data())
def test_requests_with_one_member_spoilt_are_refused_or_answered(
    shared_server: Server, known: dict[str, list[str]], operation: str, data: st.DataObject
) -> None:
    shape = MODEL.operation_model(operation).input_shape
    if shape is None or not shape.members:
        return
    body = data.draw(structure(shape, known))
    body[data.draw(st.sampled_from(sorted(shape.members)))] = data.draw(junk)
    if operation in SLOW and "RSA" in str(body):
        return
    assert_of_the_model(operation, body, shared_server.call(operation, body))
