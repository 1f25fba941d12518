"""Encrypt, Decrypt, GenerateDataKey and GenerateRandom as boto3 sees them, dry runs too."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness import Server, refusal
from tests.interop.answers import members

# ---- Encrypt, Decrypt ------------------------------------------------------------------------------------------------


def test_encrypt_and_decrypt_answer_every_member(kms: Any, key: dict[str, Any]) -> None:
    encrypted = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"hello")
    assert members(encrypted) == {"CiphertextBlob", "KeyId", "EncryptionAlgorithm"}
    assert (encrypted["KeyId"], encrypted["EncryptionAlgorithm"]) == (key["Arn"], "SYMMETRIC_DEFAULT")
    assert b"hello" not in encrypted["CiphertextBlob"]
    decrypted = kms.decrypt(CiphertextBlob=encrypted["CiphertextBlob"])
    assert members(decrypted) == {"Plaintext", "KeyId", "EncryptionAlgorithm", "KeyMaterialId"}
    assert (decrypted["Plaintext"], decrypted["KeyId"]) == (b"hello", key["Arn"])
    assert decrypted["EncryptionAlgorithm"] == "SYMMETRIC_DEFAULT"
    assert decrypted["KeyMaterialId"] == key["CurrentKeyMaterialId"]
    assert kms.encrypt(KeyId=key["KeyId"], Plaintext=b"hello")["CiphertextBlob"] != encrypted["CiphertextBlob"]


@pytest.mark.parametrize("size", [1, 4095, 4096])
def test_up_to_4096_octets_come_back_as_they_went(kms: Any, key: dict[str, Any], size: int) -> None:
    plaintext = bytes(index % 256 for index in range(size))
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=plaintext)["CiphertextBlob"]
    assert len(blob) <= 6144, "AWS's limit for Decrypt"
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == plaintext


@pytest.mark.parametrize(
    ("size", "constraint"), [(0, "greater than or equal to 1"), (4097, "less than or equal to 4096")]
)
def test_a_plaintext_out_of_bounds_is_a_validation_error(
    shared_server: Server, key: dict[str, Any], size: int, constraint: str
) -> None:
    import base64

    text = base64.b64encode(b"x" * size).decode()
    answer = shared_server.call("Encrypt", {"KeyId": key["KeyId"], "Plaintext": text})
    assert (answer.status, answer.json()["__type"]) == (400, "ValidationException")
    assert (
        f"at 'plaintext' failed to satisfy constraint: Member must have length {constraint}" in answer.json()["message"]
    )
    assert text not in answer.body.decode() or not text, "a plaintext is not for error messages"


CONTEXT = {"tenant": "a", "purpose": "\u00fcml\u00e4ut \U0001f511", "empty": ""}


def test_the_encryption_context_is_a_set_of_pairs_whose_order_says_nothing(kms: Any, key: dict[str, Any]) -> None:
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x", EncryptionContext=CONTEXT)["CiphertextBlob"]
    backwards = dict(reversed(CONTEXT.items()))
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=backwards)["Plaintext"] == b"x"


@pytest.mark.parametrize(
    "context",
    [
        {},
        {"tenant": "a"},
        {**CONTEXT, "tenant": "b"},
        {**CONTEXT, "more": "x"},
        {**CONTEXT, "Tenant": "a"},
        {**CONTEXT, "purpose": "u\u0308ml\u00e4ut \U0001f511"},
        {"tenanta": "", **{name: value for name, value in CONTEXT.items() if name != "tenant"}},
        {value: name for name, value in CONTEXT.items() if value},
    ],
    ids=["missing", "part", "other value", "more", "other case", "other normal form", "moved border", "swapped"],
)
def test_another_encryption_context_is_refused_without_a_word(
    kms: Any, key: dict[str, Any], context: dict[str, str]
) -> None:
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x", EncryptionContext=CONTEXT)["CiphertextBlob"]
    refused = refusal(kms.decrypt, CiphertextBlob=blob, EncryptionContext=context)
    assert (refused.type, refused.message, refused.status) == ("InvalidCiphertextException", "", 400)


def test_a_context_where_none_was_is_refused(kms: Any, key: dict[str, Any]) -> None:
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    assert refusal(kms.decrypt, CiphertextBlob=blob, EncryptionContext={"a": "b"}).type == "InvalidCiphertextException"
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext={})["Plaintext"] == b"x"


def test_a_blob_decrypts_under_its_own_key_only(kms: Any, key: dict[str, Any]) -> None:
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    other = kms.create_key()["KeyMetadata"]
    refused = refusal(kms.decrypt, CiphertextBlob=blob, KeyId=other["KeyId"])
    assert refused.type == "IncorrectKeyException"
    assert refused.message == "The key ID in the request does not identify a CMK that can perform this operation."


@pytest.mark.parametrize(
    "blob", [b"x", b"KS\x01\x00", b"\x00" * 200, b"KS\x01\x00" + b"\x00" * 100, b"KS\x02" + b"\x00" * 90]
)
def test_octets_that_were_never_a_blob_are_an_invalid_ciphertext(kms: Any, key: dict[str, Any], blob: bytes) -> None:
    assert refusal(kms.decrypt, CiphertextBlob=blob) == ("InvalidCiphertextException", "", 400)
    with_key = refusal(kms.decrypt, CiphertextBlob=blob, KeyId=key["KeyId"])
    assert with_key.type in ("InvalidCiphertextException", "IncorrectKeyException")


def test_a_key_is_used_for_what_it_is_for(kms: Any) -> None:
    signing = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]
    refused = refusal(kms.encrypt, KeyId=signing["KeyId"], Plaintext=b"x")
    message = f"{signing['Arn']} key usage is SIGN_VERIFY which is not valid for Encrypt."
    assert refused == ("InvalidKeyUsageException", message, 400)
    refused = refusal(kms.generate_data_key, KeyId=signing["KeyId"], KeySpec="AES_256")
    assert refused.type == "InvalidKeyUsageException"


def test_rsa_keys_encrypt_with_oaep_and_have_no_context(kms: Any) -> None:
    key = kms.create_key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]
    for algorithm in ("RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"):
        encrypted = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x", EncryptionAlgorithm=algorithm)
        assert (encrypted["EncryptionAlgorithm"], len(encrypted["CiphertextBlob"])) == (algorithm, 256)
        more = {"CiphertextBlob": encrypted["CiphertextBlob"], "EncryptionAlgorithm": algorithm}
        decrypted = kms.decrypt(KeyId=key["KeyId"], **more)
        assert (decrypted["Plaintext"], decrypted["EncryptionAlgorithm"]) == (b"x", algorithm)
        assert refusal(kms.decrypt, **more).type == "ValidationException", "no KeyId"
        refused = refusal(kms.decrypt, KeyId=key["KeyId"], EncryptionContext={"a": "b"}, **more)
        assert refused.type == "ValidationException"
    wrong = {**more, "EncryptionAlgorithm": "RSAES_OAEP_SHA_1"}
    assert refusal(kms.decrypt, KeyId=key["KeyId"], **wrong).type == "InvalidCiphertextException"
    refused = refusal(kms.encrypt, KeyId=key["KeyId"], Plaintext=b"x")
    assert refused.type == "InvalidKeyUsageException", "SYMMETRIC_DEFAULT is the default, and not for RSA"
    too_long = refusal(kms.encrypt, KeyId=key["KeyId"], Plaintext=b"x" * 215, EncryptionAlgorithm="RSAES_OAEP_SHA_1")
    assert (too_long.type, too_long.status) == ("ValidationException", 400)


# ---- GenerateDataKey, GenerateRandom ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "length"),
    [
        ({"KeySpec": "AES_256"}, 32),
        ({"KeySpec": "AES_128"}, 16),
        ({"NumberOfBytes": 1}, 1),
        ({"NumberOfBytes": 1024}, 1024),
    ],
)
def test_a_data_key_comes_in_clear_and_encrypted(
    kms: Any, key: dict[str, Any], wish: dict[str, Any], length: int
) -> None:
    context = {"EncryptionContext": {"a": "b"}}
    answer = kms.generate_data_key(KeyId=key["KeyId"], **wish, **context)
    assert members(answer) == {"CiphertextBlob", "Plaintext", "KeyId", "KeyMaterialId"}
    assert (answer["KeyId"], len(answer["Plaintext"])) == (key["Arn"], length)
    assert answer["KeyMaterialId"] == key["CurrentKeyMaterialId"]
    decrypted = kms.decrypt(CiphertextBlob=answer["CiphertextBlob"], **context)
    assert decrypted["Plaintext"] == answer["Plaintext"]
    assert kms.generate_data_key(KeyId=key["KeyId"], NumberOfBytes=64)["Plaintext"] != answer["Plaintext"]


@pytest.mark.parametrize("wish", [{}, {"KeySpec": "AES_256", "NumberOfBytes": 32}])
def test_a_data_key_needs_one_length(kms: Any, key: dict[str, Any], wish: dict[str, Any]) -> None:
    refused = refusal(kms.generate_data_key, KeyId=key["KeyId"], **wish)
    assert refused == ("ValidationException", "Please specify either number of bytes or key spec.", 400)


@pytest.mark.parametrize("wish", [{"NumberOfBytes": 0}, {"NumberOfBytes": 1025}, {"KeySpec": "AES_512"}])
def test_a_data_key_of_an_impossible_length_is_a_validation_error(
    shared_server: Server, key: dict[str, Any], wish: dict[str, Any]
) -> None:
    answer = shared_server.call("GenerateDataKey", {"KeyId": key["KeyId"], **wish})
    assert (answer.status, answer.json()["__type"]) == (400, "ValidationException")


def test_random_octets_have_the_length_that_was_asked_for(kms: Any) -> None:
    for length in (1, 32, 1024):
        answer = kms.generate_random(NumberOfBytes=length)
        assert members(answer) == {"Plaintext"}
        assert len(answer["Plaintext"]) == length
    assert kms.generate_random(NumberOfBytes=32)["Plaintext"] != kms.generate_random(NumberOfBytes=32)["Plaintext"]
    refused = refusal(kms.generate_random, NumberOfBytes=8, CustomKeyStoreId="cks-00000000000000000")
    assert refused.type == "CustomKeyStoreNotFoundException"


# ---- DryRun ----------------------------------------------------------------------------------------------------------


def test_a_dry_run_says_whether_it_would_work_and_does_nothing(kms: Any, key: dict[str, Any]) -> None:
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    calls = (
        (kms.encrypt, {"KeyId": key["KeyId"], "Plaintext": b"x"}),
        (kms.decrypt, {"CiphertextBlob": blob}),
        (kms.generate_data_key, {"KeyId": key["KeyId"], "KeySpec": "AES_256"}),
    )
    for call, arguments in calls:
        refused = refusal(call, DryRun=True, **arguments)
        assert refused.type == "DryRunOperationException"
        assert refused.message == "The request would have succeeded, but the DryRun option is set."
    kms.disable_key(KeyId=key["KeyId"])
    for call, arguments in calls:
        assert refusal(call, DryRun=True, **arguments).type == "DisabledException"
