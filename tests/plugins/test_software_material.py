"""The standard store's cryptography: published vectors below the contract, the openssl command beside it."""

from __future__ import annotations

import shutil
import subprocess
import threading
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils

from plugins.sdk import (
    KEY_SPECS,
    Algorithm,
    InvalidCiphertext,
    InvalidRequest,
    InvalidSignature,
    KeySpec,
    KeyUsage,
    MaterialDamaged,
    MaterialRef,
    MessageType,
    Unsupported,
)
from plugins.software import SoftwareKeyStore, keymaking
from plugins.software.material import EcMaterial, Ed25519Material, HmacMaterial, MlDsaMaterial, RsaMaterial
from tests.plugins.conftest import create

RAW = MessageType.RAW
DER, SPKI = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl command is not installed")

# ---- published vectors -----------------------------------------------------------------------------------------------

RFC_4231 = {
    28: "896fb1128abbdf196832107cd49df33f47b4b1169912ba4f53684b22",
    32: "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
    48: "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6",
    64: "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4"
    "be9d914eeb61f1702e696c203a126854",
}


@pytest.mark.parametrize(("size", "mac"), RFC_4231.items())
def test_hmac_is_that_of_rfc_4231(size: int, mac: str) -> None:
    """Test case 1. Its key has 20 octets, which HMAC pads with zeros: the padded key is the same key."""
    material = HmacMaterial(b"\x0b" * 20 + bytes(size - 20))
    assert material.mac(b"Hi There").hex() == mac
    material.verify_mac(b"Hi There", bytes.fromhex(mac))


def test_ed25519_is_that_of_rfc_8032() -> None:
    """Section 7.1, test 2."""
    seed = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    material = Ed25519Material(ed25519.Ed25519PrivateKey.from_private_bytes(seed))
    assert material.sign(Algorithm.ED25519_SHA_512, RAW, b"\x72") == signature
    material.verify(Algorithm.ED25519_SHA_512, RAW, b"\x72", signature)


def test_ecdsa_accepts_the_signature_of_rfc_6979() -> None:
    """Appendix A.2.5, P-256 with SHA-256, message "sample"."""
    scalar = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
    signature = utils.encode_dss_signature(
        0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716,
        0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8,
    )
    material = EcMaterial(ec.derive_private_key(scalar, ec.SECP256R1()))
    material.verify(Algorithm.ECDSA_SHA_256, RAW, b"sample", signature)
    with pytest.raises(InvalidSignature):
        material.verify(Algorithm.ECDSA_SHA_256, RAW, b"Sample", signature)


def test_ecdh_is_that_of_rfc_5903() -> None:
    """Section 8.1, the 256-bit random ECP group."""
    scalar = 0xC88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433
    peer = ec.EllipticCurvePublicNumbers(
        0xD12DFB5289C8D4F81208B70270398C342296970A0BCCB74C736FC7554494BF63,
        0x56FBF3CA366CC23E8157854C13C58D6AAC23F046ADA30F8353E74F33039872AB,
        ec.SECP256R1(),
    ).public_key()
    shared = EcMaterial(ec.derive_private_key(scalar, ec.SECP256R1())).agree(peer.public_bytes(DER, SPKI))
    assert shared.expose().hex() == "d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de"


# ---- what the library lacks is not pretended -------------------------------------------------------------------------


async def test_capabilities_are_what_the_library_offers(store: SoftwareKeyStore) -> None:
    capabilities = await store.open()
    missing = set(KeySpec) - capabilities.key_specs.keys()
    assert KeySpec.SM2 in missing
    assert missing <= {KeySpec.SM2, KeySpec.ML_KEM_512}
    assert KeySpec.SYMMETRIC_DEFAULT not in capabilities.data_key_pairs


def test_a_parameter_set_that_the_library_loses_is_no_longer_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(keymaking.mldsa, "MLDSA87PrivateKey")
    assert KeySpec.ML_DSA_87 not in keymaking.offered.__wrapped__()
    assert KeySpec.ML_DSA_65 in keymaking.offered.__wrapped__()


async def test_ed25519ph_is_refused_with_the_alternative(store: SoftwareKeyStore) -> None:
    ref = await create(store, "a", KeySpec.ECC_NIST_EDWARDS25519)
    with pytest.raises(Unsupported, match="ED25519_SHA_512"):
        await store.sign(ref, Algorithm.ED25519_PH_SHA_512, MessageType.DIGEST, bytes(64))
    with pytest.raises(InvalidRequest):
        await store.sign(ref, Algorithm.ED25519_PH_SHA_512, RAW, b"message")


async def test_a_peer_key_at_infinity_is_refused(store: SoftwareKeyStore) -> None:
    ref = await create(store, "a", KeySpec.ECC_NIST_P256)
    infinity = bytes.fromhex("3019301306072a8648ce3d020106082a8648ce3d03010703020000")
    with pytest.raises(InvalidRequest, match="secp256r1"):
        await store.agree(ref, infinity)


@pytest.mark.parametrize("spec", [KeySpec.RSA_2048, KeySpec.ML_DSA_87])
async def test_slow_private_operations_leave_the_event_loop_free(
    store: SoftwareKeyStore, monkeypatch: pytest.MonkeyPatch, spec: KeySpec
) -> None:
    threads = []
    signing = RsaMaterial.sign if spec is KeySpec.RSA_2048 else MlDsaMaterial.sign

    def recorded(self, *arguments) -> bytes:
        threads.append(threading.get_ident())
        return signing(self, *arguments)

    monkeypatch.setattr(RsaMaterial, "sign", recorded)
    monkeypatch.setattr(MlDsaMaterial, "sign", recorded)
    ref = await create(store, "a", spec)
    await store.sign(ref, KEY_SPECS[spec].algorithms[KeyUsage.SIGN_VERIFY][0], RAW, b"message")
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()


# ---- openssl ---------------------------------------------------------------------------------------------------------


def openssl(directory: Path, *arguments: str) -> str:
    """Run the openssl command; what it prints, all of it."""
    done = subprocess.run(["openssl", *arguments], cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def keyed(store: SoftwareKeyStore, directory: Path, spec: KeySpec) -> MaterialRef:
    """Material, its public key as public.pem and a message in ``directory``."""
    ref = await create(store, "a", spec)
    material = await store.observe(ref)
    assert material is not None
    assert material.public_key is not None
    key = serialization.load_der_public_key(material.public_key)
    (directory / "public.pem").write_bytes(key.public_bytes(serialization.Encoding.PEM, SPKI))
    (directory / "message").write_bytes(b"the message")
    return ref


@needs_openssl
async def test_openssl_verifies_every_rsa_signature(store: SoftwareKeyStore, tmp_path: Path) -> None:
    ref = await keyed(store, tmp_path, KeySpec.RSA_2048)
    for bits in ("256", "384", "512"):
        for scheme, options in (("PKCS1_V1_5", ()), ("PSS", _PSS)):
            algorithm = Algorithm(f"RSASSA_{scheme}_SHA_{bits}")
            (tmp_path / "signature").write_bytes(await store.sign(ref, algorithm, RAW, b"the message"))
            arguments = ("-verify", "public.pem", "-signature", "signature", *options, "message")
            assert "OK" in openssl(tmp_path, "dgst", f"-sha{bits}", *arguments)


_PSS = ("-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest")


@needs_openssl
@pytest.mark.parametrize(
    ("spec", "bits"),
    [
        (KeySpec.ECC_NIST_P256, 256),
        (KeySpec.ECC_NIST_P384, 384),
        (KeySpec.ECC_NIST_P521, 512),
        (KeySpec.ECC_SECG_P256K1, 256),
    ],
)
async def test_openssl_verifies_every_ecdsa_signature(
    store: SoftwareKeyStore, tmp_path: Path, spec: KeySpec, bits: int
) -> None:
    ref = await keyed(store, tmp_path, spec)
    algorithm = Algorithm(f"ECDSA_SHA_{bits}")
    (tmp_path / "signature").write_bytes(await store.sign(ref, algorithm, RAW, b"the message"))
    assert "OK" in openssl(
        tmp_path, "dgst", f"-sha{bits}", "-verify", "public.pem", "-signature", "signature", "message"
    )


@needs_openssl
async def test_openssl_verifies_an_ed25519_signature(store: SoftwareKeyStore, tmp_path: Path) -> None:
    ref = await keyed(store, tmp_path, KeySpec.ECC_NIST_EDWARDS25519)
    (tmp_path / "signature").write_bytes(await store.sign(ref, Algorithm.ED25519_SHA_512, RAW, b"the message"))
    arguments = ("-verify", "-pubin", "-inkey", "public.pem", "-rawin", "-in", "message", "-sigfile", "signature")
    assert "Success" in openssl(tmp_path, "pkeyutl", *arguments)


@needs_openssl
@pytest.mark.parametrize("hash_", ["sha1", "sha256"])
async def test_what_openssl_encrypts_with_oaep_decrypts_and_only_that(
    store: SoftwareKeyStore, tmp_path: Path, hash_: str
) -> None:
    ref = await keyed(store, tmp_path, KeySpec.RSA_2048)
    options = ("rsa_padding_mode:oaep", f"rsa_oaep_md:{hash_}", f"rsa_mgf1_md:{hash_}")
    pkeyopts = [word for option in options for word in ("-pkeyopt", option)]
    files = ("-in", "message", "-out", "ciphertext")
    openssl(tmp_path, "pkeyutl", "-encrypt", "-pubin", "-inkey", "public.pem", *pkeyopts, *files)
    ciphertext = (tmp_path / "ciphertext").read_bytes()
    right, wrong = Algorithm.RSAES_OAEP_SHA_1, Algorithm.RSAES_OAEP_SHA_256
    if hash_ == "sha256":
        right, wrong = wrong, right
    assert await store.decrypt(ref, right, ciphertext, b"") == b"the message"
    with pytest.raises(InvalidCiphertext):
        await store.decrypt(ref, wrong, ciphertext, b"")


@needs_openssl
async def test_openssl_derives_the_same_secret(store: SoftwareKeyStore, tmp_path: Path) -> None:
    ref = await keyed(store, tmp_path, KeySpec.ECC_NIST_P384)
    openssl(tmp_path, "ecparam", "-name", "secp384r1", "-genkey", "-noout", "-out", "peer.pem")
    openssl(tmp_path, "ec", "-in", "peer.pem", "-pubout", "-outform", "DER", "-out", "peer.der")
    openssl(tmp_path, "pkeyutl", "-derive", "-inkey", "peer.pem", "-peerkey", "public.pem", "-out", "secret")
    shared = await store.agree(ref, (tmp_path / "peer.der").read_bytes())
    assert shared.expose() == (tmp_path / "secret").read_bytes()


@needs_openssl
@pytest.mark.parametrize("spec", [KeySpec.RSA_2048, KeySpec.ECC_NIST_P521, KeySpec.ECC_NIST_EDWARDS25519])
async def test_openssl_reads_a_data_key_pair(store: SoftwareKeyStore, tmp_path: Path, spec: KeySpec) -> None:
    pair = await store.generate_key_pair(spec)
    (tmp_path / "private.der").write_bytes(pair.private_key.expose())
    openssl(
        tmp_path, "pkey", "-inform", "DER", "-in", "private.der", "-pubout", "-outform", "DER", "-out", "public.der"
    )
    assert (tmp_path / "public.der").read_bytes() == pair.public_key


async def test_a_reference_with_another_spec_than_the_token_is_refused(store: SoftwareKeyStore) -> None:
    ref = await create(store, "a", KeySpec.ECC_NIST_P256)
    with pytest.raises(MaterialDamaged, match="belongs to another key"):
        await store.agree(msgspec.structs.replace(ref, key_spec=KeySpec.ECC_NIST_P384), b"")
