"""GenerateDataKey and its family, GenerateRandom, as boto3 sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mlkem, rsa

from tests.harness import Server, document, eventually, refusal
from tests.interop.keyring import Keyring

CONTEXT = {"EncryptionContext": {"tenant": "a"}}
DRY = ("DryRunOperationException", "The request would have succeeded, but the DryRun option is set.", 400)
PAIRS = [
    ("RSA_2048", rsa.RSAPrivateKey),
    ("RSA_3072", rsa.RSAPrivateKey),
    ("RSA_4096", rsa.RSAPrivateKey),
    ("ECC_NIST_P256", ec.EllipticCurvePrivateKey),
    ("ECC_NIST_P384", ec.EllipticCurvePrivateKey),
    ("ECC_NIST_P521", ec.EllipticCurvePrivateKey),
    ("ECC_SECG_P256K1", ec.EllipticCurvePrivateKey),
    ("ECC_NIST_EDWARDS25519", ed25519.Ed25519PrivateKey),
    ("ML_KEM_768", mlkem.MLKEM768PrivateKey),
    ("ML_KEM_1024", mlkem.MLKEM1024PrivateKey),
]


def members(answer: dict[str, Any]) -> set[str]:
    return answer.keys() - {"ResponseMetadata"}


def spki(private: Any) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return bytes(private.public_key().public_bytes(serialization.Encoding.DER, form))


# ---- data keys -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "length"), [({"KeySpec": "AES_256"}, 32), ({"KeySpec": "AES_128"}, 16), ({"NumberOfBytes": 64}, 64)]
)
def test_a_data_key_may_come_without_its_plaintext(
    kms: Any, keyring: Keyring, wish: dict[str, Any], length: int
) -> None:
    key = keyring()
    answer = kms.generate_data_key_without_plaintext(KeyId=key["KeyId"], **wish, **CONTEXT)
    assert members(answer) == {"CiphertextBlob", "KeyId", "KeyMaterialId"}
    assert (answer["KeyId"], answer["KeyMaterialId"]) == (key["Arn"], key["CurrentKeyMaterialId"])
    assert len(kms.decrypt(CiphertextBlob=answer["CiphertextBlob"], **CONTEXT)["Plaintext"]) == length
    refused = refusal(kms.decrypt, CiphertextBlob=answer["CiphertextBlob"])
    assert refused == ("InvalidCiphertextException", "", 400)


@pytest.mark.parametrize("wish", [{}, {"KeySpec": "AES_256", "NumberOfBytes": 32}])
def test_a_data_key_without_plaintext_needs_one_length(kms: Any, keyring: Keyring, wish: dict[str, Any]) -> None:
    refused = refusal(kms.generate_data_key_without_plaintext, KeyId=keyring.id(), **wish)
    assert refused == ("ValidationException", "Please specify either number of bytes or key spec.", 400)


# ---- data key pairs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("spec", "kind"), PAIRS)
def test_a_data_key_pair_is_a_pair_whose_private_key_decrypt_gives_back(
    kms: Any, keyring: Keyring, spec: str, kind: type
) -> None:
    key = keyring()
    answer = kms.generate_data_key_pair(KeyId=key["KeyId"], KeyPairSpec=spec, **CONTEXT)
    assert members(answer) == {
        "PrivateKeyCiphertextBlob",
        "PrivateKeyPlaintext",
        "PublicKey",
        "KeyId",
        "KeyPairSpec",
        "KeyMaterialId",
    }
    assert (answer["KeyId"], answer["KeyPairSpec"]) == (key["Arn"], spec)
    assert answer["KeyMaterialId"] == key["CurrentKeyMaterialId"]
    private = serialization.load_der_private_key(answer["PrivateKeyPlaintext"], None)
    assert isinstance(private, kind)
    assert spki(private) == answer["PublicKey"]
    opened = kms.decrypt(CiphertextBlob=answer["PrivateKeyCiphertextBlob"], **CONTEXT)
    assert opened["Plaintext"] == answer["PrivateKeyPlaintext"]
    refused = refusal(kms.decrypt, CiphertextBlob=answer["PrivateKeyCiphertextBlob"])
    assert refused == ("InvalidCiphertextException", "", 400)


def test_ml_kem_private_keys_are_seeds_of_one_length(kms: Any, keyring: Keyring) -> None:
    specs = ("ML_KEM_768", "ML_KEM_1024")
    pairs = [kms.generate_data_key_pair(KeyId=keyring.id(), KeyPairSpec=spec) for spec in specs]
    assert len({len(pair["PrivateKeyPlaintext"]) for pair in pairs}) == 1


def test_a_data_key_pair_may_come_without_its_plaintext(kms: Any, keyring: Keyring) -> None:
    answer = kms.generate_data_key_pair_without_plaintext(KeyId=keyring.id(), KeyPairSpec="ECC_NIST_P256", **CONTEXT)
    assert members(answer) == {"PrivateKeyCiphertextBlob", "PublicKey", "KeyId", "KeyPairSpec", "KeyMaterialId"}
    opened = kms.decrypt(CiphertextBlob=answer["PrivateKeyCiphertextBlob"], **CONTEXT)["Plaintext"]
    assert spki(serialization.load_der_private_key(opened, None)) == answer["PublicKey"]


def test_every_data_key_pair_is_new(kms: Any, keyring: Keyring) -> None:
    wish = {"KeyId": keyring.id(), "KeyPairSpec": "ECC_NIST_P256"}
    keys = {kms.generate_data_key_pair_without_plaintext(**wish)["PublicKey"] for _ in range(20)}
    assert len(keys) == 20


@pytest.mark.parametrize("spec", ["SM2", "ML_KEM_512"])
def test_a_key_pair_that_is_not_offered_is_an_unsupported_operation(kms: Any, keyring: Keyring, spec: str) -> None:
    for call in (kms.generate_data_key_pair, kms.generate_data_key_pair_without_plaintext):
        refused = refusal(call, KeyId=keyring.id(), KeyPairSpec=spec)
        assert (refused.type, refused.status) == ("UnsupportedOperationException", 400)
        assert refusal(call, KeyId=keyring.id(), KeyPairSpec=spec, DryRun=True).type == "UnsupportedOperationException"


# ---- all of them -----------------------------------------------------------------------------------------------------

CALLS = [
    ("GenerateDataKey", {"KeySpec": "AES_256"}),
    ("GenerateDataKeyWithoutPlaintext", {"KeySpec": "AES_256"}),
    ("GenerateDataKeyPair", {"KeyPairSpec": "ECC_NIST_P256"}),
    ("GenerateDataKeyPairWithoutPlaintext", {"KeyPairSpec": "ECC_NIST_P256"}),
]


def call_of(kms: Any, operation: str) -> Any:
    names = {wire: python for python, wire in kms.meta.method_to_api_mapping.items()}
    return getattr(kms, names[operation])


@pytest.mark.parametrize(("operation", "wish"), CALLS)
@pytest.mark.parametrize(
    ("spec", "usage"), [("RSA_2048", "SIGN_VERIFY"), ("HMAC_256", None), ("RSA_2048", "ENCRYPT_DECRYPT")]
)
def test_only_a_symmetric_encryption_key_protects_data_keys(
    kms: Any, keyring: Keyring, operation: str, wish: dict[str, Any], spec: str, usage: str | None
) -> None:
    key = keyring(spec, usage)
    message = f"{key['Arn']} key usage is {key['KeyUsage']} which is not valid for {operation}."
    if key["KeyUsage"] == "ENCRYPT_DECRYPT":
        message = f"Algorithm SYMMETRIC_DEFAULT is incompatible with key spec {spec}."
    refused = refusal(call_of(kms, operation), KeyId=key["KeyId"], **wish)
    assert refused == ("InvalidKeyUsageException", message, 400)


@pytest.mark.parametrize(("operation", "wish"), CALLS)
def test_a_dry_run_answers_neither_key_nor_ciphertext(
    shared_server: Server, keyring: Keyring, operation: str, wish: dict[str, Any]
) -> None:
    answer = shared_server.call(operation, {"KeyId": keyring.id(), "DryRun": True, **wish})
    assert (answer.status, answer.json()) == (400, {"__type": DRY[0], "message": DRY[1]})


@pytest.mark.parametrize(("operation", "wish"), CALLS)
def test_a_disabled_key_makes_no_data_keys(kms: Any, operation: str, wish: dict[str, Any]) -> None:
    key = kms.create_key()["KeyMetadata"]
    kms.disable_key(KeyId=key["KeyId"])
    for dry_run in (False, True):
        refused = refusal(call_of(kms, operation), KeyId=key["KeyId"], DryRun=dry_run, **wish)
        assert refused == ("DisabledException", f"{key['Arn']} is disabled.", 400)


@pytest.mark.parametrize(("operation", "wish"), CALLS)
def test_a_context_that_is_too_long_is_a_validation_error(
    kms: Any, keyring: Keyring, operation: str, wish: dict[str, Any]
) -> None:
    context = {"EncryptionContext": {"a": "x" * 8192}}
    assert refusal(call_of(kms, operation), KeyId=keyring.id(), **wish, **context).type == "ValidationException"


def test_random_octets_need_a_length(shared_server: Server) -> None:
    answer = shared_server.call("GenerateRandom", {})
    assert (answer.status, answer.json()) == (
        400,
        {"__type": "ValidationException", "message": "NumberOfBytes is required."},
    )
    for length, constraint in ((0, "greater than or equal to 1"), (1025, "less than or equal to 1024")):
        answer = shared_server.call("GenerateRandom", {"NumberOfBytes": length})
        assert (answer.status, answer.json()["__type"]) == (400, "ValidationException")
        assert answer.json()["message"].endswith(f"Member must have value {constraint}")


def custom_key_store(server: Server, name: str, **spec: Any) -> str:
    """The CustomKeyStoreId of a declared key store, connected if it is declared so."""
    store = server.ok("PUT", f"/v1/keystores/{name}", document("KeyStore", name, type="memory", **spec))
    wanted = "CONNECTED" if spec.get("connected", True) else "DISCONNECTED"
    eventually(
        lambda: server.ok("GET", f"/v1/keystores/{name}")["status"].get("connection", "DISCONNECTED") == wanted,
        f"{name} is {wanted}",
    )
    return "cks-" + str(store["metadata"]["uid"]).replace("-", "")[:17]


def test_random_octets_come_from_a_custom_key_store_that_is_connected(private_server: Server, tmp_path: Path) -> None:
    kms = private_server.kms()
    store = custom_key_store(private_server, "hsm", memory={"device": str(tmp_path / "device.json")})
    assert len(kms.generate_random(NumberOfBytes=32, CustomKeyStoreId=store)["Plaintext"]) == 32
    off = custom_key_store(private_server, "off", connected=False, memory={"device": str(tmp_path / "off.json")})
    refused = refusal(kms.generate_random, NumberOfBytes=32, CustomKeyStoreId=off)
    assert (refused.type, refused.status) == ("CustomKeyStoreInvalidStateException", 400)
    refused = refusal(kms.generate_random, NumberOfBytes=32, CustomKeyStoreId="cks-00000000000000000")
    assert refused.type == "CustomKeyStoreNotFoundException"


def test_a_key_in_a_custom_key_store_protects_data_keys_and_no_pairs(private_server: Server, tmp_path: Path) -> None:
    kms = private_server.kms()
    store = custom_key_store(private_server, "hsm", memory={"device": str(tmp_path / "device.json")})
    key = kms.create_key(Origin="AWS_CLOUDHSM", CustomKeyStoreId=store)["KeyMetadata"]
    made = kms.generate_data_key(KeyId=key["KeyId"], KeySpec="AES_256", **CONTEXT)
    assert kms.decrypt(CiphertextBlob=made["CiphertextBlob"], **CONTEXT)["Plaintext"] == made["Plaintext"]
    for call in (kms.generate_data_key_pair, kms.generate_data_key_pair_without_plaintext):
        refused = refusal(call, KeyId=key["KeyId"], KeyPairSpec="ECC_NIST_P256")
        assert refused.type == "UnsupportedOperationException"
        assert "origin is AWS_CLOUDHSM which is not valid for this operation" in refused.message
