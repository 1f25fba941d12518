"""Ciphertexts, signatures and shared secrets against the openssl command line, in both directions.

One of the two sides never is Keystead: what one makes, the other must open. ``openssl`` 3.0 or newer is needed; it has
no ML-DSA before 3.5, so those are checked against ``cryptography`` beside their boto3 tests.
"""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.harness import refusal
from tests.interop.keyring import Keyring

MESSAGE = b"attack at dawn"
OAEP = {"RSAES_OAEP_SHA_1": "sha1", "RSAES_OAEP_SHA_256": "sha256"}
RSA_SIGNATURES = [
    (f"RSASSA_{padding}_SHA_{bits}", padding, f"sha{bits}")
    for padding in ("PKCS1_V1_5", "PSS")
    for bits in (256, 384, 512)
]
CURVES = {
    "ECC_NIST_P256": ("prime256v1", "ECDSA_SHA_256", "sha256"),
    "ECC_NIST_P384": ("secp384r1", "ECDSA_SHA_384", "sha384"),
    "ECC_NIST_P521": ("secp521r1", "ECDSA_SHA_512", "sha512"),
    "ECC_SECG_P256K1": ("secp256k1", "ECDSA_SHA_256", "sha256"),
}


class OpenSsl:
    """Runs ``openssl`` in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __call__(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(["openssl", *arguments], cwd=self.directory, capture_output=True, timeout=60, check=False)
        assert not check or done.returncode == 0, (arguments, done.stderr.decode())
        return done

    def write(self, name: str, content: bytes) -> str:
        (self.directory / name).write_bytes(content)
        return name

    def read(self, name: str) -> bytes:
        return (self.directory / name).read_bytes()


@pytest.fixture
def openssl(tmp_path: Path) -> OpenSsl:
    return OpenSsl(tmp_path)


def pss(padding: str, digest: str) -> list[str]:
    """Options that say what RSASSA_PSS is at AWS: MGF1 with the same hash, a salt as long as the hash."""
    if padding != "PSS":
        return []
    options = ("rsa_padding_mode:pss", "rsa_pss_saltlen:digest", f"rsa_mgf1_md:{digest}")
    return [word for option in options for word in ("-sigopt", option)]


# ---- encryption ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("algorithm", "digest"), OAEP.items())
def test_kms_decrypts_what_openssl_encrypted(
    kms: Any, keyring: Keyring, openssl: OpenSsl, algorithm: str, digest: str
) -> None:
    openssl.write("public.der", keyring.public_key("RSA_2048", "ENCRYPT_DECRYPT"))
    openssl.write("message", MESSAGE)
    options = ("rsa_padding_mode:oaep", f"rsa_oaep_md:{digest}", f"rsa_mgf1_md:{digest}")
    said = [word for option in options for word in ("-pkeyopt", option)]
    openssl(
        *("pkeyutl", "-encrypt", "-pubin", "-inkey", "public.der", "-keyform", "DER"),
        *("-in", "message", "-out", "blob", *said),
    )
    same = {"KeyId": keyring.id("RSA_2048", "ENCRYPT_DECRYPT"), "EncryptionAlgorithm": algorithm}
    assert kms.decrypt(CiphertextBlob=openssl.read("blob"), **same)["Plaintext"] == MESSAGE
    wrong = {**same, "EncryptionAlgorithm": next(name for name in OAEP if name != algorithm)}
    assert refusal(kms.decrypt, CiphertextBlob=openssl.read("blob"), **wrong).type == "InvalidCiphertextException"
    moved = kms.re_encrypt(
        CiphertextBlob=openssl.read("blob"),
        SourceKeyId=same["KeyId"],
        SourceEncryptionAlgorithm=algorithm,
        DestinationKeyId=keyring.id(),
    )
    assert kms.decrypt(CiphertextBlob=moved["CiphertextBlob"])["Plaintext"] == MESSAGE


@pytest.mark.parametrize(("algorithm", "digest"), OAEP.items())
def test_openssl_decrypts_what_kms_encrypted(
    kms: Any, keyring: Keyring, openssl: OpenSsl, algorithm: str, digest: str
) -> None:
    """A private key leaves KMS as a data key pair only, so the other direction goes through one."""
    pair = kms.generate_data_key_pair(KeyId=keyring.id(), KeyPairSpec="RSA_2048")
    openssl.write("private.der", pair["PrivateKeyPlaintext"])
    openssl.write("public.der", pair["PublicKey"])
    openssl.write("message", MESSAGE)
    options = ("rsa_padding_mode:oaep", f"rsa_oaep_md:{digest}", f"rsa_mgf1_md:{digest}")
    said = [word for option in options for word in ("-pkeyopt", option)]
    openssl("pkey", "-inform", "DER", "-in", "private.der", "-pubout", "-outform", "DER", "-out", "derived.der")
    assert openssl.read("derived.der") == pair["PublicKey"]
    openssl(
        *("pkeyutl", "-encrypt", "-pubin", "-inkey", "public.der", "-keyform", "DER"),
        *("-in", "message", "-out", "blob", *said),
    )
    opened = openssl(
        *("pkeyutl", "-decrypt", "-inkey", "private.der", "-keyform", "DER", "-in", "blob", *said),
    )
    assert opened.stdout == MESSAGE


# ---- signatures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("algorithm", "padding", "digest"), RSA_SIGNATURES)
@pytest.mark.parametrize("spec", ["RSA_2048", "RSA_4096"])
def test_openssl_verifies_what_kms_signed_with_rsa(
    kms: Any, keyring: Keyring, openssl: OpenSsl, spec: str, algorithm: str, padding: str, digest: str
) -> None:
    openssl.write("public.der", keyring.public_key(spec))
    openssl("pkey", "-pubin", "-inform", "DER", "-in", "public.der", "-out", "public.pem")
    hashed = hashlib.new(digest, MESSAGE).digest()
    for message, message_type in ((MESSAGE, "RAW"), (hashed, "DIGEST")):
        same = {"KeyId": keyring.id(spec), "SigningAlgorithm": algorithm, "MessageType": message_type}
        openssl.write("signature", kms.sign(Message=message, **same)["Signature"])
        openssl.write("message", MESSAGE)
        check = ["dgst", f"-{digest}", "-verify", "public.pem", "-signature", "signature", *pss(padding, digest)]
        assert b"Verified OK" in openssl(*check, "message").stdout
        openssl.write("other", MESSAGE + b"!")
        assert openssl(*check, "other", check=False).returncode != 0


@pytest.mark.parametrize(("spec", "curve"), CURVES.items(), ids=list(CURVES))
def test_openssl_verifies_what_kms_signed_with_a_curve(
    kms: Any, keyring: Keyring, openssl: OpenSsl, spec: str, curve: tuple[str, str, str]
) -> None:
    name, algorithm, digest = curve
    openssl.write("public.der", keyring.public_key(spec))
    openssl("pkey", "-pubin", "-inform", "DER", "-in", "public.der", "-out", "public.pem")
    assert name in openssl("pkey", "-pubin", "-in", "public.pem", "-noout", "-text").stdout.decode()
    hashed = hashlib.new(digest, MESSAGE).digest()
    for message, message_type in ((MESSAGE, "RAW"), (hashed, "DIGEST")):
        same = {"KeyId": keyring.id(spec), "SigningAlgorithm": algorithm, "MessageType": message_type}
        openssl.write("signature", kms.sign(Message=message, **same)["Signature"])
        openssl.write("message", MESSAGE)
        done = openssl("dgst", f"-{digest}", "-verify", "public.pem", "-signature", "signature", "message")
        assert b"Verified OK" in done.stdout


def test_openssl_verifies_what_kms_signed_with_ed25519(kms: Any, keyring: Keyring, openssl: OpenSsl) -> None:
    openssl.write("public.der", keyring.public_key("ECC_NIST_EDWARDS25519"))
    same = {"KeyId": keyring.id("ECC_NIST_EDWARDS25519"), "SigningAlgorithm": "ED25519_SHA_512"}
    openssl.write("signature", kms.sign(Message=MESSAGE, **same)["Signature"])
    openssl.write("message", MESSAGE)
    done = openssl(
        *("pkeyutl", "-verify", "-pubin", "-inkey", "public.der", "-keyform", "DER", "-rawin"),
        *("-in", "message", "-sigfile", "signature"),
    )
    assert b"Signature Verified Successfully" in done.stdout


def test_openssl_signs_with_a_data_key_pair_and_verifies_with_its_public_key(
    kms: Any, keyring: Keyring, openssl: OpenSsl
) -> None:
    for spec, (_, _, digest) in CURVES.items():
        pair = kms.generate_data_key_pair(KeyId=keyring.id(), KeyPairSpec=spec)
        openssl.write("private.der", pair["PrivateKeyPlaintext"])
        openssl.write("public.der", pair["PublicKey"])
        openssl.write("message", MESSAGE)
        openssl("dgst", f"-{digest}", "-sign", "private.der", "-keyform", "DER", "-out", "signature", "message")
        openssl("pkey", "-pubin", "-inform", "DER", "-in", "public.der", "-out", "public.pem")
        done = openssl("dgst", f"-{digest}", "-verify", "public.pem", "-signature", "signature", "message")
        assert b"Verified OK" in done.stdout


# ---- shared secrets --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [spec for spec in CURVES if spec != "ECC_SECG_P256K1"])
def test_openssl_derives_the_same_shared_secret(kms: Any, keyring: Keyring, openssl: OpenSsl, spec: str) -> None:
    curve = CURVES[spec][0]
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{curve}", "-out", "private.pem")
    openssl("pkey", "-in", "private.pem", "-pubout", "-outform", "DER", "-out", "peer.der")
    openssl.write("kms.der", keyring.public_key(spec, "KEY_AGREEMENT"))
    openssl("pkey", "-pubin", "-inform", "DER", "-in", "kms.der", "-out", "kms.pem")
    answer = kms.derive_shared_secret(
        KeyId=keyring.id(spec, "KEY_AGREEMENT"), KeyAgreementAlgorithm="ECDH", PublicKey=openssl.read("peer.der")
    )
    derived = openssl("pkeyutl", "-derive", "-inkey", "private.pem", "-peerkey", "kms.pem").stdout
    assert answer["SharedSecret"] == derived
