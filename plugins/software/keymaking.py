"""How material is generated, serialised and loaded, per key spec. Called by ``plugin``; blocking, no state.

Guarantees: what :func:`offered` answers was tried with the library at hand, never assumed; what :func:`generate` made,
:func:`load` opens; loading trusts its input, so it is only shown secrets that a key token authenticated.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, mlkem, rsa

from plugins.sdk import KEY_SPECS, Family, KeySpec, KeyUsage, MaterialDamaged, Unsupported
from plugins.software.material import (
    AesMaterial,
    EcMaterial,
    Ed25519Material,
    HmacMaterial,
    MlDsaMaterial,
    MldsaPrivateKey,
    MlKemMaterial,
    MlkemPrivateKey,
    OpenMaterial,
    RsaMaterial,
)

PrivateKey = (
    rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | MldsaPrivateKey | MlkemPrivateKey
)

CURVES: dict[KeySpec, ec.EllipticCurve] = {
    KeySpec.ECC_NIST_P256: ec.SECP256R1(),
    KeySpec.ECC_NIST_P384: ec.SECP384R1(),
    KeySpec.ECC_NIST_P521: ec.SECP521R1(),
    KeySpec.ECC_SECG_P256K1: ec.SECP256K1(),
}
_DATA_KEY_PAIR_FAMILIES = (Family.RSA, Family.EC, Family.ED25519, Family.ML_KEM)


def _generator(spec: KeySpec) -> Callable[[], PrivateKey] | None:
    """The library's generator of key pairs of ``spec``; None if it has none."""
    facts = KEY_SPECS[spec]
    match facts.family:
        case Family.RSA:
            return functools.partial(rsa.generate_private_key, 65_537, facts.bits)
        case Family.EC if spec in CURVES:
            return functools.partial(ec.generate_private_key, CURVES[spec])
        case Family.ED25519:
            return ed25519.Ed25519PrivateKey.generate
        # By name, because not every release has every parameter set (50.0.2 lacks MLKEM512PrivateKey).
        case Family.ML_DSA:
            return getattr(getattr(mldsa, f"MLDSA{facts.bits}PrivateKey", None), "generate", None)
        case Family.ML_KEM:
            return getattr(getattr(mlkem, f"MLKEM{facts.bits}PrivateKey", None), "generate", None)
        case _:
            return None


@functools.cache
def offered() -> dict[KeySpec, frozenset[KeyUsage]]:
    """Every spec that this process can generate, with its usages. Takes some milliseconds the first time.

    A class may be there while the OpenSSL behind it lacks the algorithm, so each generator but RSA's (slow, and in
    every OpenSSL) is run once.
    """
    answer = {}
    for spec, facts in KEY_SPECS.items():
        if not facts.symmetric:
            generate_key = _generator(spec)
            if generate_key is None:
                continue
            if facts.family is not Family.RSA:
                try:
                    generate_key()
                except UnsupportedAlgorithm:
                    continue
        answer[spec] = frozenset(facts.algorithms)
    return answer


def data_key_pair_specs() -> frozenset[KeySpec]:
    """The specs that GenerateDataKeyPair may ask for."""
    return frozenset(spec for spec in offered() if KEY_SPECS[spec].family in _DATA_KEY_PAIR_FAMILIES)


def generate(spec: KeySpec) -> tuple[bytes, bytes | None]:
    """A fresh secret (raw bytes, or PKCS#8 in DER) and the public key (SubjectPublicKeyInfo in DER) if there is one.

    RSA takes up to seconds; call it in a thread. Raises ``Unsupported``.
    """
    facts = KEY_SPECS[spec]
    if facts.symmetric:
        return os.urandom(facts.bits // 8), None
    generate_key = _generator(spec) if spec in offered() else None
    if generate_key is None:
        raise Unsupported(f"the standard key store does not offer {spec}: its cryptographic library does not")
    private = generate_key()
    return (
        private.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        private.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
    )


def load(spec: KeySpec, secret: bytes) -> OpenMaterial:
    """Opened material. ``secret`` must come out of an authenticated key token of exactly this spec."""
    family = KEY_SPECS[spec].family
    if family is Family.AES:
        return AesMaterial(secret)
    if family is Family.HMAC:
        return HmacMaterial(secret)
    # Full validation of an RSA key re-tests its primes: 377 ms for RSA-4096, 5 microseconds without. It guards against
    # keys that someone chose: this one we generated ourselves, or validated when it was imported, and the token's
    # AES-GCM tag proves that it is unchanged.
    try:
        private = serialization.load_der_private_key(secret, None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise MaterialDamaged(
            f"the cryptographic library does not load this {spec} key: was Keystead or the library replaced by an "
            "older version?"
        ) from None
    match private:
        case rsa.RSAPrivateKey():
            return RsaMaterial(private)
        case ec.EllipticCurvePrivateKey():
            return EcMaterial(private)
        case ed25519.Ed25519PrivateKey():
            return Ed25519Material(private)
        case mldsa.MLDSA44PrivateKey() | mldsa.MLDSA65PrivateKey() | mldsa.MLDSA87PrivateKey():
            return MlDsaMaterial(private)
        case mlkem.MLKEM768PrivateKey() | mlkem.MLKEM1024PrivateKey():
            return MlKemMaterial(private)
        case _:
            raise Unsupported(f"the standard key store does not open material of {spec}")
