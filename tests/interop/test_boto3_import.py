"""Bring your own key over the KMS API: boto3 on one side, OpenSSL's command line on the other.

OpenSSL makes the material and wraps it; boto3 imports it; afterwards both use it, and each understands the other.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import mldsa, mlkem

from tests.harness import Server, eventually, refusal
from tests.interop.openssl import OpenSsl

ALGORITHMS = ("RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "RSA_AES_KEY_WRAP_SHA_1", "RSA_AES_KEY_WRAP_SHA_256")
HYBRID = "RSA_AES_KEY_WRAP_SHA_256"
FOREVER = {"ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}
SYMMETRIC = ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
MATERIALS = [
    SYMMETRIC,
    *((f"HMAC_{bits}", "GENERATE_VERIFY_MAC") for bits in (224, 256, 384, 512)),
    ("RSA_2048", "SIGN_VERIFY"),
    ("RSA_3072", "ENCRYPT_DECRYPT"),
    ("ECC_NIST_P256", "SIGN_VERIFY"),
    ("ECC_NIST_P384", "KEY_AGREEMENT"),
    ("ECC_NIST_P521", "SIGN_VERIFY"),
    ("ECC_SECG_P256K1", "SIGN_VERIFY"),
    ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY"),
]
MESSAGE = b"a message of both parties"


@pytest.fixture
def openssl(tmp_path: Path) -> OpenSsl:
    directory = tmp_path / "openssl"
    directory.mkdir()
    return OpenSsl(directory)


@pytest.fixture(scope="module")
def kms(shared_server: Server) -> Any:
    return shared_server.kms()


def new_key(kms: Any, spec: str = "SYMMETRIC_DEFAULT", usage: str = "ENCRYPT_DECRYPT", **more: Any) -> str:
    metadata = kms.create_key(Origin="EXTERNAL", KeySpec=spec, KeyUsage=usage, **more)["KeyMetadata"]
    assert metadata["KeyState"] == "PendingImport"
    return metadata["KeyId"]


def parameters(kms: Any, key: str, algorithm: str = HYBRID, size: str = "RSA_2048") -> Any:
    return kms.get_parameters_for_import(KeyId=key, WrappingAlgorithm=algorithm, WrappingKeySpec=size)


def import_from(openssl: OpenSsl, kms: Any, key: str, name: str = "material.bin", **more: Any) -> Any:
    """Parameters, wrap, upload."""
    given = parameters(kms, key)
    wrapped = openssl.wrap(given["PublicKey"], HYBRID, name)
    asked = {"KeyId": key, "ImportToken": given["ImportToken"], "EncryptedKeyMaterial": wrapped}
    return kms.import_key_material(**asked, **(more or FOREVER))


def state_of(kms: Any, key: str) -> str:
    state: str = kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"]
    return state


# ---- every kind of material, every way in ----------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(("spec", "usage"), MATERIALS)
def test_openssls_material_of_every_spec_comes_in_by_every_algorithm_that_fits(
    kms: Any, openssl: OpenSsl, spec: str, usage: str, algorithm: str
) -> None:
    if algorithm.startswith("RSAES") and (spec.startswith("RSA_") or spec == "ECC_NIST_P521"):
        key = new_key(kms, spec, usage)
        refused = refusal(
            kms.get_parameters_for_import, KeyId=key, WrappingAlgorithm=algorithm, WrappingKeySpec="RSA_2048"
        )
        assert refused.type == "UnsupportedOperationException"
        return
    key = new_key(kms, spec, usage)
    openssl.material(spec)
    given = parameters(kms, key, algorithm)
    assert given["KeyId"].endswith(key)
    assert timedelta(hours=23, minutes=59) < given["ParametersValidTo"] - datetime.now(UTC) <= timedelta(hours=24)
    wrapped = openssl.wrap(given["PublicKey"], algorithm)
    answer = kms.import_key_material(
        KeyId=key, ImportToken=given["ImportToken"], EncryptedKeyMaterial=wrapped, **FOREVER
    )
    assert answer["KeyId"] == given["KeyId"]
    assert len(answer["KeyMaterialId"]) == 64
    metadata = kms.describe_key(KeyId=key)["KeyMetadata"]
    assert (metadata["KeyState"], metadata["Enabled"]) == ("Enabled", True)
    assert metadata["ExpirationModel"] == "KEY_MATERIAL_DOES_NOT_EXPIRE"
    assert "ValidTo" not in metadata
    if not spec.startswith(("HMAC", "SYMMETRIC")):
        assert kms.get_public_key(KeyId=key)["PublicKey"] == openssl.get("public.der")


@pytest.mark.parametrize("size", ["RSA_2048", "RSA_3072", "RSA_4096"])
def test_wrapping_keys_come_in_three_sizes(kms: Any, openssl: OpenSsl, size: str) -> None:
    key = new_key(kms)
    openssl.material("SYMMETRIC_DEFAULT")
    given = parameters(kms, key, "RSAES_OAEP_SHA_256", size)
    wrapped = openssl.wrap(given["PublicKey"], "RSAES_OAEP_SHA_256")
    assert len(wrapped) * 8 == int(size.removeprefix("RSA_"))
    kms.import_key_material(KeyId=key, ImportToken=given["ImportToken"], EncryptedKeyMaterial=wrapped, **FOREVER)
    assert state_of(kms, key) == "Enabled"


@pytest.mark.parametrize(
    ("spec", "usage", "private"),
    [
        ("ML_DSA_44", "SIGN_VERIFY", mldsa.MLDSA44PrivateKey),
        ("ML_DSA_65", "SIGN_VERIFY", mldsa.MLDSA65PrivateKey),
        ("ML_DSA_87", "SIGN_VERIFY", mldsa.MLDSA87PrivateKey),
        ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE", mlkem.MLKEM768PrivateKey),
        ("ML_KEM_1024", "ENCAPSULATE_DECAPSULATE", mlkem.MLKEM1024PrivateKey),
    ],
)
@pytest.mark.parametrize("algorithm", ["RSAES_OAEP_SHA_256", HYBRID])
def test_post_quantum_keys_come_in_as_pkcs8_with_their_seed(
    kms: Any, openssl: OpenSsl, spec: str, usage: str, private: Any, algorithm: str
) -> None:
    """OpenSSL 3.0 does not make them; its wrapping carries them all the same."""
    mine = private.generate()
    openssl.put("material.bin", _pkcs8(mine))
    key = new_key(kms, spec, usage)
    given = parameters(kms, key, algorithm)
    wrapped = openssl.wrap(given["PublicKey"], algorithm)
    kms.import_key_material(KeyId=key, ImportToken=given["ImportToken"], EncryptedKeyMaterial=wrapped, **FOREVER)
    if usage == "SIGN_VERIFY":
        signed = kms.sign(KeyId=key, Message=MESSAGE, MessageType="RAW", SigningAlgorithm="ML_DSA_SHAKE_256")
        mine.public_key().verify(signed["Signature"], MESSAGE)
    else:
        secret, ciphertext = mine.public_key().encapsulate()
        assert mine.decapsulate(ciphertext) == secret
        assert kms.get_public_key(KeyId=key)["PublicKey"] == _spki(mine.public_key())


# ---- both parties use it ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "algorithm", "options"),
    [
        ("RSA_2048", "RSASSA_PKCS1_V1_5_SHA_256", ("-sha256",)),
        (
            "RSA_3072",
            "RSASSA_PSS_SHA_384",
            ("-sha384", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:48"),
        ),
        ("ECC_NIST_P256", "ECDSA_SHA_256", ("-sha256",)),
        ("ECC_NIST_P384", "ECDSA_SHA_384", ("-sha384",)),
        ("ECC_NIST_P521", "ECDSA_SHA_512", ("-sha512",)),
        ("ECC_SECG_P256K1", "ECDSA_SHA_256", ("-sha256",)),
    ],
)
def test_signatures_are_understood_in_both_directions(
    kms: Any, openssl: OpenSsl, spec: str, algorithm: str, options: tuple[str, ...]
) -> None:
    key = new_key(kms, spec, "SIGN_VERIFY")
    openssl.material(spec)
    import_from(openssl, kms, key)
    openssl.put("message", MESSAGE)
    how = {"KeyId": key, "Message": MESSAGE, "MessageType": "RAW", "SigningAlgorithm": algorithm}
    openssl.put("signature", kms.sign(**how)["Signature"])
    told = ("dgst", *options, "-verify", "public.der", "-keyform", "DER", "-signature", "signature", "message")
    assert b"Verified OK" in openssl(*told)
    openssl("dgst", *options, "-sign", "private.pem", "-out", "theirs", "message")
    assert kms.verify(**how, Signature=openssl.get("theirs"))["SignatureValid"]


def test_ed25519_signatures_are_understood_in_both_directions(kms: Any, openssl: OpenSsl) -> None:
    key = new_key(kms, "ECC_NIST_EDWARDS25519", "SIGN_VERIFY")
    openssl.material("ECC_NIST_EDWARDS25519")
    import_from(openssl, kms, key)
    openssl.put("message", MESSAGE)
    how = {"KeyId": key, "Message": MESSAGE, "MessageType": "RAW", "SigningAlgorithm": "ED25519_SHA_512"}
    openssl.put("signature", kms.sign(**how)["Signature"])
    openssl(
        *("pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER", "-inkey", "public.der", "-in", "message"),
        *("-sigfile", "signature"),
    )
    openssl("pkeyutl", "-sign", "-rawin", "-inkey", "private.pem", "-in", "message", "-out", "theirs")
    assert kms.verify(**how, Signature=openssl.get("theirs"))["SignatureValid"]


@pytest.mark.parametrize("digest", ["sha1", "sha256"])
def test_rsa_ciphertexts_are_understood_in_both_directions(kms: Any, openssl: OpenSsl, digest: str) -> None:
    key = new_key(kms, "RSA_2048", "ENCRYPT_DECRYPT")
    openssl.material("RSA_2048")
    import_from(openssl, kms, key)
    openssl.put("message", MESSAGE)
    algorithm = "RSAES_OAEP_SHA_1" if digest == "sha1" else "RSAES_OAEP_SHA_256"
    oaep = (
        "-pkeyopt",
        "rsa_padding_mode:oaep",
        "-pkeyopt",
        f"rsa_oaep_md:{digest}",
        "-pkeyopt",
        f"rsa_mgf1_md:{digest}",
    )
    openssl(
        *("pkeyutl", "-encrypt", "-pubin", "-keyform", "DER", "-inkey", "public.der", "-in", "message", "-out", "c"),
        *oaep,
    )
    opened = kms.decrypt(KeyId=key, CiphertextBlob=openssl.get("c"), EncryptionAlgorithm=algorithm)
    assert opened["Plaintext"] == MESSAGE
    theirs = kms.encrypt(KeyId=key, Plaintext=MESSAGE, EncryptionAlgorithm=algorithm)["CiphertextBlob"]
    openssl.put("theirs", theirs)
    assert openssl("pkeyutl", "-decrypt", "-inkey", "private.pem", "-in", "theirs", *oaep) == MESSAGE


@pytest.mark.parametrize("bits", [224, 256, 384, 512])
def test_macs_are_the_same_on_both_sides(kms: Any, openssl: OpenSsl, bits: int) -> None:
    key = new_key(kms, f"HMAC_{bits}", "GENERATE_VERIFY_MAC")
    material = openssl.material(f"HMAC_{bits}")
    import_from(openssl, kms, key)
    openssl.put("message", MESSAGE)
    openssl(
        "dgst",
        f"-sha{bits}",
        "-mac",
        "HMAC",
        "-macopt",
        f"hexkey:{material.hex()}",
        "-binary",
        "-out",
        "mac",
        "message",
    )
    made = kms.generate_mac(KeyId=key, Message=MESSAGE, MacAlgorithm=f"HMAC_SHA_{bits}")["Mac"]
    assert made == openssl.get("mac")


def test_a_shared_secret_is_the_same_on_both_sides(kms: Any, openssl: OpenSsl) -> None:
    key = new_key(kms, "ECC_NIST_P256", "KEY_AGREEMENT")
    openssl.material("ECC_NIST_P256")
    import_from(openssl, kms, key)
    mine = openssl.get("public.der")
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "peer.pem")
    openssl("pkey", "-in", "peer.pem", "-pubout", "-outform", "DER", "-out", "peer.der")
    openssl.put("mine.der", mine)
    openssl("pkey", "-pubin", "-inform", "DER", "-in", "mine.der", "-out", "mine.pem")
    openssl("pkeyutl", "-derive", "-inkey", "peer.pem", "-peerkey", "mine.pem", "-out", "secret")
    derived = kms.derive_shared_secret(KeyId=key, KeyAgreementAlgorithm="ECDH", PublicKey=openssl.get("peer.der"))[
        "SharedSecret"
    ]
    assert derived == openssl.get("secret")


# ---- the import token ------------------------------------------------------------------------------------------------


def test_a_token_serves_until_it_expires_more_than_once(kms: Any, openssl: OpenSsl) -> None:
    key = new_key(kms)
    openssl.material("SYMMETRIC_DEFAULT")
    given = parameters(kms, key)
    for _ in range(2):
        wrapped = openssl.wrap(given["PublicKey"], HYBRID)
        kms.import_key_material(KeyId=key, ImportToken=given["ImportToken"], EncryptedKeyMaterial=wrapped, **FOREVER)


def test_a_token_survives_a_restart(private_server: Server, openssl: OpenSsl) -> None:
    kms = private_server.kms()
    key = new_key(kms)
    openssl.material("SYMMETRIC_DEFAULT")
    given = parameters(kms, key)
    private_server.restart()
    kms = private_server.kms()
    wrapped = openssl.wrap(given["PublicKey"], HYBRID)
    kms.import_key_material(KeyId=key, ImportToken=given["ImportToken"], EncryptedKeyMaterial=wrapped, **FOREVER)
    assert state_of(kms, key) == "Enabled"


def test_another_keys_token_and_a_token_of_nobody_are_refused(kms: Any, openssl: OpenSsl) -> None:
    key, other = new_key(kms), new_key(kms)
    openssl.material("SYMMETRIC_DEFAULT")
    theirs = parameters(kms, other)
    wrapped = openssl.wrap(theirs["PublicKey"], HYBRID)
    genuine = parameters(kms, key)["ImportToken"]
    for token in (theirs["ImportToken"], b"x", os.urandom(64), genuine[:-1], genuine + b"\0"):
        refused = refusal(
            kms.import_key_material, KeyId=key, ImportToken=token, EncryptedKeyMaterial=wrapped, **FOREVER
        )
        assert refused.type == "InvalidImportTokenException"
    assert state_of(kms, key) == "PendingImport"


def test_what_was_wrapped_for_another_set_of_parameters_does_not_unwrap(kms: Any, openssl: OpenSsl) -> None:
    key = new_key(kms)
    openssl.material("SYMMETRIC_DEFAULT")
    one, two = parameters(kms, key), parameters(kms, key)
    crossed = {"ImportToken": one["ImportToken"], "EncryptedKeyMaterial": openssl.wrap(two["PublicKey"], HYBRID)}
    assert refusal(kms.import_key_material, KeyId=key, **crossed, **FOREVER).type == "InvalidCiphertextException"
    for algorithm in set(ALGORITHMS) - {HYBRID}:
        wrapped = openssl.wrap(one["PublicKey"], algorithm)
        refused = refusal(
            kms.import_key_material,
            KeyId=key,
            ImportToken=one["ImportToken"],
            EncryptedKeyMaterial=wrapped,
            **FOREVER,
        )
        assert refused.type == "InvalidCiphertextException"
    assert state_of(kms, key) == "PendingImport"


@pytest.mark.parametrize("algorithm", ["RSAES_OAEP_SHA_256", HYBRID])
def test_a_truncated_lengthened_or_oversized_blob_is_refused(kms: Any, openssl: OpenSsl, algorithm: str) -> None:
    key = new_key(kms)
    openssl.material("SYMMETRIC_DEFAULT")
    given = parameters(kms, key, algorithm)
    good = openssl.wrap(given["PublicKey"], algorithm)
    for blob in (good[:-1], good[:10], good + b"\0", os.urandom(len(good)), os.urandom(6144)):
        asked = {"KeyId": key, "ImportToken": given["ImportToken"], "EncryptedKeyMaterial": blob}
        assert refusal(kms.import_key_material, **asked, **FOREVER).type == "InvalidCiphertextException"
    asked = {"KeyId": key, "ImportToken": given["ImportToken"], "EncryptedKeyMaterial": os.urandom(6145)}
    assert refusal(kms.import_key_material, **asked, **FOREVER).type == "ValidationException"
    assert state_of(kms, key) == "PendingImport"
    kms.import_key_material(KeyId=key, ImportToken=given["ImportToken"], EncryptedKeyMaterial=good, **FOREVER)


# ---- material that does not fit --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "usage", "other"),
    [
        (*SYMMETRIC, "HMAC_224"),
        ("HMAC_384", "GENERATE_VERIFY_MAC", "HMAC_512"),
        ("RSA_2048", "SIGN_VERIFY", "RSA_3072"),
        ("RSA_2048", "SIGN_VERIFY", "ECC_NIST_P256"),
        ("ECC_NIST_P256", "SIGN_VERIFY", "ECC_SECG_P256K1"),
        ("ECC_NIST_P384", "SIGN_VERIFY", "ECC_NIST_P521"),
        ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY", "ECC_NIST_P256"),
        ("ML_DSA_65", "SIGN_VERIFY", "ECC_NIST_EDWARDS25519"),
    ],
)
def test_material_of_another_length_curve_or_kind_is_refused_and_nothing_changes(
    kms: Any, openssl: OpenSsl, spec: str, usage: str, other: str
) -> None:
    key = new_key(kms, spec, usage)
    before = kms.describe_key(KeyId=key)["KeyMetadata"]
    openssl.material(other)
    with pytest.raises(kms.exceptions.IncorrectKeyMaterialException):
        import_from(openssl, kms, key)
    assert kms.describe_key(KeyId=key)["KeyMetadata"] == before


@pytest.mark.parametrize("what", ["public", "pem", "encrypted", "traditional"])
def test_a_private_key_in_another_form_or_a_public_one_is_refused(kms: Any, openssl: OpenSsl, what: str) -> None:
    key = new_key(kms, "ECC_NIST_P256", "SIGN_VERIFY")
    openssl.material("ECC_NIST_P256")
    match what:
        case "public":
            openssl.put("wrong", openssl.get("public.der"))
        case "pem":
            openssl.put("wrong", openssl.get("private.pem"))
        case "encrypted":
            openssl(
                "pkcs8", "-topk8", "-in", "private.pem", "-outform", "DER", "-out", "wrong", "-passout", "pass:word"
            )
        case _:
            openssl("ec", "-in", "private.pem", "-outform", "DER", "-out", "wrong")
    with pytest.raises(kms.exceptions.IncorrectKeyMaterialException):
        import_from(openssl, kms, key, "wrong")
    assert state_of(kms, key) == "PendingImport"


# ---- expiry, deletion, importing again -------------------------------------------------------------------------------


def test_the_expiry_is_kept_to_the_second(kms: Any, openssl: OpenSsl) -> None:
    key = new_key(kms)
    openssl.material("SYMMETRIC_DEFAULT")
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
    import_from(openssl, kms, key, ExpirationModel="KEY_MATERIAL_EXPIRES", ValidTo=until + timedelta(milliseconds=750))
    metadata = kms.describe_key(KeyId=key)["KeyMetadata"]
    assert (metadata["ExpirationModel"], metadata["ValidTo"]) == ("KEY_MATERIAL_EXPIRES", until)
    later = until + timedelta(days=300)
    import_from(openssl, kms, key, ValidTo=later)  # KEY_MATERIAL_EXPIRES is the default
    assert kms.describe_key(KeyId=key)["KeyMetadata"]["ValidTo"] == later
    import_from(openssl, kms, key)
    assert "ValidTo" not in kms.describe_key(KeyId=key)["KeyMetadata"]


@pytest.mark.parametrize(
    "asked",
    [
        {"ExpirationModel": "KEY_MATERIAL_EXPIRES"},
        {},
        {"ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE", "ValidTo": timedelta(days=1)},
        {"ValidTo": timedelta(seconds=-1)},
        {"ValidTo": timedelta(days=-4000)},
        {"ValidTo": timedelta(days=366)},
        {"ValidTo": timedelta(days=200_000)},
    ],
)
def test_an_expiry_that_makes_no_sense_is_refused(kms: Any, openssl: OpenSsl, asked: dict[str, Any]) -> None:
    key = new_key(kms)
    openssl.material("SYMMETRIC_DEFAULT")
    given = parameters(kms, key)
    wrapped = openssl.wrap(given["PublicKey"], HYBRID)
    if "ValidTo" in asked:
        asked = {**asked, "ValidTo": datetime.now(UTC) + asked["ValidTo"]}
    refused = refusal(
        kms.import_key_material, KeyId=key, ImportToken=given["ImportToken"], EncryptedKeyMaterial=wrapped, **asked
    )
    assert refused.type == "ValidationException"
    assert state_of(kms, key) == "PendingImport"


def test_material_expires_at_its_time_and_importing_it_again_opens_every_old_ciphertext(
    kms: Any, openssl: OpenSsl
) -> None:
    key = new_key(kms)
    openssl.material("SYMMETRIC_DEFAULT")
    until = datetime.now(UTC) + timedelta(seconds=3)
    first = import_from(openssl, kms, key, ValidTo=until)
    blob = kms.encrypt(KeyId=key, Plaintext=b"before", EncryptionContext={"a": "b"})["CiphertextBlob"]
    eventually(lambda: state_of(kms, key) == "PendingImport", "the material expires", seconds=60)
    assert datetime.now(UTC) >= until.replace(microsecond=0)
    metadata = kms.describe_key(KeyId=key)["KeyMetadata"]
    assert metadata["Enabled"] is False
    assert "ExpirationModel" not in metadata
    assert refusal(kms.decrypt, CiphertextBlob=blob, EncryptionContext={"a": "b"}).type == "KMSInvalidStateException"
    again = import_from(openssl, kms, key)
    assert again["KeyMaterialId"] == first["KeyMaterialId"]
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext={"a": "b"})["Plaintext"] == b"before"


def test_deleted_material_is_gone_at_once_and_comes_back_by_import_only(kms: Any, openssl: OpenSsl) -> None:
    key = new_key(kms)
    openssl.material("SYMMETRIC_DEFAULT")
    first = import_from(openssl, kms, key)
    blob = kms.encrypt(KeyId=key, Plaintext=b"before")["CiphertextBlob"]
    gone = kms.delete_imported_key_material(KeyId=key)
    assert gone["KeyMaterialId"] == first["KeyMaterialId"]
    assert refusal(kms.decrypt, CiphertextBlob=blob).type == "KMSInvalidStateException"
    assert refusal(kms.encrypt, KeyId=key, Plaintext=b"x").type == "KMSInvalidStateException"
    assert "KeyMaterialId" not in kms.delete_imported_key_material(KeyId=key), "a second time has no effect"
    openssl.material("SYMMETRIC_DEFAULT", "other.bin")
    with pytest.raises(kms.exceptions.IncorrectKeyMaterialException):
        import_from(openssl, kms, key, "other.bin")
    assert state_of(kms, key) == "PendingImport"
    import_from(openssl, kms, key)
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"before"


@pytest.mark.parametrize(("spec", "usage"), [("RSA_2048", "SIGN_VERIFY"), ("HMAC_256", "GENERATE_VERIFY_MAC")])
def test_another_key_pair_or_mac_key_never_takes_the_place_of_the_first(
    kms: Any, openssl: OpenSsl, spec: str, usage: str
) -> None:
    key = new_key(kms, spec, usage)
    openssl.material(spec)
    import_from(openssl, kms, key)
    openssl.material(spec, "other.bin")
    with pytest.raises(kms.exceptions.IncorrectKeyMaterialException):
        import_from(openssl, kms, key, "other.bin")
    assert state_of(kms, key) == "Enabled"
    kms.delete_imported_key_material(KeyId=key)
    with pytest.raises(kms.exceptions.IncorrectKeyMaterialException):
        import_from(openssl, kms, key, "other.bin")
    import_from(openssl, kms, key)
    assert state_of(kms, key) == "Enabled"


# ---- keys that do not take material ----------------------------------------------------------------------------------


def test_a_key_whose_material_is_ours_takes_none(kms: Any) -> None:
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    wrapping = {"WrappingAlgorithm": HYBRID, "WrappingKeySpec": "RSA_2048"}
    refused = refusal(kms.get_parameters_for_import, KeyId=key, **wrapping)
    assert refused.type == "UnsupportedOperationException"
    assert "origin is AWS_KMS which is not valid for this operation" in refused.message
    blob = {"ImportToken": b"x", "EncryptedKeyMaterial": b"x"}
    assert refusal(kms.import_key_material, KeyId=key, **blob, **FOREVER).type == "UnsupportedOperationException"
    assert refusal(kms.delete_imported_key_material, KeyId=key).type == "UnsupportedOperationException"


@pytest.mark.parametrize(
    "wrapping",
    [("RSAES_PKCS1_V1_5", "RSA_2048"), ("SM2PKE", "SM2"), ("RSAES_OAEP_SHA_256", "SM2")],
)
def test_wrapping_that_is_withdrawn_or_elsewhere_is_refused(kms: Any, wrapping: tuple[str, str]) -> None:
    algorithm, size = wrapping
    asked = {"WrappingAlgorithm": algorithm, "WrappingKeySpec": size}
    assert refusal(kms.get_parameters_for_import, KeyId=new_key(kms), **asked).type == "UnsupportedOperationException"


def test_a_key_that_is_pending_deletion_takes_no_material_and_can_lose_it(kms: Any, openssl: OpenSsl) -> None:
    key = new_key(kms)
    openssl.material("SYMMETRIC_DEFAULT")
    import_from(openssl, kms, key)
    given = parameters(kms, key)
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    wrapped = openssl.wrap(given["PublicKey"], HYBRID)
    asked = {"KeyId": key, "ImportToken": given["ImportToken"], "EncryptedKeyMaterial": wrapped}
    assert refusal(kms.import_key_material, **asked, **FOREVER).type == "KMSInvalidStateException"
    wrapping = {"WrappingAlgorithm": HYBRID, "WrappingKeySpec": "RSA_2048"}
    assert refusal(kms.get_parameters_for_import, KeyId=key, **wrapping).type == "KMSInvalidStateException"
    assert kms.delete_imported_key_material(KeyId=key)["KeyMaterialId"]
    assert state_of(kms, key) == "PendingDeletion"
    kms.cancel_key_deletion(KeyId=key)
    assert state_of(kms, key) == "PendingImport"


def test_words_for_symmetric_keys_are_refused_for_others(kms: Any, openssl: OpenSsl) -> None:
    key = new_key(kms, "HMAC_256", "GENERATE_VERIFY_MAC")
    openssl.material("HMAC_256")
    for words in (
        {"ImportType": "NEW_KEY_MATERIAL"},
        {"KeyMaterialDescription": "mine"},
        {"KeyMaterialId": "ab" * 32},
    ):
        with pytest.raises(kms.exceptions.UnsupportedOperationException):
            import_from(openssl, kms, key, **FOREVER, **words)
    assert state_of(kms, key) == "PendingImport"


def _pkcs8(private: Any) -> bytes:
    made: bytes = private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made


def _spki(public: Any) -> bytes:
    made: bytes = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return made
