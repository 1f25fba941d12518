"""Material from outside: wrapping keys, unwrapping, and the check that it is what the key spec asks for.

Called by ``plugin``; blocking (an RSA key takes up to seconds to make and to check), no state, no I/O.

::

    sealed wrapping key: magic "KSTEADWK" (8) | version (1) | domain key id (16) | nonce (12) | AES-256-GCM of PKCS#8

Guarantees: a sealed wrapping key opens only for the key ARN, key id, key spec, wrapping key spec and algorithm it was
made for; of an unwrapping that fails nothing is told but that it failed (a difference would be an oracle for the
padding); material passes the library's full validation before it is accepted, since somebody else chose it; no message
holds any of it.
"""

from __future__ import annotations

from typing import Final

from cryptography import exceptions
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, mlkem, padding, rsa
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding

from plugins.sdk import (
    KEY_SPECS,
    Family,
    ImportTarget,
    IncorrectMaterial,
    InvalidCiphertext,
    KeySpec,
    MaterialDamaged,
    WrappingAlgorithm,
    WrappingKey,
    WrappingSpec,
)
from plugins.software.domainkeys import ID_BYTES, DomainKey
from plugins.software.keymaking import CURVES, PrivateKey
from plugins.software.sealing import SealBroken, bind, seal, unseal

HEADER: Final = b"KSTEADWK\x01"
_BOX_AT: Final = len(HEADER) + ID_BYTES
_AES_KEY_BYTES: Final = 32
_SEQUENCE, _INTEGER = 0x30, 0x02
_LONG_FORM = 0x80

_SHA1 = hashes.SHA1()  # noqa: S303 - OAEP does not rest on collisions; the KMS API offers it
_HASHES: dict[str, hashes.HashAlgorithm] = {"SHA_1": _SHA1, "SHA_256": hashes.SHA256()}


def make_wrapping_key(
    domain: DomainKey, target: ImportTarget, spec: WrappingSpec, algorithm: WrappingAlgorithm
) -> WrappingKey:
    """A fresh RSA key pair. Takes up to seconds."""
    private = rsa.generate_private_key(65_537, spec.bits)
    secret = private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    sealed = HEADER + domain.id + seal(domain.cipher, secret, _binding(domain.id, target, spec, algorithm))
    return WrappingKey(public_key=_public(private), sealed=sealed)


def domain_id_of(sealed: bytes) -> bytes:
    """The id of the domain key that a sealed wrapping key names. Raises ``MaterialDamaged``."""
    if not sealed.startswith(HEADER) or len(sealed) < _BOX_AT:
        raise MaterialDamaged("this is not a wrapping key of the standard key store, or of a newer version of it")
    return sealed[len(HEADER) : _BOX_AT]


def unwrap(
    domain: DomainKey,
    target: ImportTarget,
    spec: WrappingSpec,
    algorithm: WrappingAlgorithm,
    sealed: bytes,
    encrypted: bytes,
) -> bytes:
    """What was wrapped. Raises ``InvalidCiphertext``, or ``MaterialDamaged`` for a wrapping key of another target."""
    try:
        secret = unseal(domain.cipher, sealed[_BOX_AT:], _binding(domain.id, target, spec, algorithm))
    except SealBroken:
        raise MaterialDamaged(
            f"the wrapping key does not open for {target.key_arn}, {spec} and {algorithm}: "
            "it is damaged or was made for something else"
        ) from None
    private = serialization.load_der_private_key(secret, None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(private, rsa.RSAPrivateKey)
    hash_ = _HASHES[algorithm[-5:] if algorithm.endswith("SHA_1") else algorithm[-7:]]
    oaep = padding.OAEP(padding.MGF1(hash_), hash_, None)
    modulus = spec.bits // 8
    try:
        if not algorithm.hybrid:
            return private.decrypt(encrypted, oaep)
        key = private.decrypt(encrypted[:modulus], oaep)
        if len(key) != _AES_KEY_BYTES:
            raise _does_not_unwrap()
        return aes_key_unwrap_with_padding(key, encrypted[modulus:])
    except (ValueError, InvalidUnwrap):
        raise _does_not_unwrap() from None


def check(spec: KeySpec, raw: bytes) -> tuple[bytes, bytes | None]:
    """Material as :func:`keymaking.generate` would have answered it. Raises ``IncorrectMaterial``.

    Validating an RSA key tests its primes: up to half a second for RSA-4096.
    """
    facts = KEY_SPECS[spec]
    if facts.symmetric:
        if len(raw) * 8 != facts.bits:
            raise IncorrectMaterial(f"a key of spec {spec} has {facts.bits} bits; the material has {len(raw) * 8}")
        return raw, None
    # Its kind and size first: validating a key of some other size could take as long as its maker likes.
    problem = _misfit(spec, _load(spec, raw, validate=False))
    if problem is not None:
        raise IncorrectMaterial(f"the material is {problem}, which a key of spec {spec} does not take")
    private = _load(spec, raw, validate=True)
    secret = private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return secret, _public(private)


def _load(spec: KeySpec, raw: bytes, *, validate: bool) -> PrivateKey:
    wanted = f"a private key of spec {spec} as unencrypted PKCS#8 in DER"
    if not _is_pkcs8(raw):
        what = "a public key" if _is_public_key(raw) else "not that"
        raise IncorrectMaterial(f"the material should be {wanted}; it is {what}")
    try:
        private = serialization.load_der_private_key(raw, None, unsafe_skip_rsa_key_validation=not validate)
    except (ValueError, TypeError, exceptions.UnsupportedAlgorithm):
        raise IncorrectMaterial(f"the material does not load as {wanted}") from None
    return private  # type: ignore[return-value]  # _misfit refuses every other kind of key


def _misfit(spec: KeySpec, private: PrivateKey) -> str | None:
    """What is wrong with a loaded private key, or None."""
    facts = KEY_SPECS[spec]
    match facts.family, private:
        case Family.RSA, rsa.RSAPrivateKey():
            exponent = private.private_numbers().public_numbers.e
            if private.key_size != facts.bits:
                return f"an RSA key of {private.key_size} bits"
            return None if 65_536 < exponent < 1 << 256 else "an RSA key with a public exponent that FIPS 186-5 forbids"
        case Family.EC, ec.EllipticCurvePrivateKey():
            return None if private.curve.name == CURVES[spec].name else f"a key on the curve {private.curve.name}"
        case Family.ED25519, ed25519.Ed25519PrivateKey():
            return None
        case Family.ML_DSA, mldsa.MLDSA44PrivateKey() | mldsa.MLDSA65PrivateKey() | mldsa.MLDSA87PrivateKey():
            return _other_parameters(f"MLDSA{facts.bits}", private)
        case Family.ML_KEM, mlkem.MLKEM768PrivateKey() | mlkem.MLKEM1024PrivateKey():
            return _other_parameters(f"MLKEM{facts.bits}", private)
    return "a private key of another kind"


def _other_parameters(wanted: str, private: PrivateKey) -> str | None:
    return None if type(private).__name__.startswith(wanted) else "a private key of another parameter set"


def _is_pkcs8(raw: bytes) -> bool:
    """Whether this begins as PKCS#8 does: SEQUENCE { INTEGER version, SEQUENCE algorithm, ... (RFC 5208, RFC 5958).

    The library also reads the older forms of RSA and EC keys (RFC 8017, RFC 5915), which the KMS API does not take.
    Everything else about the encoding is the library's to judge.
    """
    if len(raw) < 2 or raw[0] != _SEQUENCE:
        return False
    inner = raw[2 + (raw[1] & ~_LONG_FORM if raw[1] & _LONG_FORM else 0) :]
    return len(inner) > 3 and inner[0] == _INTEGER and inner[1] == 1 and inner[3] == _SEQUENCE


def _is_public_key(raw: bytes) -> bool:
    try:
        serialization.load_der_public_key(raw)
    except (ValueError, TypeError, exceptions.UnsupportedAlgorithm):
        return False
    return True


def _public(private: PrivateKey) -> bytes:
    return private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _does_not_unwrap() -> InvalidCiphertext:
    return InvalidCiphertext("the encrypted key material does not unwrap with this wrapping key and algorithm")


def _binding(domain_id: bytes, target: ImportTarget, spec: WrappingSpec, algorithm: WrappingAlgorithm) -> bytes:
    key = (target.key_arn.encode(), target.key_id.encode(), target.key_spec.encode())
    return bind(HEADER, domain_id, *key, spec.encode(), algorithm.encode())
