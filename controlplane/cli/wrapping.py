"""Wrapping material for its import, on the machine of its owner and nowhere else.

Called by ``cli.imports``. Guarantees: material is read, checked and wrapped in the memory of this process; what is
written is the wrapped form only; nothing here talks to a server; the process leaves no core dump; no message holds any
of the material. Key arithmetic is that of ``cryptography``.

Source: AWS KMS Developer Guide, "Encrypt the key material"; RFC 8017 (RSAES-OAEP), RFC 5649 (AES key wrap with
padding); PKCS #11, CKM_RSA_AES_KEY_WRAP.
"""

from __future__ import annotations

import contextlib
import os
import resource
from pathlib import Path
from typing import Any, Final

from cryptography import exceptions
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding

from controlplane.errors import InvalidInput
from controlplane.schema.keys import KeySpec
from plugins.sdk.vocabulary import KEY_SPECS, Family, WrappingAlgorithm

MAX_MATERIAL: Final = 16_384
"""An RSA-4096 key in PEM has 3,272 octets."""

_PEM: Final = b"-----BEGIN"
_ENCRYPTED: Final = "openssl pkcs8 -in FILE -nocrypt -topk8 -outform DER"
_CURVES: Final = {
    KeySpec.ECC_NIST_P256: "secp256r1",
    KeySpec.ECC_NIST_P384: "secp384r1",
    KeySpec.ECC_NIST_P521: "secp521r1",
    KeySpec.ECC_SECG_P256K1: "secp256k1",
}


def no_core_dump() -> None:
    """A crash from here on leaves no memory image on disk."""
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def read_material(path: Path | None) -> bytes:
    """Material from a file, or from standard input for None. Raises :class:`InvalidInput`."""
    import sys

    try:
        if path is None:
            content = sys.stdin.buffer.read(MAX_MATERIAL + 1)
        else:
            with path.open("rb") as file:
                content = file.read(MAX_MATERIAL + 1)
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read: {error.strerror}") from None
    if not content:
        raise InvalidInput(f"{path or 'standard input'}: is empty")
    if len(content) > MAX_MATERIAL:
        raise InvalidInput(f"{path or 'standard input'}: holds more than {MAX_MATERIAL:,} octets, which no key does")
    return content


def prepared(spec: KeySpec, content: bytes) -> bytes:
    """Material in the form in which it is imported: octets of a secret key, PKCS#8 in DER of a private key.

    A private key may come in PEM or in the older forms of RSA and EC keys, too. Raises :class:`InvalidInput` for what
    the key would refuse, before it is uploaded.
    """
    facts = KEY_SPECS[spec]
    if facts.symmetric:
        if len(content) * 8 != facts.bits:
            octets = facts.bits // 8
            raise InvalidInput(
                f"a {spec} key is exactly {octets} octets, in binary; this is {len(content)}. "
                f"Make one with: openssl rand -out FILE {octets}"
            )
        return content
    private = _private_key(spec, content)
    problem = _misfit(spec, private)
    if problem:
        raise InvalidInput(f"this is {problem}; the key takes a private key of spec {spec}")
    encoded: bytes = private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return encoded


def wrap(public_key: bytes, algorithm: WrappingAlgorithm, material: bytes) -> bytes:
    """The material under a wrapping key. Raises :class:`InvalidInput` if it does not fit."""
    try:
        public = serialization.load_der_public_key(public_key)
    except (ValueError, exceptions.UnsupportedAlgorithm):
        public = None
    if not isinstance(public, rsa.RSAPublicKey):
        raise InvalidInput("the wrapping key is not an RSA public key in DER; ask for the parameters again")
    hash_: hashes.HashAlgorithm = hashes.SHA1() if algorithm.endswith("SHA_1") else hashes.SHA256()  # noqa: S303
    oaep = padding.OAEP(padding.MGF1(hash_), hash_, None)
    if algorithm.hybrid:
        key = os.urandom(32)
        return public.encrypt(key, oaep) + aes_key_wrap_with_padding(key, material)
    if len(material) > public.key_size // 8 - 2 * hash_.digest_size - 2:
        raise InvalidInput(
            f"the material does not fit under an RSA key of {public.key_size} bits with {algorithm}; "
            "ask for parameters with --algorithm RSA_AES_KEY_WRAP_SHA_256"
        )
    return public.encrypt(material, oaep)


def _private_key(spec: KeySpec, content: bytes) -> Any:
    pem = content.lstrip().startswith(_PEM)
    load = serialization.load_pem_private_key if pem else serialization.load_der_private_key
    try:
        return load(content, None)
    except TypeError:  # what the library raises for a key that wants a passphrase
        raise InvalidInput(f"the private key is encrypted; decrypt it first: {_ENCRYPTED}") from None
    except (ValueError, exceptions.UnsupportedAlgorithm):
        what = " It is a public key." if _is_public_key(content, pem=pem) else ""
        raise InvalidInput(f"this is no private key of spec {spec} in PEM or DER.{what}") from None


def _is_public_key(content: bytes, *, pem: bool) -> bool:
    load = serialization.load_pem_public_key if pem else serialization.load_der_public_key
    try:
        load(content)
    except (ValueError, exceptions.UnsupportedAlgorithm):
        return False
    return True


def _misfit(spec: KeySpec, private: Any) -> str:
    """What is wrong with a private key, or nothing."""
    facts, kind = KEY_SPECS[spec], type(private).__name__
    if isinstance(private, rsa.RSAPrivateKey):
        fits = facts.family is Family.RSA and private.key_size == facts.bits
        return "" if fits else f"an RSA key of {private.key_size} bits"
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return "" if private.curve.name == _CURVES.get(spec) else f"a key on the curve {private.curve.name}"
    names = {Family.ED25519: "Ed25519", Family.ML_DSA: f"MLDSA{facts.bits}", Family.ML_KEM: f"MLKEM{facts.bits}"}
    wanted = names.get(facts.family)
    return "" if wanted is not None and kind.startswith(wanted) else f"a {kind.removesuffix('PrivateKey')} key"
