"""DeriveSharedSecret, Encapsulate, Decapsulate as boto3 sees them, against a peer outside."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, rsa, x25519

from tests.harness import refusal
from tests.interop.keyring import Keyring

DRY = ("DryRunOperationException", "The request would have succeeded, but the DryRun option is set.", 400)
CURVES: dict[str, type[ec.EllipticCurve]] = {
    "ECC_NIST_P256": ec.SECP256R1,
    "ECC_NIST_P384": ec.SECP384R1,
    "ECC_NIST_P521": ec.SECP521R1,
}


def members(answer: dict[str, Any]) -> set[str]:
    return answer.keys() - {"ResponseMetadata"}


def spki(public: Any) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return bytes(public.public_bytes(serialization.Encoding.DER, form))


# ---- DeriveSharedSecret ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", CURVES)
def test_both_sides_derive_the_same_secret(kms: Any, keyring: Keyring, spec: str) -> None:
    key = keyring(spec, "KEY_AGREEMENT")
    peer = ec.generate_private_key(CURVES[spec]())
    answer = kms.derive_shared_secret(
        KeyId=key["KeyId"], KeyAgreementAlgorithm="ECDH", PublicKey=spki(peer.public_key())
    )
    assert members(answer) == {"KeyId", "SharedSecret", "KeyAgreementAlgorithm", "KeyOrigin"}
    assert (answer["KeyId"], answer["KeyAgreementAlgorithm"], answer["KeyOrigin"]) == (key["Arn"], "ECDH", "AWS_KMS")
    ours = serialization.load_der_public_key(keyring.public_key(spec, "KEY_AGREEMENT"))
    assert isinstance(ours, ec.EllipticCurvePublicKey)
    assert answer["SharedSecret"] == peer.exchange(ec.ECDH(), ours)


def test_two_kms_keys_derive_the_same_secret(kms: Any, keyring: Keyring) -> None:
    one = keyring.id("ECC_NIST_P256", "KEY_AGREEMENT")
    other = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="KEY_AGREEMENT")["KeyMetadata"]["KeyId"]
    secrets = {
        kms.derive_shared_secret(
            KeyId=mine, KeyAgreementAlgorithm="ECDH", PublicKey=kms.get_public_key(KeyId=theirs)["PublicKey"]
        )["SharedSecret"]
        for mine, theirs in ((one, other), (other, one))
    }
    assert len(secrets) == 1


def off_the_curve() -> bytes:
    """A point that is on no curve: the last octet of y changed."""
    good = spki(ec.generate_private_key(ec.SECP256R1()).public_key())
    return good[:-1] + bytes([good[-1] ^ 1])


def compressed() -> bytes:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    return public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)


@pytest.mark.parametrize(
    "public_key",
    [
        b"x",
        b"\x30\x00",
        spki(ec.generate_private_key(ec.SECP384R1()).public_key()),
        spki(ec.generate_private_key(ec.SECP256K1()).public_key()),
        spki(rsa.generate_private_key(65_537, 2048).public_key()),
        spki(x25519.X25519PrivateKey.generate().public_key()),
        off_the_curve(),
        compressed(),
        spki(ec.generate_private_key(ec.SECP256R1()).public_key()) + b"\x00",
    ],
    ids=["noise", "empty", "P-384", "secp256k1", "RSA", "X25519", "off the curve", "a bare point", "trailing octet"],
)
def test_a_public_key_that_does_not_fit_is_a_validation_error(kms: Any, keyring: Keyring, public_key: bytes) -> None:
    key_id = keyring.id("ECC_NIST_P256", "KEY_AGREEMENT")
    for dry_run in (False, True):
        refused = refusal(
            kms.derive_shared_secret,
            KeyId=key_id,
            KeyAgreementAlgorithm="ECDH",
            PublicKey=public_key,
            DryRun=dry_run,
        )
        assert (refused.type, refused.status) == ("ValidationException", 400)
        assert "SubjectPublicKeyInfo in DER" in refused.message or "shared secret" in refused.message


@pytest.mark.parametrize("spec", ["ECC_NIST_P256", "SYMMETRIC_DEFAULT", "ML_KEM_768"])
def test_only_a_key_agreement_key_derives(kms: Any, keyring: Keyring, spec: str) -> None:
    key = keyring(spec)
    peer = spki(ec.generate_private_key(ec.SECP256R1()).public_key())
    refused = refusal(kms.derive_shared_secret, KeyId=key["KeyId"], KeyAgreementAlgorithm="ECDH", PublicKey=peer)
    message = f"{key['Arn']} key usage is {key['KeyUsage']} which is not valid for DeriveSharedSecret."
    assert refused == ("InvalidKeyUsageException", message, 400)


# ---- Encapsulate, Decapsulate ----------------------------------------------------------------------------------------

KEMS: dict[str, tuple[type[Any], int]] = {
    "ML_KEM_768": (mlkem.MLKEM768PublicKey, 1088),
    "ML_KEM_1024": (mlkem.MLKEM1024PublicKey, 1568),
}
ML_KEM = {"EncapsulationAlgorithm": "ML_KEM"}


@pytest.mark.parametrize("spec", KEMS)
def test_a_shared_secret_goes_both_ways(kms: Any, keyring: Keyring, spec: str) -> None:
    key, (kind, length) = keyring(spec), KEMS[spec]
    made = kms.encapsulate(KeyId=key["KeyId"], **ML_KEM)
    assert members(made) == {"KeyId", "SharedSecret", "SharedSecretCiphertextBlob", "EncapsulationAlgorithm"}
    assert (made["KeyId"], made["EncapsulationAlgorithm"]) == (key["Arn"], "ML_KEM")
    assert (len(made["SharedSecret"]), len(made["SharedSecretCiphertextBlob"])) == (32, length)
    opened = kms.decapsulate(KeyId=key["Arn"], SharedSecretCiphertextBlob=made["SharedSecretCiphertextBlob"], **ML_KEM)
    assert members(opened) == {"KeyId", "SharedSecret", "EncapsulationAlgorithm"}
    assert (opened["KeyId"], opened["SharedSecret"]) == (key["Arn"], made["SharedSecret"])
    assert kms.encapsulate(KeyId=key["KeyId"], **ML_KEM)["SharedSecret"] != made["SharedSecret"]

    public = serialization.load_der_public_key(keyring.public_key(spec))
    assert isinstance(public, kind)
    secret, blob = public.encapsulate()
    assert kms.decapsulate(KeyId=key["KeyId"], SharedSecretCiphertextBlob=blob, **ML_KEM)["SharedSecret"] == secret


def test_a_forged_ciphertext_decapsulates_to_nobodys_secret(kms: Any, keyring: Keyring) -> None:
    key_id = keyring.id("ML_KEM_768")
    made = kms.encapsulate(KeyId=key_id, **ML_KEM)
    blob = made["SharedSecretCiphertextBlob"]
    forged = bytes([blob[0] ^ 1]) + blob[1:]
    secrets = {
        kms.decapsulate(KeyId=key_id, SharedSecretCiphertextBlob=forged, **ML_KEM)["SharedSecret"] for _ in range(3)
    }
    assert len(secrets) == 1, "implicit rejection is deterministic (FIPS 203, algorithm 18)"
    assert made["SharedSecret"] not in secrets
    for wrong in (blob[:-1], blob + b"\x00", b"x"):
        refused = refusal(kms.decapsulate, KeyId=key_id, SharedSecretCiphertextBlob=wrong, **ML_KEM)
        assert refused == ("InvalidCiphertextException", "", 400)


@pytest.mark.parametrize("spec", ["RSA_2048", "SYMMETRIC_DEFAULT", "ECC_NIST_P256"])
def test_only_an_ml_kem_key_encapsulates(kms: Any, keyring: Keyring, spec: str) -> None:
    key = keyring(spec)
    for operation, call, more in (
        ("Encapsulate", kms.encapsulate, {}),
        ("Decapsulate", kms.decapsulate, {"SharedSecretCiphertextBlob": b"x" * 1088}),
    ):
        message = f"{key['Arn']} key usage is {key['KeyUsage']} which is not valid for {operation}."
        assert refusal(call, KeyId=key["KeyId"], **ML_KEM, **more) == ("InvalidKeyUsageException", message, 400)


# ---- DryRun, states --------------------------------------------------------------------------------------------------


def test_a_dry_run_shares_nothing(kms: Any, keyring: Keyring) -> None:
    kem = {"KeyId": keyring.id("ML_KEM_768"), **ML_KEM}
    blob = kms.encapsulate(**kem)["SharedSecretCiphertextBlob"]
    agreement = {"KeyId": keyring.id("ECC_NIST_P256", "KEY_AGREEMENT"), "KeyAgreementAlgorithm": "ECDH"}
    peer = spki(ec.generate_private_key(ec.SECP256R1()).public_key())
    assert refusal(kms.encapsulate, DryRun=True, **kem) == DRY
    assert refusal(kms.decapsulate, DryRun=True, SharedSecretCiphertextBlob=blob, **kem) == DRY
    assert refusal(kms.derive_shared_secret, DryRun=True, PublicKey=peer, **agreement) == DRY
    refused = refusal(kms.decapsulate, DryRun=True, SharedSecretCiphertextBlob=b"x", **kem)
    assert refused.type == "InvalidCiphertextException"


def test_a_disabled_key_shares_nothing(kms: Any) -> None:
    key = kms.create_key(KeySpec="ML_KEM_768", KeyUsage="ENCAPSULATE_DECAPSULATE")["KeyMetadata"]
    kms.disable_key(KeyId=key["KeyId"])
    for call, more in ((kms.encapsulate, {}), (kms.decapsulate, {"SharedSecretCiphertextBlob": b"x" * 1088})):
        refused = refusal(call, KeyId=key["KeyId"], **ML_KEM, **more)
        assert refused == ("DisabledException", f"{key['Arn']} is disabled.", 400)
