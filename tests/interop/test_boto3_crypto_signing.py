"""Sign, Verify, GetPublicKey, GenerateMac, VerifyMac as boto3 sees them: every algorithm, and every refusal."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, mlkem, rsa

from tests.harness import ACCOUNT, REGION, Server, refusal
from tests.interop.keyring import Keyring

RSA = [f"RSASSA_{padding}_SHA_{bits}" for padding in ("PKCS1_V1_5", "PSS") for bits in (256, 384, 512)]
HASHED = [
    *(("RSA_2048", algorithm) for algorithm in RSA),
    ("RSA_3072", "RSASSA_PSS_SHA_384"),
    ("ECC_NIST_P256", "ECDSA_SHA_256"),
    ("ECC_NIST_P384", "ECDSA_SHA_384"),
    ("ECC_NIST_P521", "ECDSA_SHA_512"),
    ("ECC_SECG_P256K1", "ECDSA_SHA_256"),
]
"""Specs and algorithms that sign a digest."""
ML_DSA = [(f"ML_DSA_{size}", "ML_DSA_SHAKE_256") for size in (44, 65, 87)]
ALL = [*HASHED, ("ECC_NIST_EDWARDS25519", "ED25519_SHA_512"), *ML_DSA]
MACS = [(f"HMAC_{bits}", f"HMAC_SHA_{bits}") for bits in (224, 256, 384, 512)]

MESSAGE = b"pay 100 to alice"


def digest(algorithm: str, message: bytes = MESSAGE) -> bytes:
    return hashlib.new("sha" + algorithm.rsplit("_", 1)[1], message).digest()


def members(answer: dict[str, Any]) -> set[str]:
    return answer.keys() - {"ResponseMetadata"}


# ---- Sign, Verify ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("spec", "algorithm"), ALL)
def test_what_is_signed_verifies_and_answers_every_member(
    kms: Any, keyring: Keyring, spec: str, algorithm: str
) -> None:
    key = keyring(spec)
    signed = kms.sign(KeyId=key["KeyId"], Message=MESSAGE, SigningAlgorithm=algorithm)
    assert members(signed) == {"KeyId", "Signature", "SigningAlgorithm"}
    assert (signed["KeyId"], signed["SigningAlgorithm"]) == (key["Arn"], algorithm)
    same = {"KeyId": key["KeyId"], "SigningAlgorithm": algorithm, "Signature": signed["Signature"]}
    verified = kms.verify(Message=MESSAGE, MessageType="RAW", **same)
    assert members(verified) == {"KeyId", "SignatureValid", "SigningAlgorithm"}
    assert (verified["KeyId"], verified["SignatureValid"]) == (key["Arn"], True)
    assert verified["SigningAlgorithm"] == algorithm


@pytest.mark.parametrize(("spec", "algorithm"), ALL)
def test_anything_else_is_an_invalid_signature(kms: Any, keyring: Keyring, spec: str, algorithm: str) -> None:
    key_id = keyring.id(spec)
    signature = kms.sign(KeyId=key_id, Message=MESSAGE, SigningAlgorithm=algorithm)["Signature"]
    other = kms.create_key(KeySpec=spec, KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    right = {"KeyId": key_id, "Message": MESSAGE, "Signature": signature, "SigningAlgorithm": algorithm}
    middle = len(signature) // 2
    for wrong in (
        {"Message": MESSAGE + b"0"},
        {"KeyId": other},
        {"Signature": signature[:middle] + bytes([signature[middle] ^ 1]) + signature[middle + 1 :]},
        {"Signature": signature[:-1]},
        {"Signature": signature + b"\x00"},
        {"Signature": b"\x00"},
        {"Signature": b"\xff" * 6144},
    ):
        assert refusal(kms.verify, **(right | wrong)) == ("KMSInvalidSignatureException", "", 400), wrong


@pytest.mark.parametrize(("spec", "algorithm"), HASHED)
def test_a_message_and_its_digest_are_the_same_message(kms: Any, keyring: Keyring, spec: str, algorithm: str) -> None:
    same = {"KeyId": keyring.id(spec), "SigningAlgorithm": algorithm}
    by_digest = kms.sign(Message=digest(algorithm), MessageType="DIGEST", **same)["Signature"]
    by_message = kms.sign(Message=MESSAGE, **same)["Signature"]
    for signature in (by_digest, by_message):
        assert kms.verify(Message=MESSAGE, Signature=signature, **same)["SignatureValid"]
        more = {"Message": digest(algorithm), "MessageType": "DIGEST", "Signature": signature}
        assert kms.verify(**more, **same)["SignatureValid"]
    # A digest given as a message is hashed again.
    refused = refusal(kms.verify, Message=digest(algorithm), Signature=by_digest, **same)
    assert refused.type == "KMSInvalidSignatureException"


@pytest.mark.parametrize(("spec", "algorithm"), HASHED)
@pytest.mark.parametrize("change", [-1, 1])
def test_a_digest_of_another_length_is_a_validation_error(
    kms: Any, keyring: Keyring, spec: str, algorithm: str, change: int
) -> None:
    same = {"KeyId": keyring.id(spec), "SigningAlgorithm": algorithm, "MessageType": "DIGEST"}
    message = b"x" * (len(digest(algorithm)) + change)
    expected = ("ValidationException", f"Digest is invalid length for algorithm {algorithm}.", 400)
    assert refusal(kms.sign, Message=message, **same) == expected
    assert refusal(kms.verify, Message=message, Signature=b"x", **same) == expected


@pytest.mark.parametrize(
    ("spec", "algorithm", "message_type"),
    [
        ("RSA_2048", "RSASSA_PSS_SHA_256", "EXTERNAL_MU"),
        ("ECC_NIST_P256", "ECDSA_SHA_256", "EXTERNAL_MU"),
        ("ECC_NIST_EDWARDS25519", "ED25519_SHA_512", "DIGEST"),
        ("ECC_NIST_EDWARDS25519", "ED25519_SHA_512", "EXTERNAL_MU"),
        ("ML_DSA_44", "ML_DSA_SHAKE_256", "DIGEST"),
    ],
)
def test_a_message_type_that_the_algorithm_does_not_take_is_a_validation_error(
    kms: Any, keyring: Keyring, spec: str, algorithm: str, message_type: str
) -> None:
    same = {"KeyId": keyring.id(spec), "SigningAlgorithm": algorithm, "MessageType": message_type}
    message = f"Message type {message_type} is incompatible with algorithm {algorithm}."
    assert refusal(kms.sign, Message=b"x" * 64, **same) == ("ValidationException", message, 400)
    assert refusal(kms.verify, Message=b"x" * 64, Signature=b"x", **same) == ("ValidationException", message, 400)


@pytest.mark.parametrize(("spec", "algorithm"), ML_DSA)
def test_ml_dsa_signs_the_message_or_its_representative(kms: Any, keyring: Keyring, spec: str, algorithm: str) -> None:
    public = serialization.load_der_public_key(keyring.public_key(spec))
    assert isinstance(public, mldsa.MLDSA44PublicKey | mldsa.MLDSA65PublicKey | mldsa.MLDSA87PublicKey)
    # FIPS 204, algorithms 2 and 7: mu = H(H(pk, 64) || 0x00 || len(context) || context || message, 64)
    tr = hashlib.shake_256(public.public_bytes_raw()).digest(64)
    mu = hashlib.shake_256(tr + b"\x00\x00" + MESSAGE).digest(64)
    same = {"KeyId": keyring.id(spec), "SigningAlgorithm": algorithm}
    by_mu = kms.sign(Message=mu, MessageType="EXTERNAL_MU", **same)["Signature"]
    by_message = kms.sign(Message=MESSAGE, MessageType="RAW", **same)["Signature"]
    for signature in (by_mu, by_message):
        public.verify(signature, MESSAGE)
        assert kms.verify(Message=MESSAGE, Signature=signature, **same)["SignatureValid"]
        more = {"Message": mu, "MessageType": "EXTERNAL_MU", "Signature": signature}
        assert kms.verify(**more, **same)["SignatureValid"]
    refused = refusal(kms.sign, Message=mu[:-1], MessageType="EXTERNAL_MU", **same)
    assert refused.type == "ValidationException"
    assert "64 bytes" in refused.message


def test_the_prehashed_form_of_ed25519_is_told_to_be_missing(kms: Any, keyring: Keyring) -> None:
    same = {"KeyId": keyring.id("ECC_NIST_EDWARDS25519"), "SigningAlgorithm": "ED25519_PH_SHA_512"}
    sha512 = hashlib.sha512(MESSAGE).digest()
    for call, more in ((kms.sign, {}), (kms.sign, {"DryRun": True}), (kms.verify, {"Signature": b"x" * 64})):
        refused = refusal(call, Message=sha512, MessageType="DIGEST", **same, **more)
        assert (refused.type, refused.status) == ("InvalidKeyUsageException", 400)
        assert "does not offer ED25519_PH_SHA_512" in refused.message


@pytest.mark.parametrize(
    ("spec", "algorithm"),
    [
        ("ECC_NIST_P256", "ECDSA_SHA_384"),
        ("ECC_NIST_P256", "RSASSA_PSS_SHA_256"),
        ("RSA_2048", "ECDSA_SHA_256"),
        ("RSA_2048", "SM2DSA"),
        ("ECC_NIST_EDWARDS25519", "ECDSA_SHA_512"),
        ("ML_DSA_65", "ED25519_SHA_512"),
    ],
)
def test_an_algorithm_of_another_spec_is_an_invalid_key_usage(
    kms: Any, keyring: Keyring, spec: str, algorithm: str
) -> None:
    same = {"KeyId": keyring.id(spec), "Message": MESSAGE, "SigningAlgorithm": algorithm}
    expected = ("InvalidKeyUsageException", f"Algorithm {algorithm} is incompatible with key spec {spec}.", 400)
    assert refusal(kms.sign, **same) == expected
    assert refusal(kms.verify, Signature=b"x", **same) == expected


@pytest.mark.parametrize(
    ("spec", "usage"),
    [
        ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"),
        ("RSA_2048", "ENCRYPT_DECRYPT"),
        ("HMAC_256", "GENERATE_VERIFY_MAC"),
        ("ECC_NIST_P256", "KEY_AGREEMENT"),
        ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE"),
    ],
)
def test_a_key_for_something_else_does_not_sign(kms: Any, keyring: Keyring, spec: str, usage: str) -> None:
    key = keyring(spec, usage)
    same = {"KeyId": key["KeyId"], "Message": MESSAGE, "SigningAlgorithm": "RSASSA_PSS_SHA_256"}
    for operation, call, more in (("Sign", kms.sign, {}), ("Verify", kms.verify, {"Signature": b"x"})):
        message = f"{key['Arn']} key usage is {usage} which is not valid for {operation}."
        assert refusal(call, **same, **more) == ("InvalidKeyUsageException", message, 400)


def test_messages_are_of_1_to_4096_octets(shared_server: Server, kms: Any, keyring: Keyring) -> None:
    same = {"KeyId": keyring.id("ECC_NIST_P256"), "SigningAlgorithm": "ECDSA_SHA_256"}
    for message in (b"\x00", b"x" * 4096):
        signature = kms.sign(Message=message, **same)["Signature"]
        assert kms.verify(Message=message, Signature=signature, **same)["SignatureValid"]
    for message, constraint in (("", "greater than or equal to 1"), ("eHh4" * 1366, "less than or equal to 4096")):
        answer = shared_server.call("Sign", {**same, "Message": message})
        assert (answer.status, answer.json()["__type"]) == (400, "ValidationException")
        assert (
            f"at 'message' failed to satisfy constraint: Member must have length {constraint}"
            in (answer.json()["message"])
        )


def test_a_key_is_named_in_every_form_and_unknown_ones_are_told(kms: Any, keyring: Keyring) -> None:
    key = keyring("ECC_NIST_P256")
    alias = "alias/signs-in-every-form"
    kms.create_alias(AliasName=alias, TargetKeyId=key["KeyId"])
    same = {"Message": MESSAGE, "SigningAlgorithm": "ECDSA_SHA_256"}
    signature = kms.sign(KeyId=alias, **same)["Signature"]
    for name in (key["KeyId"], key["Arn"], alias, f"arn:aws:kms:{REGION}:{ACCOUNT}:{alias}"):
        assert kms.verify(KeyId=name, Signature=signature, **same)["KeyId"] == key["Arn"]
    kms.delete_alias(AliasName=alias)
    assert refusal(kms.sign, KeyId=alias, **same).type == "NotFoundException"
    assert refusal(kms.sign, KeyId="key_id", **same) == ("NotFoundException", "Invalid keyId 'key_id'", 400)


# ---- GetPublicKey ----------------------------------------------------------------------------------------------------

PUBLIC = [
    ("RSA_2048", "ENCRYPT_DECRYPT", "EncryptionAlgorithms", rsa.RSAPublicKey),
    ("RSA_2048", "SIGN_VERIFY", "SigningAlgorithms", rsa.RSAPublicKey),
    ("ECC_NIST_P256", "SIGN_VERIFY", "SigningAlgorithms", ec.EllipticCurvePublicKey),
    ("ECC_NIST_P384", "KEY_AGREEMENT", "KeyAgreementAlgorithms", ec.EllipticCurvePublicKey),
    ("ECC_SECG_P256K1", "SIGN_VERIFY", "SigningAlgorithms", ec.EllipticCurvePublicKey),
    ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY", "SigningAlgorithms", ed25519.Ed25519PublicKey),
    ("ML_DSA_44", "SIGN_VERIFY", "SigningAlgorithms", mldsa.MLDSA44PublicKey),
    ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE", "EncapsulationAlgorithms", mlkem.MLKEM768PublicKey),
]


@pytest.mark.parametrize(("spec", "usage", "member", "kind"), PUBLIC, ids=lambda value: str(value)[:24])
def test_the_public_key_comes_with_what_it_is_for(
    kms: Any, keyring: Keyring, spec: str, usage: str, member: str, kind: type
) -> None:
    key = keyring(spec, usage)
    answer = kms.get_public_key(KeyId=key["Arn"])
    assert members(answer) == {"KeyId", "PublicKey", "CustomerMasterKeySpec", "KeySpec", "KeyUsage", member}
    assert (answer["KeyId"], answer["KeySpec"], answer["CustomerMasterKeySpec"]) == (key["Arn"], spec, spec)
    assert (answer["KeyUsage"], answer[member]) == (usage, key[member])
    assert isinstance(serialization.load_der_public_key(answer["PublicKey"]), kind)
    assert kms.get_public_key(KeyId=key["KeyId"])["PublicKey"] == answer["PublicKey"]


@pytest.mark.parametrize("spec", ["SYMMETRIC_DEFAULT", "HMAC_256"])
def test_a_secret_key_has_no_public_key(kms: Any, keyring: Keyring, spec: str) -> None:
    refused = refusal(kms.get_public_key, KeyId=keyring.id(spec))
    assert (refused.type, refused.status) == ("UnsupportedOperationException", 400)
    assert f"key spec is {spec} which is not valid for GetPublicKey" in refused.message


# ---- GenerateMac, VerifyMac ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("spec", "algorithm"), MACS)
def test_a_mac_verifies_and_answers_every_member(kms: Any, keyring: Keyring, spec: str, algorithm: str) -> None:
    key = keyring(spec)
    made = kms.generate_mac(KeyId=key["KeyId"], Message=MESSAGE, MacAlgorithm=algorithm)
    assert members(made) == {"Mac", "MacAlgorithm", "KeyId"}
    assert (made["KeyId"], made["MacAlgorithm"]) == (key["Arn"], algorithm)
    assert len(made["Mac"]) * 8 == int(spec.removeprefix("HMAC_"))
    assert kms.generate_mac(KeyId=key["Arn"], Message=MESSAGE, MacAlgorithm=algorithm)["Mac"] == made["Mac"]
    verified = kms.verify_mac(KeyId=key["KeyId"], Message=MESSAGE, MacAlgorithm=algorithm, Mac=made["Mac"])
    assert members(verified) == {"KeyId", "MacValid", "MacAlgorithm"}
    assert (verified["KeyId"], verified["MacValid"], verified["MacAlgorithm"]) == (key["Arn"], True, algorithm)


def test_another_mac_is_invalid(kms: Any, keyring: Keyring) -> None:
    same = {"KeyId": keyring.id("HMAC_256"), "MacAlgorithm": "HMAC_SHA_256"}
    mac = kms.generate_mac(Message=MESSAGE, **same)["Mac"]
    other = kms.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["KeyId"]
    right = {"Message": MESSAGE, "Mac": mac, **same}
    for wrong in (
        {"Message": MESSAGE + b"0"},
        {"Mac": bytes([mac[0] ^ 1]) + mac[1:]},
        {"Mac": mac[:-1]},
        {"Mac": mac[:1]},
        {"Mac": mac + b"\x00"},
        {"Mac": hmac.digest(b"", MESSAGE, "sha256")},
        {"KeyId": other},
    ):
        assert refusal(kms.verify_mac, **(right | wrong)) == ("KMSInvalidMacException", "", 400), wrong


def test_a_mac_needs_a_key_and_an_algorithm_that_fit(kms: Any, keyring: Keyring) -> None:
    wrong = {"KeyId": keyring.id("HMAC_224"), "Message": MESSAGE, "MacAlgorithm": "HMAC_SHA_256"}
    expected = ("InvalidKeyUsageException", "Algorithm HMAC_SHA_256 is incompatible with key spec HMAC_224.", 400)
    assert refusal(kms.generate_mac, **wrong) == expected
    assert refusal(kms.verify_mac, Mac=b"x", **wrong) == expected
    key = keyring()
    for operation, call, more in (("GenerateMac", kms.generate_mac, {}), ("VerifyMac", kms.verify_mac, {"Mac": b"x"})):
        message = f"{key['Arn']} key usage is ENCRYPT_DECRYPT which is not valid for {operation}."
        refused = refusal(call, KeyId=key["KeyId"], Message=MESSAGE, MacAlgorithm="HMAC_SHA_256", **more)
        assert refused == ("InvalidKeyUsageException", message, 400)


def test_an_unknown_algorithm_is_a_validation_error(shared_server: Server, keyring: Keyring) -> None:
    for operation, member, more in (
        ("GenerateMac", "macAlgorithm", {"MacAlgorithm": "INVALID"}),
        ("Sign", "signingAlgorithm", {"SigningAlgorithm": "INVALID"}),
    ):
        answer = shared_server.call(operation, {"KeyId": keyring.id("HMAC_256"), "Message": "eA==", **more})
        assert (answer.status, answer.json()["__type"]) == (400, "ValidationException")
        assert (
            f"at '{member}' failed to satisfy constraint: Member must satisfy enum value set"
            in (answer.json()["message"])
        )


# ---- DryRun, states --------------------------------------------------------------------------------------------------


def test_a_dry_run_checks_everything_and_makes_nothing(kms: Any, keyring: Keyring) -> None:
    signing = {"KeyId": keyring.id("ECC_NIST_P256"), "SigningAlgorithm": "ECDSA_SHA_256"}
    macs = {"KeyId": keyring.id("HMAC_256"), "MacAlgorithm": "HMAC_SHA_256"}
    signature = kms.sign(Message=MESSAGE, **signing)["Signature"]
    mac = kms.generate_mac(Message=MESSAGE, **macs)["Mac"]
    for call, arguments in (
        (kms.sign, {"Message": MESSAGE, **signing}),
        (kms.verify, {"Message": MESSAGE, "Signature": signature, **signing}),
        (kms.generate_mac, {"Message": MESSAGE, **macs}),
        (kms.verify_mac, {"Message": MESSAGE, "Mac": mac, **macs}),
    ):
        refused = refusal(call, DryRun=True, **arguments)
        assert refused == (
            "DryRunOperationException",
            "The request would have succeeded, but the DryRun option is set.",
            400,
        )
        call(DryRun=False, **arguments)
    for call, arguments, kind in (
        (kms.sign, {"Message": MESSAGE, "MessageType": "DIGEST", **signing}, "ValidationException"),
        (kms.sign, {"Message": MESSAGE, **signing, "SigningAlgorithm": "SM2DSA"}, "InvalidKeyUsageException"),
        (kms.verify, {"Message": b"?", "Signature": signature, **signing}, "KMSInvalidSignatureException"),
        (kms.verify_mac, {"Message": b"?", "Mac": mac, **macs}, "KMSInvalidMacException"),
    ):
        assert refusal(call, DryRun=True, **arguments).type == kind


def test_a_key_that_is_disabled_or_going_neither_signs_nor_tells(kms: Any) -> None:
    key = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]
    same = {"KeyId": key["KeyId"], "Message": MESSAGE, "SigningAlgorithm": "ECDSA_SHA_256"}
    calls = (
        (kms.sign, same),
        (kms.sign, {**same, "DryRun": True}),
        (kms.verify, {**same, "Signature": b"x"}),
        (kms.get_public_key, {"KeyId": key["KeyId"]}),
    )
    kms.disable_key(KeyId=key["KeyId"])
    for call, arguments in calls:
        assert refusal(call, **arguments) == ("DisabledException", f"{key['Arn']} is disabled.", 400)
    kms.schedule_key_deletion(KeyId=key["KeyId"])
    for call, arguments in calls:
        expected = ("KMSInvalidStateException", f"{key['Arn']} is pending deletion.", 400)
        assert refusal(call, **arguments) == expected
