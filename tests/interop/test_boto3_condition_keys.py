"""Each condition key that an operation brings is really sent: a Deny on its value holds, one on another does not.

What a key means where several operations share it, and how operators compare, is tested with the policies; here each
operation that is the only one to send a key is asked once, over the wire.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError, ParamValidationError

from tests.harness import ACCOUNT, OTHER_REGION, REGION, Server, refusal

SYMMETRIC: dict[str, Any] = {}
ECC = {"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}
AGREEMENT = {"KeySpec": "ECC_NIST_P256", "KeyUsage": "KEY_AGREEMENT"}
HMAC = {"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"}
EXTERNAL = {"Origin": "EXTERNAL"}
ROLE = f"arn:aws:iam::{ACCOUNT}:role/r"
USER = f"arn:aws:iam::{ACCOUNT}:user/admin"
GRANT = {"GranteePrincipal": USER, "Operations": ["Encrypt"], "DryRun": True}
WRAPPING = {"WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"}
UNTIL = datetime.now(UTC) + timedelta(days=30)
IMPORT = {
    "ImportToken": b"x",
    "EncryptedKeyMaterial": b"x",
    "ExpirationModel": "KEY_MATERIAL_EXPIRES",
    "ValidTo": UNTIL,
}
SIGN = {"Message": b"x", "MessageType": "RAW", "SigningAlgorithm": "ECDSA_SHA_256"}
BUCKET = f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:g"
SERVICE = "logs.us-east-1.amazonaws.com"
EQUALS = "StringEquals"
OF_A_SERVICE = {
    "GranteeServicePrincipal": SERVICE,
    "RetiringServicePrincipal": SERVICE,
    "Operations": ["Encrypt"],
    "Constraints": {"SourceArn": BUCKET},
    "DryRun": True,
}

CASES = [
    ("generate_data_key_pair", {"KeyPairSpec": "ECC_NIST_P256"}, SYMMETRIC, "kms:DataKeyPairSpec", "ECC_NIST_P256"),
    ("get_parameters_for_import", WRAPPING, EXTERNAL, "kms:WrappingAlgorithm", "RSAES_OAEP_SHA_256"),
    ("get_parameters_for_import", WRAPPING, EXTERNAL, "kms:WrappingKeySpec", "RSA_2048"),
    ("import_key_material", IMPORT, EXTERNAL, "kms:ExpirationModel", "KEY_MATERIAL_EXPIRES"),
    ("create_grant", {**GRANT, "RetiringPrincipal": USER}, SYMMETRIC, "kms:RetiringPrincipal", USER),
    ("create_grant", OF_A_SERVICE, SYMMETRIC, "kms:GrantConstraintSourceArn", BUCKET),
    ("create_grant", OF_A_SERVICE, SYMMETRIC, "kms:GranteeServicePrincipal", SERVICE),
    ("create_grant", OF_A_SERVICE, SYMMETRIC, "kms:RetiringServicePrincipal", SERVICE),
    ("derive_shared_secret", {"KeyAgreementAlgorithm": "ECDH"}, AGREEMENT, "kms:KeyAgreementAlgorithm", "ECDH"),
    ("generate_mac", {"Message": b"x", "MacAlgorithm": "HMAC_SHA_256"}, HMAC, "kms:MacAlgorithm", "HMAC_SHA_256"),
    ("sign", SIGN, ECC, "kms:SigningAlgorithm", "ECDSA_SHA_256"),
    ("sign", SIGN, ECC, "kms:MessageType", "RAW"),
    ("get_key_policy", {"PolicyName": "default"}, SYMMETRIC, "kms:PolicyName", "default"),
    ("replicate_key", {"ReplicaRegion": "eu-west-1"}, {"MultiRegion": True}, "kms:ReplicaRegion", "eu-west-1"),
    ("update_primary_region", {"PrimaryRegion": "eu-west-1"}, {"MultiRegion": True}, "kms:PrimaryRegion", "eu-west-1"),
    ("re_encrypt", {}, SYMMETRIC, "kms:ReEncryptOnSameKey", "true"),
    ("enable_key_rotation", {"RotationPeriodInDays": 90}, SYMMETRIC, "kms:RotationPeriodInDays", "90"),
    ("enable_key_rotation", {}, SYMMETRIC, "kms:RotationPeriodInDays", "365"),
    ("create_key", {"MultiRegion": True}, SYMMETRIC, "kms:MultiRegionKeyType", "PRIMARY"),
    ("retire_grant", {"DryRun": True}, SYMMETRIC, "kms:GrantConstraintType", "EncryptionContextSubset"),
    ("retire_grant", {"DryRun": True}, SYMMETRIC, "kms:EncryptionContext:app", "billing"),
]
OPERATORS = {"kms:ReEncryptOnSameKey": "Bool", "kms:RotationPeriodInDays": "NumericEquals"}
OTHERS = {"Bool": "false", "NumericEquals": "1000", EQUALS: "another"}


def ask(server: Server, condition: dict[str, Any], call: str, arguments: dict[str, Any]) -> str:
    """The type of the refusal that a user hears who may do everything unless the condition holds; empty for none."""
    statements = [
        {"Effect": "Allow", "Action": "kms:*", "Resource": "*"},
        {"Effect": "Deny", "Action": "kms:*", "Resource": "*", "Condition": condition},
    ]
    theirs = server.kms_of(server.person(f"c-{uuid.uuid4()}", *statements))
    try:
        getattr(theirs, call)(**arguments)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    except ParamValidationError as error:  # the condition would not be asked at all
        raise AssertionError(str(error)) from error
    return ""


@pytest.mark.parametrize(("call", "members", "key", "name", "value"), CASES)
def test_an_operation_sends_its_condition_key(
    shared_server: Server, call: str, members: dict[str, Any], key: dict[str, Any], name: str, value: str
) -> None:
    kms = shared_server.kms()
    key_id = kms.create_key(**key)["KeyMetadata"]["KeyId"]
    arguments = {"KeyId": key_id, **members}
    if call == "derive_shared_secret":
        other = kms.create_key(**AGREEMENT)["KeyMetadata"]["KeyId"]
        arguments["PublicKey"] = kms.get_public_key(KeyId=other)["PublicKey"]
    if call == "re_encrypt":
        blob = kms.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
        arguments = {"CiphertextBlob": blob, "DestinationKeyId": key_id}
    if call == "retire_grant":
        subset = {"Constraints": {"EncryptionContextSubset": {"app": "billing"}}}
        made = kms.create_grant(KeyId=key_id, GranteePrincipal=ROLE, Operations=["Decrypt"], **subset)
        arguments["GrantId"] = made["GrantId"]
    if call == "create_key":
        arguments = members
    operator = OPERATORS.get(name, EQUALS)
    assert ask(shared_server, {operator: {name: value}}, call, arguments) == "AccessDeniedException"
    assert ask(shared_server, {operator: {name: OTHERS[operator]}}, call, arguments) != "AccessDeniedException"
    assert ask(shared_server, {"Null": {name: "true"}}, call, arguments) != "AccessDeniedException", "it is there"


def test_making_replicas_can_be_told_from_making_primary_keys(shared_server: Server) -> None:
    """Both are CreateKey; a replica is made in its own Region, where its maker needs that permission."""
    multi = shared_server.kms().create_key(MultiRegion=True)["KeyMetadata"]["KeyId"]
    replicate = {"KeyId": multi, "ReplicaRegion": OTHER_REGION}
    for kind, call, arguments, refused in (
        ("REPLICA", "create_key", {"MultiRegion": True}, False),
        ("REPLICA", "create_key", {}, False),
        ("REPLICA", "replicate_key", replicate, True),
    ):
        condition = {EQUALS: {"kms:MultiRegionKeyType": kind, "aws:RequestedRegion": [OTHER_REGION, REGION]}}
        assert (ask(shared_server, condition, call, arguments) == "AccessDeniedException") is refused
    elsewhere = shared_server.kms(OTHER_REGION)
    assert refusal(elsewhere.describe_key, KeyId=multi).type == "NotFoundException", "none was made"


def test_an_expiry_can_be_limited(shared_server: Server) -> None:
    key_id = shared_server.kms().create_key(**EXTERNAL)["KeyMetadata"]["KeyId"]
    for days, refused in ((40, True), (20, False)):
        limit = (datetime.now(UTC) + timedelta(days=days)).isoformat(timespec="seconds")
        heard = ask(
            shared_server, {"DateLessThan": {"kms:ValidTo": limit}}, "import_key_material", {"KeyId": key_id, **IMPORT}
        )
        assert (heard == "AccessDeniedException") is refused
