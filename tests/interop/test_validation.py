"""Requests that break the model, over the wire: each kind of constraint in the exact words of AWS.

That every constraint of every member is told so is shown in ``tests/controlplane/api/kms/test_validation.py``.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.harness import Refused, Server, refusal

PAIRS = "RSA_2048, RSA_3072, RSA_4096, ECC_NIST_P256, ECC_NIST_P384, ECC_NIST_P521, ECC_SECG_P256K1, SM2, "
MORE_PAIRS = "ECC_NIST_EDWARDS25519, ML_KEM_512, ML_KEM_768, ML_KEM_1024"
SERVICE = r"^([A-Za-z0-9\-]+)\.([A-Za-z0-9\-]+)(\.[A-Za-z0-9\-]+)+$"


def told(server: Server, operation: str, **body: Any) -> str:
    """The message of a ValidationException, without what all of one error begin with."""
    answer = server.call(operation, body)
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (400, "ValidationException"), answer
    message: str = answer.json()["message"]
    assert message.startswith("1 validation error detected: Value "), message
    return message.removeprefix("1 validation error detected: Value ").replace(
        " failed to satisfy constraint: Member must ", ": "
    )


def test_each_kind_of_constraint_is_told_as_aws_tells_it(shared_server: Server) -> None:
    assert told(shared_server, "GenerateDataKey", KeyId="k", KeySpec="AES-256") == (
        "'AES-256' at 'keySpec': satisfy enum value set: [AES_256, AES_128]"
    )
    assert told(shared_server, "GenerateDataKeyPair", KeyId="k", KeyPairSpec="RSA") == (
        f"'RSA' at 'keyPairSpec': satisfy enum value set: [{PAIRS}{MORE_PAIRS}]"
    )
    assert told(shared_server, "DescribeKey", KeyId="") == ("'' at 'keyId': have length greater than or equal to 1")
    assert told(shared_server, "DeleteAlias", AliasName="a" * 257) == (
        f"'{'a' * 256}...' at 'aliasName': have length less than or equal to 256"
    )
    assert told(shared_server, "EnableKeyRotation", KeyId="k", RotationPeriodInDays=89) == (
        "'89' at 'rotationPeriodInDays': have value greater than or equal to 90"
    )
    assert told(shared_server, "ListKeys", Limit=1001) == "'1001' at 'limit': have value less than or equal to 1000"
    assert told(shared_server, "ListRetirableGrants", RetiringServicePrincipal="nobody") == (
        f"'nobody' at 'retiringServicePrincipal': satisfy regular expression pattern: {SERVICE}"
    )
    assert told(shared_server, "DescribeKey") == "null at 'keyId': not be null"
    assert told(shared_server, "Encrypt", KeyId="k", Plaintext="") == (
        "at 'plaintext': have length greater than or equal to 1"
    )
    assert told(shared_server, "Decrypt", KeyId="k", CiphertextBlob="") == (
        "at 'ciphertextBlob': have length greater than or equal to 1"
    )
    assert told(shared_server, "CreateKey", Tags=[{"TagKey": "a", "TagValue": ""}, {"TagKey": "", "TagValue": ""}]) == (
        "'' at 'tags.2.member.tagKey': have length greater than or equal to 1"
    )
    assert told(shared_server, "UntagResource", KeyId="k", TagKeys=["a", ""]) == (
        "'[a, ]' at 'tagKeys': satisfy constraint: [Member must have length less than or equal to 128, "
        "Member must have length greater than or equal to 1, Member must not be null]"
    )
    assert told(shared_server, "Decrypt", CiphertextBlob="eA==", DryRunModifiers=["IGNORE"]) == (
        "'[IGNORE]' at 'dryRunModifiers': satisfy constraint: "
        "[Member must satisfy enum value set: [IGNORE_CIPHERTEXT], Member must not be null]"
    )
    assert told(shared_server, "Decrypt", CiphertextBlob="eA==", GrantTokens=["t"] * 11).endswith(
        "t]' at 'grantTokens': have length less than or equal to 10"
    )


def test_several_errors_come_in_one_answer(shared_server: Server) -> None:
    answer = shared_server.call("CreateGrant", {"KeyId": "", "Operations": ["Rule"]})
    assert answer.json()["message"].startswith(
        "2 validation errors detected: Value '' at 'keyId' failed to satisfy constraint: "
        "Member must have length greater than or equal to 1; Value '[Rule]' at 'operations' failed to satisfy "
        "constraint: Member must satisfy constraint: [Member must satisfy enum value set: [Decrypt, Encrypt, "
    )


def test_boto3_shows_the_message_whole(kms: Any) -> None:
    """As anybody meets it who mistypes a value that the client does not check."""
    message = (
        "1 validation error detected: Value 'AES-256' at 'keySpec' failed to satisfy constraint: "
        "Member must satisfy enum value set: [AES_256, AES_128]"
    )
    assert refusal(kms.generate_data_key, KeyId="k", KeySpec="AES-256") == Refused("ValidationException", message, 400)


@pytest.mark.parametrize("spec", ["ML_DSA_44", "ML_DSA_87", "ECC_NIST_EDWARDS25519", "ML_KEM_768", "NOPE"])
def test_the_deprecated_name_of_the_key_spec_takes_the_values_it_had(shared_server: Server, spec: str) -> None:
    wish = {"CustomerMasterKeySpec": spec, "KeyUsage": "SIGN_VERIFY"}
    assert told(shared_server, "CreateKey", **wish).startswith(
        f"'{spec}' at 'customerMasterKeySpec': satisfy enum value set: [RSA_2048, "
    )


def test_a_refusal_is_in_the_audit_journal_under_its_name_and_without_a_secret(shared_server: Server) -> None:
    secret = "kpw-" + "x" * 40
    answer = shared_server.call("CreateCustomKeyStore", {"CustomKeyStoreName": "v", "KeyStorePassword": secret})
    assert answer.json()["message"] == (
        "1 validation error detected: Value at 'keyStorePassword' failed to satisfy constraint: "
        "Member must have length less than or equal to 32"
    )
    request_id = answer.headers["x-amzn-requestid"]
    (found,) = shared_server.ok("GET", f"/v1/audit?requestId={request_id}")["items"]
    record = found["record"]
    assert (record["decision"], record["error"]) == ("failed", "InvalidInput")
    assert secret not in json.dumps(record)
    assert secret not in shared_server.log()
