"""Opened key material, one class per family, and how each is generated. Called by ``plugin``; no I/O, no state.

Every class wraps the key objects of ``cryptography`` and answers the operations of its family; the plugin has checked
before that the key spec offers the algorithm. Guarantees: what is wrong with the input is ``InvalidRequest``, every
decryption failure is the same ``InvalidCiphertext`` (a distinction would be an oracle), every verification failure
``InvalidSignature``; nothing here prints a key. No primitive is our own.

``slow`` marks the families whose private operations hold a core for about a millisecond or more (measured, one core:
RSA-2048 0.7 ms, RSA-3072 2.3, RSA-4096 5.3; ML-DSA 0.7 to 1.5 with a long tail, since FIPS 204 signs by rejection).
They release the GIL, so a thread keeps the event loop free. All others take 1 to 700 microseconds.
"""

# ruff: noqa: ARG002  (every family takes the whole operation, also what it does not need)
from __future__ import annotations

import os
from typing import ClassVar, NoReturn

from cryptography import exceptions
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, mlkem, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from plugins.sdk import (
    Algorithm,
    GcmCiphertext,
    InvalidCiphertext,
    InvalidRequest,
    InvalidSignature,
    MessageType,
    SecretBytes,
    Unsupported,
)

MldsaPrivateKey = mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey | mldsa.MLDSA87PrivateKey
MlkemPrivateKey = mlkem.MLKEM768PrivateKey | mlkem.MLKEM1024PrivateKey

_SHA1 = hashes.SHA1()  # noqa: S303 — OAEP with SHA-1 is KMS's RSAES_OAEP_SHA_1; OAEP does not rest on collisions
_SHA224 = hashes.SHA224()
_SHA256 = hashes.SHA256()
_SHA384 = hashes.SHA384()
_SHA512 = hashes.SHA512()


class OpenMaterial:
    """Material of one family. An operation that the family does not have is refused here, once for all."""

    __slots__ = ()
    slow: ClassVar[bool] = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def _refuse(self) -> NoReturn:
        raise InvalidRequest("the key spec of this key does not offer this operation")

    def encrypt(self, algorithm: Algorithm, plaintext: bytes, aad: bytes) -> bytes:
        self._refuse()

    def decrypt(self, algorithm: Algorithm, ciphertext: bytes, aad: bytes) -> bytes:
        self._refuse()

    def encrypt_gcm(self, plaintext: bytes, aad: bytes) -> GcmCiphertext:
        self._refuse()

    def decrypt_gcm(self, sealed: GcmCiphertext, aad: bytes) -> bytes:
        self._refuse()

    def sign(self, algorithm: Algorithm, message_type: MessageType, message: bytes) -> bytes:
        self._refuse()

    def verify(self, algorithm: Algorithm, message_type: MessageType, message: bytes, signature: bytes) -> None:
        self._refuse()

    def mac(self, message: bytes) -> bytes:
        self._refuse()

    def verify_mac(self, message: bytes, mac: bytes) -> None:
        self._refuse()

    def agree(self, peer_public_key: bytes) -> SecretBytes:
        self._refuse()

    def encapsulate(self) -> tuple[bytes, SecretBytes]:
        self._refuse()

    def decapsulate(self, ciphertext: bytes) -> SecretBytes:
        self._refuse()


def _invalid_ciphertext() -> InvalidCiphertext:
    return InvalidCiphertext("the ciphertext does not decrypt under this key material with this encryption context")


def _invalid_signature() -> InvalidSignature:
    return InvalidSignature("the signature does not verify")


# ---- AES -------------------------------------------------------------------------------------------------------------

_BLOB_FORMAT = b"\x01"
_SALT_BYTES = 16
_NONCE_BYTES = 12
_NONCE_AT = 1 + _SALT_BYTES
_BOX_AT = _NONCE_AT + _NONCE_BYTES
_SHORTEST_BLOB = _BOX_AT + 16
_TAG_BYTES = 16
_MESSAGE_KEY_LABEL = b"keystead AES-256-GCM message key\x00"
_KEY_BY_IV_LABEL = b"keystead AES-256-GCM key by IV\x00"


class AesMaterial(OpenMaterial):
    """AES-256-GCM under a key of its own for each message: ``format (1) | salt (16) | nonce (12) | ciphertext | tag``.

    NIST SP 800-38D, section 8.3, allows one key 2^32 messages with random 96-bit nonces, and a repeated nonce gives
    the authentication key away. A KMS key has no such limit and no counter that survives a crash or is shared between
    processes, so each message key is HKDF-Expand (RFC 5869) of the material over a random salt: key and nonce together
    repeat with the probability of a collision in 224 bits.

    In parts there is no room for a salt of its own, so the IV of 16 octets is the salt too: key and IV together repeat
    with the probability of a collision in 128 bits, which stays under 2^-32 for 2^48 messages.

    One block of HKDF-Expand with SHA-256 is ``HMAC(material, info | 0x01)``, here with the library's HMAC keyed once
    and copied per message: 5.2 us for 1 KiB instead of 7.7 with its HKDFExpand. Label and salt fit one SHA-256 block.
    """

    __slots__ = ("_keyed",)

    def __init__(self, key: bytes) -> None:
        self._keyed = hmac.HMAC(key, _SHA256)

    def _message_cipher(self, salt: bytes, label: bytes = _MESSAGE_KEY_LABEL) -> AESGCM:
        block = self._keyed.copy()
        block.update(label + salt + b"\x01")
        return AESGCM(block.finalize())

    def encrypt(self, algorithm: Algorithm, plaintext: bytes, aad: bytes) -> bytes:
        fresh = os.urandom(_SALT_BYTES + _NONCE_BYTES)
        cipher = self._message_cipher(fresh[:_SALT_BYTES])
        return _BLOB_FORMAT + fresh + cipher.encrypt(fresh[_SALT_BYTES:], plaintext, aad)

    def decrypt(self, algorithm: Algorithm, ciphertext: bytes, aad: bytes) -> bytes:
        if len(ciphertext) < _SHORTEST_BLOB or ciphertext[:1] != _BLOB_FORMAT:
            raise _invalid_ciphertext()
        cipher = self._message_cipher(ciphertext[1:_NONCE_AT])
        try:
            return cipher.decrypt(ciphertext[_NONCE_AT:_BOX_AT], ciphertext[_BOX_AT:], aad)
        except exceptions.InvalidTag:
            raise _invalid_ciphertext() from None

    def encrypt_gcm(self, plaintext: bytes, aad: bytes) -> GcmCiphertext:
        iv = os.urandom(_SALT_BYTES)
        box = self._message_cipher(iv, _KEY_BY_IV_LABEL).encrypt(iv, plaintext, aad)
        return GcmCiphertext(iv, box[:-_TAG_BYTES], box[-_TAG_BYTES:])

    def decrypt_gcm(self, sealed: GcmCiphertext, aad: bytes) -> bytes:
        if len(sealed.iv) != _SALT_BYTES or len(sealed.tag) != _TAG_BYTES:
            raise _invalid_ciphertext()
        try:
            cipher = self._message_cipher(sealed.iv, _KEY_BY_IV_LABEL)
            return cipher.decrypt(sealed.iv, sealed.ciphertext + sealed.tag, aad)
        except exceptions.InvalidTag:
            raise _invalid_ciphertext() from None


# ---- HMAC ------------------------------------------------------------------------------------------------------------

_MAC_HASH: dict[int, hashes.HashAlgorithm] = {224: _SHA224, 256: _SHA256, 384: _SHA384, 512: _SHA512}


class HmacMaterial(OpenMaterial):
    """HMAC (RFC 2104) with the hash of the key spec. The keyed state is made once and copied per message."""

    __slots__ = ("_keyed",)

    def __init__(self, key: bytes) -> None:
        self._keyed = hmac.HMAC(key, _MAC_HASH[len(key) * 8])

    def mac(self, message: bytes) -> bytes:
        context = self._keyed.copy()
        context.update(message)
        return context.finalize()

    def verify_mac(self, message: bytes, mac: bytes) -> None:
        context = self._keyed.copy()
        context.update(message)
        try:
            context.verify(mac)
        except exceptions.InvalidSignature:
            raise InvalidSignature("the MAC does not verify") from None


# ---- digests that a caller computed ----------------------------------------------------------------------------------


def _hash_for(
    hash_: hashes.HashAlgorithm, message_type: MessageType, message: bytes
) -> hashes.HashAlgorithm | Prehashed:
    """How the library should read ``message``. Raises ``InvalidRequest``."""
    if message_type is MessageType.RAW:
        return hash_
    if message_type is not MessageType.DIGEST:
        raise InvalidRequest(f"message type {message_type} is for ML-DSA keys only; use RAW or DIGEST")
    if len(message) != hash_.digest_size:
        raise InvalidRequest(
            f"message type DIGEST needs a {hash_.name} digest of {hash_.digest_size} bytes; this one has {len(message)}"
        )
    return Prehashed(hash_)


# ---- RSA -------------------------------------------------------------------------------------------------------------


def _pss(hash_: hashes.HashAlgorithm) -> padding.PSS:
    return padding.PSS(padding.MGF1(hash_), padding.PSS.DIGEST_LENGTH)  # the salt length that KMS documents


_OAEP_HASH: dict[Algorithm, hashes.HashAlgorithm] = {
    Algorithm.RSAES_OAEP_SHA_1: _SHA1,
    Algorithm.RSAES_OAEP_SHA_256: _SHA256,
}
_OAEP = {name: padding.OAEP(padding.MGF1(hash_), hash_, None) for name, hash_ in _OAEP_HASH.items()}
_RSA_SIGNATURE: dict[Algorithm, tuple[padding.AsymmetricPadding, hashes.HashAlgorithm]] = {
    Algorithm.RSASSA_PKCS1_V1_5_SHA_256: (padding.PKCS1v15(), _SHA256),
    Algorithm.RSASSA_PKCS1_V1_5_SHA_384: (padding.PKCS1v15(), _SHA384),
    Algorithm.RSASSA_PKCS1_V1_5_SHA_512: (padding.PKCS1v15(), _SHA512),
    Algorithm.RSASSA_PSS_SHA_256: (_pss(_SHA256), _SHA256),
    Algorithm.RSASSA_PSS_SHA_384: (_pss(_SHA384), _SHA384),
    Algorithm.RSASSA_PSS_SHA_512: (_pss(_SHA512), _SHA512),
}


class RsaMaterial(OpenMaterial):
    """RSAES-OAEP, RSASSA-PKCS1-v1_5 and RSASSA-PSS (RFC 8017)."""

    __slots__ = ("_private", "_public")
    slow = True

    def __init__(self, private: rsa.RSAPrivateKey) -> None:
        self._private = private
        self._public = private.public_key()

    def encrypt(self, algorithm: Algorithm, plaintext: bytes, aad: bytes) -> bytes:
        if aad:
            raise InvalidRequest("an encryption context cannot be used with an asymmetric key")
        limit = self._public.key_size // 8 - 2 * _OAEP_HASH[algorithm].digest_size - 2
        if len(plaintext) > limit:
            raise InvalidRequest(
                f"{algorithm} with RSA-{self._public.key_size} encrypts at most {limit} bytes; this is {len(plaintext)}"
            )
        return self._public.encrypt(plaintext, _OAEP[algorithm])

    def decrypt(self, algorithm: Algorithm, ciphertext: bytes, aad: bytes) -> bytes:
        if aad:
            raise InvalidRequest("an encryption context cannot be used with an asymmetric key")
        try:
            return self._private.decrypt(ciphertext, _OAEP[algorithm])
        except ValueError:
            raise _invalid_ciphertext() from None

    def sign(self, algorithm: Algorithm, message_type: MessageType, message: bytes) -> bytes:
        padding_, hash_ = _RSA_SIGNATURE[algorithm]
        return self._private.sign(message, padding_, _hash_for(hash_, message_type, message))

    def verify(self, algorithm: Algorithm, message_type: MessageType, message: bytes, signature: bytes) -> None:
        padding_, hash_ = _RSA_SIGNATURE[algorithm]
        how = _hash_for(hash_, message_type, message)
        try:
            self._public.verify(signature, message, padding_, how)
        except exceptions.InvalidSignature:
            raise _invalid_signature() from None


# ---- elliptic curves -------------------------------------------------------------------------------------------------

_ECDSA_HASH: dict[Algorithm, hashes.HashAlgorithm] = {
    Algorithm.ECDSA_SHA_256: _SHA256,
    Algorithm.ECDSA_SHA_384: _SHA384,
    Algorithm.ECDSA_SHA_512: _SHA512,
}


class EcMaterial(OpenMaterial):
    """ECDSA (FIPS 186-5, signatures in DER) and ECDH (SP 800-56A, the x coordinate)."""

    __slots__ = ("_private", "_public")

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        self._private = private
        self._public = private.public_key()

    def sign(self, algorithm: Algorithm, message_type: MessageType, message: bytes) -> bytes:
        return self._private.sign(message, ec.ECDSA(_hash_for(_ECDSA_HASH[algorithm], message_type, message)))

    def verify(self, algorithm: Algorithm, message_type: MessageType, message: bytes, signature: bytes) -> None:
        how = ec.ECDSA(_hash_for(_ECDSA_HASH[algorithm], message_type, message))
        try:
            self._public.verify(signature, message, how)
        except exceptions.InvalidSignature:
            raise _invalid_signature() from None

    def agree(self, peer_public_key: bytes) -> SecretBytes:
        # Loading checks that the point is on its curve and not at infinity: otherwise the answer leaks the private key.
        try:
            peer = serialization.load_der_public_key(peer_public_key)
        except (ValueError, TypeError, exceptions.UnsupportedAlgorithm):
            peer = None
        curve = self._private.curve
        if not isinstance(peer, ec.EllipticCurvePublicKey) or peer.curve.name != curve.name:
            raise InvalidRequest(f"the peer's public key is not a SubjectPublicKeyInfo in DER of a {curve.name} key")
        try:
            return SecretBytes(self._private.exchange(ec.ECDH(), peer))
        except ValueError:
            raise InvalidRequest("the peer's public key does not give a shared secret with this key") from None


class Ed25519Material(OpenMaterial):
    """Ed25519 (RFC 8032), the pure variant.

    Ed25519ph is not in ``cryptography`` (50.0.2; OpenSSL has it, the binding does not expose it), so
    ED25519_PH_SHA_512 is refused by name: a home-made variant of a signature scheme is no substitute for a missing one.
    """

    __slots__ = ("_private", "_public")

    def __init__(self, private: ed25519.Ed25519PrivateKey) -> None:
        self._private = private
        self._public = private.public_key()

    @staticmethod
    def _check(algorithm: Algorithm, message_type: MessageType) -> None:
        if algorithm is Algorithm.ED25519_PH_SHA_512:
            if message_type is not MessageType.DIGEST:
                raise InvalidRequest("ED25519_PH_SHA_512 needs message type DIGEST")
            raise Unsupported(
                "the standard key store does not offer ED25519_PH_SHA_512 (Ed25519ph), because its cryptographic "
                "library does not; use ED25519_SHA_512 with message type RAW"
            )
        if message_type is not MessageType.RAW:
            raise InvalidRequest("ED25519_SHA_512 needs message type RAW")

    def sign(self, algorithm: Algorithm, message_type: MessageType, message: bytes) -> bytes:
        self._check(algorithm, message_type)
        return self._private.sign(message)

    def verify(self, algorithm: Algorithm, message_type: MessageType, message: bytes, signature: bytes) -> None:
        self._check(algorithm, message_type)
        try:
            self._public.verify(signature, message)
        except exceptions.InvalidSignature:
            raise _invalid_signature() from None


# ---- post-quantum ----------------------------------------------------------------------------------------------------

_MU_BYTES = 64


class MlDsaMaterial(OpenMaterial):
    """ML-DSA (FIPS 204), hedged, empty context. EXTERNAL_MU takes the message representative mu of the caller."""

    __slots__ = ("_private", "_public")
    slow = True

    def __init__(self, private: MldsaPrivateKey) -> None:
        self._private = private
        self._public = private.public_key()

    @staticmethod
    def _external_mu(message_type: MessageType, message: bytes) -> bool:
        if message_type is MessageType.RAW:
            return False
        if message_type is not MessageType.EXTERNAL_MU:
            raise InvalidRequest("ML-DSA keys sign message types RAW and EXTERNAL_MU, not DIGEST")
        if len(message) != _MU_BYTES:
            raise InvalidRequest(f"message type EXTERNAL_MU needs {_MU_BYTES} bytes; this is {len(message)}")
        return True

    def sign(self, algorithm: Algorithm, message_type: MessageType, message: bytes) -> bytes:
        if self._external_mu(message_type, message):
            return self._private.sign_mu(message)
        return self._private.sign(message)

    def verify(self, algorithm: Algorithm, message_type: MessageType, message: bytes, signature: bytes) -> None:
        check = self._public.verify_mu if self._external_mu(message_type, message) else self._public.verify
        try:
            check(signature, message)
        except exceptions.InvalidSignature:
            raise _invalid_signature() from None


class MlKemMaterial(OpenMaterial):
    """ML-KEM (FIPS 203). A ciphertext of the right length always decapsulates: a wrong one to an unrelated secret."""

    __slots__ = ("_private", "_public")

    def __init__(self, private: MlkemPrivateKey) -> None:
        self._private = private
        self._public = private.public_key()

    def encapsulate(self) -> tuple[bytes, SecretBytes]:
        secret, ciphertext = self._public.encapsulate()
        return ciphertext, SecretBytes(secret)

    def decapsulate(self, ciphertext: bytes) -> SecretBytes:
        try:
            return SecretBytes(self._private.decapsulate(ciphertext))
        except ValueError:
            raise _invalid_ciphertext() from None
