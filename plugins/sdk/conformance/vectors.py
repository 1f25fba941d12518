"""Conformance: another implementation agrees. What the plugin made is checked by ``cryptography``, and the reverse.

Published vectors are replayed where a store imports keys (``imports``: RFC 4231, 5903, 6979, 8032); one that only makes
its own cannot be given those of a vector. What can be shown of each is that the public key, the signatures, the
ciphertexts and the shared secrets are the standards' and not merely consistent with themselves.
"""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, mlkem, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from plugins.sdk import KEY_SPECS, Algorithm, KeySpec, KeyStorePlugin, KeyUsage, MaterialRef, MessageType
from plugins.sdk.conformance.choosing import needs_spec
from plugins.sdk.conformance.harness import Harness
from plugins.sdk.conformance.usage import MESSAGE

_HASHES: dict[str, hashes.HashAlgorithm] = {
    "1": hashes.SHA1(),  # RSAES_OAEP_SHA_1
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}
_CURVE_NAMES = {
    KeySpec.ECC_NIST_P256: "secp256r1",
    KeySpec.ECC_NIST_P384: "secp384r1",
    KeySpec.ECC_NIST_P521: "secp521r1",
    KeySpec.ECC_SECG_P256K1: "secp256k1",
}


class VectorConformance(Harness):
    """The plugin speaks the standards."""

    async def test_the_public_key_is_of_the_spec(self, plugin: KeyStorePlugin, pair_spec: KeySpec) -> None:
        match await _public_key(plugin, await self.created(plugin, pair_spec)):
            case rsa.RSAPublicKey() as key:
                assert (key.key_size, key.public_numbers().e) == (KEY_SPECS[pair_spec].bits, 65_537)
            case ec.EllipticCurvePublicKey() as key:
                assert key.curve.name == _CURVE_NAMES[pair_spec]
            case key:
                assert type(key).__name__.lower().startswith(_family_prefix(pair_spec))

    async def test_signatures_verify_elsewhere(self, plugin: KeyStorePlugin, signing_spec: KeySpec) -> None:
        ref = await self.created(plugin, signing_spec)
        key = await _public_key(plugin, ref)
        for algorithm in self.algorithms(signing_spec, KeyUsage.SIGN_VERIFY):
            _verify(key, algorithm, await plugin.sign(ref, algorithm, MessageType.RAW, MESSAGE))

    @needs_spec(KeySpec.ML_DSA_65)
    async def test_an_external_mu_is_that_of_fips_204(self, plugin: KeyStorePlugin) -> None:
        ref = await self.created(plugin, KeySpec.ML_DSA_65)
        key = await _public_key(plugin, ref)
        assert isinstance(key, mldsa.MLDSA65PublicKey)
        # FIPS 204, algorithms 2 and 7: mu = H(H(pk, 64) || 0 || len(context) || context || M, 64), H being SHAKE256.
        key_hash = hashlib.shake_256(key.public_bytes_raw()).digest(64)
        mu = hashlib.shake_256(key_hash + b"\0\0" + MESSAGE).digest(64)
        signature = await plugin.sign(ref, Algorithm.ML_DSA_SHAKE_256, MessageType.EXTERNAL_MU, mu)
        key.verify(signature, MESSAGE)

    async def test_what_others_encrypt_to_an_rsa_key_decrypts(
        self, plugin: KeyStorePlugin, oaep_algorithm: Algorithm
    ) -> None:
        ref = await self.created(plugin, KeySpec.RSA_2048)
        key = await _public_key(plugin, ref)
        assert isinstance(key, rsa.RSAPublicKey)
        hash_ = _HASHES[oaep_algorithm.rsplit("_", 1)[1]]
        ciphertext = key.encrypt(MESSAGE, padding.OAEP(padding.MGF1(hash_), hash_, None))
        assert await plugin.decrypt(ref, oaep_algorithm, ciphertext, b"") == MESSAGE

    async def test_what_others_encapsulate_decapsulates(self, plugin: KeyStorePlugin, kem_spec: KeySpec) -> None:
        ref = await self.created(plugin, kem_spec)
        key = await _public_key(plugin, ref)
        assert isinstance(key, mlkem.MLKEM768PublicKey | mlkem.MLKEM1024PublicKey)
        secret, ciphertext = key.encapsulate()
        assert (await plugin.decapsulate(ref, ciphertext)).expose() == secret


async def _public_key(plugin: KeyStorePlugin, ref: MaterialRef) -> PublicKeyTypes:
    material = await plugin.observe(ref)
    assert material is not None
    assert material.public_key is not None
    return serialization.load_der_public_key(material.public_key)


def _family_prefix(spec: KeySpec) -> str:
    return "ed25519" if spec is KeySpec.ECC_NIST_EDWARDS25519 else spec.lower().replace("_", "")


def _verify(key: PublicKeyTypes, algorithm: Algorithm, signature: bytes) -> None:
    hash_ = _HASHES[algorithm.rsplit("_", 1)[1]]
    match key:
        case rsa.RSAPublicKey() if "PSS" in algorithm:
            key.verify(signature, MESSAGE, padding.PSS(padding.MGF1(hash_), hash_.digest_size), hash_)
        case rsa.RSAPublicKey():
            key.verify(signature, MESSAGE, padding.PKCS1v15(), hash_)
        case ec.EllipticCurvePublicKey():
            key.verify(signature, MESSAGE, ec.ECDSA(hash_))
        case (
            ed25519.Ed25519PublicKey() | mldsa.MLDSA44PublicKey() | mldsa.MLDSA65PublicKey() | mldsa.MLDSA87PublicKey()
        ):
            key.verify(signature, MESSAGE)
        case _:
            raise AssertionError(f"{algorithm} does not sign with a {type(key).__name__}")
