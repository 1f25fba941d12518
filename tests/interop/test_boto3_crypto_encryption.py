"""ReEncrypt, and what Encrypt and Decrypt owe beside the round trip: sizes, key usage, dry runs, who may."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.harness import ACCOUNT, Server, refusal
from tests.interop.keyring import Keyring

CONTEXT = {"tenant": "a"}
DRY = ("DryRunOperationException", "The request would have succeeded, but the DryRun option is set.", 400)
INCORRECT = (
    "IncorrectKeyException",
    "The key ID in the request does not identify a CMK that can perform this operation.",
    400,
)
OAEP = {"RSAES_OAEP_SHA_1": 20, "RSAES_OAEP_SHA_256": 32}


def members(answer: dict[str, Any]) -> set[str]:
    return answer.keys() - {"ResponseMetadata"}


def rsa(keyring: Keyring, spec: str = "RSA_2048") -> dict[str, Any]:
    return keyring(spec, "ENCRYPT_DECRYPT")


# ---- RSA -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", OAEP)
@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_rsa_encrypts_as_much_as_the_reference_says(kms: Any, keyring: Keyring, bits: int, algorithm: str) -> None:
    key = rsa(keyring, f"RSA_{bits}")
    longest = bits // 8 - 2 * OAEP[algorithm] - 2
    same = {"KeyId": key["KeyId"], "EncryptionAlgorithm": algorithm}
    blob = kms.encrypt(Plaintext=b"x" * longest, **same)["CiphertextBlob"]
    assert len(blob) == bits // 8
    decrypted = kms.decrypt(CiphertextBlob=blob, **same)
    assert decrypted["Plaintext"] == b"x" * longest
    assert members(decrypted) == {"Plaintext", "KeyId", "EncryptionAlgorithm"}
    message = f"Algorithm {algorithm} and key spec RSA_{bits} cannot encrypt data larger than {longest} bytes."
    for dry_run in (False, True):
        refused = refusal(kms.encrypt, Plaintext=b"x" * (longest + 1), DryRun=dry_run, **same)
        assert refused == ("ValidationException", message, 400)


def test_the_default_algorithm_is_for_symmetric_keys(kms: Any, keyring: Keyring) -> None:
    refused = refusal(kms.encrypt, KeyId=rsa(keyring)["KeyId"], Plaintext=b"x")
    message = "Algorithm SYMMETRIC_DEFAULT is incompatible with key spec RSA_2048."
    assert refused == ("InvalidKeyUsageException", message, 400)
    refused = refusal(kms.encrypt, KeyId=keyring.id(), Plaintext=b"x", EncryptionAlgorithm="RSAES_OAEP_SHA_256")
    message = "Algorithm RSAES_OAEP_SHA_256 is incompatible with key spec SYMMETRIC_DEFAULT."
    assert refused == ("InvalidKeyUsageException", message, 400)
    refused = refusal(kms.encrypt, KeyId=keyring.id(), Plaintext=b"x", EncryptionAlgorithm="SM2PKE")
    assert refused.type == "InvalidKeyUsageException", "SM2 exists in China Regions only"


def test_a_signing_key_of_the_same_spec_does_not_encrypt(kms: Any, keyring: Keyring) -> None:
    key = keyring("RSA_2048")
    same = {"KeyId": key["KeyId"], "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"}
    for operation, call, more in (
        ("Encrypt", kms.encrypt, {"Plaintext": b"x"}),
        ("Decrypt", kms.decrypt, {"CiphertextBlob": b"x" * 256}),
    ):
        message = f"{key['Arn']} key usage is SIGN_VERIFY which is not valid for {operation}."
        assert refusal(call, **same, **more) == ("InvalidKeyUsageException", message, 400)


def test_a_symmetric_blob_with_a_key_of_another_kind_is_an_incorrect_key(kms: Any, keyring: Keyring) -> None:
    blob = kms.encrypt(KeyId=keyring.id(), Plaintext=b"x")["CiphertextBlob"]
    for spec in ("HMAC_256", "RSA_2048", "ECC_NIST_P256"):
        assert refusal(kms.decrypt, CiphertextBlob=blob, KeyId=keyring.id(spec)) == INCORRECT


# ---- ReEncrypt -------------------------------------------------------------------------------------------------------


def test_re_encrypt_moves_a_ciphertext_and_answers_every_member(kms: Any, keyring: Keyring) -> None:
    source, destination = keyring(), kms.create_key()["KeyMetadata"]
    blob = kms.encrypt(KeyId=source["KeyId"], Plaintext=b"secret", EncryptionContext=CONTEXT)["CiphertextBlob"]
    moved = kms.re_encrypt(
        CiphertextBlob=blob,
        SourceEncryptionContext=CONTEXT,
        DestinationKeyId=destination["KeyId"],
        DestinationEncryptionContext={"tenant": "b"},
    )
    assert members(moved) == {
        "CiphertextBlob",
        "SourceKeyId",
        "KeyId",
        "SourceEncryptionAlgorithm",
        "DestinationEncryptionAlgorithm",
        "SourceKeyMaterialId",
        "DestinationKeyMaterialId",
    }
    assert (moved["SourceKeyId"], moved["KeyId"]) == (source["Arn"], destination["Arn"])
    assert moved["SourceEncryptionAlgorithm"] == moved["DestinationEncryptionAlgorithm"] == "SYMMETRIC_DEFAULT"
    assert moved["SourceKeyMaterialId"] == source["CurrentKeyMaterialId"]
    assert moved["DestinationKeyMaterialId"] == destination["CurrentKeyMaterialId"]
    opened = kms.decrypt(CiphertextBlob=moved["CiphertextBlob"], EncryptionContext={"tenant": "b"})
    assert (opened["Plaintext"], opened["KeyId"]) == (b"secret", destination["Arn"])
    assert refusal(kms.decrypt, CiphertextBlob=moved["CiphertextBlob"], EncryptionContext=CONTEXT).type == (
        "InvalidCiphertextException"
    )
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT)["Plaintext"] == b"secret"


def test_re_encrypt_under_the_same_key_changes_the_context(kms: Any, keyring: Keyring) -> None:
    blob = kms.encrypt(KeyId=keyring.id(), Plaintext=b"secret")["CiphertextBlob"]
    moved = kms.re_encrypt(
        CiphertextBlob=blob,
        SourceKeyId=keyring.id(),
        DestinationKeyId=keyring.id(),
        DestinationEncryptionContext=CONTEXT,
    )
    assert kms.decrypt(CiphertextBlob=moved["CiphertextBlob"], EncryptionContext=CONTEXT)["Plaintext"] == b"secret"


def test_re_encrypt_goes_between_symmetric_and_rsa_keys(kms: Any, keyring: Keyring) -> None:
    public = {"KeyId": rsa(keyring)["KeyId"], "EncryptionAlgorithm": "RSAES_OAEP_SHA_1"}
    outside = kms.encrypt(Plaintext=b"secret", **public)["CiphertextBlob"]
    inside = kms.re_encrypt(
        CiphertextBlob=outside,
        SourceKeyId=public["KeyId"],
        SourceEncryptionAlgorithm="RSAES_OAEP_SHA_1",
        DestinationKeyId=keyring.id(),
        DestinationEncryptionContext=CONTEXT,
    )
    assert "SourceKeyMaterialId" not in inside
    assert inside["DestinationKeyMaterialId"] == keyring()["CurrentKeyMaterialId"]
    assert inside["SourceEncryptionAlgorithm"] == "RSAES_OAEP_SHA_1"
    back = kms.re_encrypt(
        CiphertextBlob=inside["CiphertextBlob"],
        SourceEncryptionContext=CONTEXT,
        DestinationKeyId=rsa(keyring, "RSA_3072")["KeyId"],
        DestinationEncryptionAlgorithm="RSAES_OAEP_SHA_256",
    )
    assert "DestinationKeyMaterialId" not in back
    assert back["SourceKeyMaterialId"] == keyring()["CurrentKeyMaterialId"]
    assert back["DestinationEncryptionAlgorithm"] == "RSAES_OAEP_SHA_256"
    opened = kms.decrypt(
        CiphertextBlob=back["CiphertextBlob"], KeyId=back["KeyId"], EncryptionAlgorithm="RSAES_OAEP_SHA_256"
    )
    assert opened["Plaintext"] == b"secret"


def test_re_encrypt_refuses_what_decrypt_and_encrypt_refuse(kms: Any, keyring: Keyring) -> None:
    blob = kms.encrypt(KeyId=keyring.id(), Plaintext=b"x" * 300, EncryptionContext=CONTEXT)["CiphertextBlob"]
    right = {"CiphertextBlob": blob, "SourceEncryptionContext": CONTEXT, "DestinationKeyId": keyring.id()}
    other = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.re_encrypt(**right)
    unknown = "00000000-0000-4000-8000-000000000000"
    to_rsa = {"DestinationKeyId": rsa(keyring)["KeyId"], "DestinationEncryptionAlgorithm": "RSAES_OAEP_SHA_256"}
    for wrong, kind in (
        ({"SourceEncryptionContext": {}}, "InvalidCiphertextException"),
        ({"SourceKeyId": other}, "IncorrectKeyException"),
        ({"CiphertextBlob": blob[:-1]}, "InvalidCiphertextException"),
        ({"CiphertextBlob": b"x"}, "InvalidCiphertextException"),
        ({"DestinationKeyId": unknown}, "NotFoundException"),
        ({"SourceKeyId": unknown}, "NotFoundException"),
        ({"DestinationKeyId": keyring.id("HMAC_256")}, "InvalidKeyUsageException"),
        ({"DestinationKeyId": rsa(keyring)["KeyId"]}, "InvalidKeyUsageException"),
        ({"SourceEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "SourceEncryptionContext": {}}, "ValidationException"),
        (to_rsa, "ValidationException"),  # 300 octets do not fit
        ({**to_rsa, "DestinationEncryptionContext": CONTEXT}, "ValidationException"),
    ):
        refused = refusal(kms.re_encrypt, **{**right, **wrong})
        assert (refused.type, refused.status) == (kind, 400), wrong


def test_either_key_of_re_encrypt_must_be_usable(kms: Any, keyring: Keyring) -> None:
    idle = kms.create_key()["KeyMetadata"]
    blob = kms.encrypt(KeyId=idle["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    other = kms.encrypt(KeyId=keyring.id(), Plaintext=b"x")["CiphertextBlob"]
    kms.disable_key(KeyId=idle["KeyId"])
    expected = ("DisabledException", f"{idle['Arn']} is disabled.", 400)
    assert refusal(kms.re_encrypt, CiphertextBlob=blob, DestinationKeyId=keyring.id()) == expected
    assert refusal(kms.re_encrypt, CiphertextBlob=other, DestinationKeyId=idle["KeyId"]) == expected


def denying(kms: Any, action: str) -> dict[str, Any]:
    statements = [
        {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "kms:*", "Resource": "*"},
        {"Effect": "Deny", "Principal": "*", "Action": action, "Resource": "*"},
    ]
    text = json.dumps({"Version": "2012-10-17", "Statement": statements})
    metadata: dict[str, Any] = kms.create_key(Policy=text)["KeyMetadata"]
    return metadata


def test_re_encrypt_needs_permission_on_both_keys(kms: Any, keyring: Keyring) -> None:
    not_from, not_to = denying(kms, "kms:ReEncryptFrom"), denying(kms, "kms:ReEncryptTo")
    for source, destination, action, on in (
        (not_from, keyring(), "kms:ReEncryptFrom", not_from),
        (keyring(), not_to, "kms:ReEncryptTo", not_to),
        (not_to, not_from, None, None),
    ):
        blob = kms.encrypt(KeyId=source["KeyId"], Plaintext=b"x")["CiphertextBlob"]
        arguments = {"CiphertextBlob": blob, "DestinationKeyId": destination["KeyId"]}
        if action is None or on is None:
            assert kms.re_encrypt(**arguments)["KeyId"] == destination["Arn"]
            continue
        refused = refusal(kms.re_encrypt, **arguments)
        assert (refused.type, refused.status) == ("AccessDeniedException", 400)
        assert f"is not authorized to perform: {action} on resource: {on['Arn']}" in refused.message


def test_re_encrypt_leaves_a_record_for_each_key(private_server: Server) -> None:
    kms = private_server.kms()
    source, destination = (kms.create_key()["KeyMetadata"] for _ in range(2))
    blob = kms.encrypt(KeyId=source["KeyId"], Plaintext=b"x", EncryptionContext=CONTEXT)["CiphertextBlob"]
    arguments = {"CiphertextBlob": blob, "DestinationKeyId": destination["KeyId"]}
    kms.re_encrypt(SourceEncryptionContext=CONTEXT, **arguments)
    refusal(kms.re_encrypt, **arguments)
    private_server.stop()
    lines = "".join(
        path.read_text() for path in (private_server.directory / "audit").rglob("segment-*.jsonl")
    ).splitlines()
    records = [json.loads(line).get("record", {}) for line in lines]
    found = [record for record in records if record.get("operation") == "ReEncrypt"]
    assert [(each["resource"], each["decision"]) for each in found] == [
        (source["Arn"], "allowed"),
        (destination["Arn"], "allowed"),
        (source["Arn"], "failed"),
        (destination["Arn"], "failed"),
    ]


# ---- dry runs --------------------------------------------------------------------------------------------------------


def test_a_dry_run_of_re_encrypt_reads_the_ciphertext(kms: Any, keyring: Keyring) -> None:
    blob = kms.encrypt(KeyId=keyring.id(), Plaintext=b"x")["CiphertextBlob"]
    right = {"CiphertextBlob": blob, "DestinationKeyId": keyring.id(), "DryRun": True}
    assert refusal(kms.re_encrypt, **right) == DRY
    assert refusal(kms.re_encrypt, **{**right, "CiphertextBlob": blob[:-1]}).type == "InvalidCiphertextException"
    assert refusal(kms.decrypt, CiphertextBlob=blob, DryRun=True) == DRY
    assert refusal(kms.decrypt, CiphertextBlob=blob[:-1], DryRun=True).type == "InvalidCiphertextException"


def test_a_dry_run_may_leave_the_ciphertext_out(kms: Any, keyring: Keyring) -> None:
    ignore = {"DryRun": True, "DryRunModifiers": ["IGNORE_CIPHERTEXT"]}
    both = {"SourceKeyId": keyring.id(), "DestinationKeyId": rsa(keyring)["KeyId"]}
    both["DestinationEncryptionAlgorithm"] = "RSAES_OAEP_SHA_256"
    for call, arguments in ((kms.decrypt, {"KeyId": keyring.id()}), (kms.re_encrypt, both)):
        assert refusal(call, **arguments, **ignore) == DRY
        assert refusal(call, CiphertextBlob=b"no ciphertext at all", **arguments, **ignore) == DRY
        # Without a dry run, or without the modifier, the ciphertext is needed.
        for less in ({}, {"DryRunModifiers": ["IGNORE_CIPHERTEXT"]}, {"DryRun": True}):
            refused = refusal(call, **arguments, **less)
            assert (refused.type, refused.status) == ("ValidationException", 400)
            assert refused.message.startswith("CiphertextBlob is required")
    # The key must be named, exist, be usable, and fit.
    assert refusal(kms.decrypt, **ignore).message.startswith("KeyId is required")
    assert refusal(kms.re_encrypt, DestinationKeyId=keyring.id(), **ignore).message.startswith(
        "SourceKeyId is required"
    )
    assert refusal(kms.decrypt, KeyId=keyring.id("HMAC_256"), **ignore).type == "InvalidKeyUsageException"
    assert refusal(kms.decrypt, KeyId="alias/none", **ignore).type == "NotFoundException"
    denied = denying(kms, "kms:Decrypt")
    assert refusal(kms.decrypt, KeyId=denied["KeyId"], **ignore).type == "AccessDeniedException"
    kms.disable_key(KeyId=denied["KeyId"])
    assert refusal(kms.re_encrypt, **{**both, "SourceKeyId": denied["KeyId"]}, **ignore).type == "DisabledException"


def test_an_unknown_modifier_is_a_validation_error(shared_server: Server, keyring: Keyring) -> None:
    body = {"KeyId": keyring.id(), "DryRun": True, "DryRunModifiers": ["IGNORE_EVERYTHING"]}
    answer = shared_server.call("Decrypt", body)
    assert (answer.status, answer.json()["__type"]) == (400, "ValidationException")


def test_a_dry_run_of_encrypt_answers_no_ciphertext(shared_server: Server, keyring: Keyring) -> None:
    answer = shared_server.call("Encrypt", {"KeyId": keyring.id(), "Plaintext": "eA==", "DryRun": True})
    assert answer.json().keys() == {"__type", "message"}
    assert answer.headers["x-amzn-errortype"] == "DryRunOperationException"
