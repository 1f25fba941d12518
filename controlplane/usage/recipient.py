"""Sealing an answer to an attested enclave: what stands in ``CiphertextForRecipient`` instead of the plaintext.

Who calls it: the crypto path, with the key of an :class:`~controlplane.domain.attestation.Attestation` that
``verify_attestation`` returned. Guarantees: fresh key and IV for every call; only the enclave's private key opens it.

The form is CMS EnvelopedData (RFC 5652, section 6) with one KeyTransRecipientInfo, as AWS KMS answers::

    ContentInfo                                              indefinite length
      envelopedData, [0]                                     indefinite length
        EnvelopedData, version 2                             indefinite length
          SET OF: KeyTransRecipientInfo, version 2
            [0] subjectKeyIdentifier
            id-RSAES-OAEP: SHA-256, MGF1 with SHA-256, empty label
            encryptedKey
          EncryptedContentInfo                               indefinite length
            data
            aes256-CBC, IV
            [0]                                              indefinite length
              OCTET STRING: the ciphertext

This is BER, and deliberately so: ``source/cms.c`` of https://github.com/aws/aws-nitro-enclaves-sdk-c steps *into* the
five outer elements with ``CBS_get_any_ber_asn1_element``, which steps *over* an element of definite length. In DER the
same message is one that AWS's own SDK (and kmstool on top of it) cannot read. ``tests/cms_test.c`` there holds an
answer of AWS KMS, and it has this form. ``openssl cms -inform DER`` reads both.

AES-CBC has no tag: the cipher is AWS's choice and all that its readers know. What protects the answer against change on
its way is the enclave's TLS connection.
"""

from __future__ import annotations

import hashlib
import os
from typing import Final

from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from controlplane.domain.attestation import recipient_key

_SEQUENCE: Final = 0x30
_SET: Final = 0x31
_INTEGER: Final = 0x02
_NULL: Final = 0x05
_OCTET_STRING: Final = 0x04
_OBJECT_IDENTIFIER: Final = 0x06
_CONTEXT_0: Final = 0x80
_CONTEXT_0_CONSTRUCTED: Final = 0xA0
_CONTEXT_1_CONSTRUCTED: Final = 0xA1
_BLOCK_BITS: Final = 128


def seal_for(attestation_public_key_der: bytes, plaintext: bytes) -> bytes:
    """``plaintext`` for the holder of this RSA key (SubjectPublicKeyInfo, DER) alone: CMS EnvelopedData in BER.

    Raises :class:`controlplane.errors.InvalidInput` for a key that is not RSA or has fewer than 2048 bits.
    """
    recipient = recipient_key(attestation_public_key_der)
    key, iv = os.urandom(32), os.urandom(16)
    padder = padding.PKCS7(_BLOCK_BITS).padder()
    encryptor = Cipher(algorithms.AES256(key), modes.CBC(iv)).encryptor()
    ciphertext = encryptor.update(padder.update(plaintext) + padder.finalize()) + encryptor.finalize()
    oaep = rsa_padding.OAEP(mgf=rsa_padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
    # The identifier only tells keys of one reader apart. AWS's is 32 octets, of what is not published; this is method 4
    # of RFC 7093, section 2: the hash of the SubjectPublicKeyInfo.
    key_identifier = hashlib.sha256(attestation_public_key_der).digest()
    recipient_info = _element(
        _SEQUENCE,
        _VERSION_2
        + _element(_CONTEXT_0, key_identifier)
        + _RSAES_OAEP_SHA256
        + _element(_OCTET_STRING, recipient.encrypt(key, oaep)),
    )
    content = _open_ended(
        _SEQUENCE,
        _DATA
        + _element(_SEQUENCE, _AES256_CBC + _element(_OCTET_STRING, iv))
        + _open_ended(_CONTEXT_0_CONSTRUCTED, _element(_OCTET_STRING, ciphertext)),
    )
    enveloped = _open_ended(_SEQUENCE, _VERSION_2 + _element(_SET, recipient_info) + content)
    return _open_ended(_SEQUENCE, _ENVELOPED_DATA + _open_ended(_CONTEXT_0_CONSTRUCTED, enveloped))


def _element(tag: int, content: bytes) -> bytes:
    """An element with its length in the shortest form (X.690, 8.1.3 and 10.1)."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(octets))) + octets + content


def _open_ended(tag: int, content: bytes) -> bytes:
    """A constructed element of indefinite length, ended by two zero octets (X.690, 8.1.3.6 and 8.1.5)."""
    return bytes((tag, 0x80)) + content + b"\x00\x00"


def _identifier(encoded: str) -> bytes:
    return _element(_OBJECT_IDENTIFIER, bytes.fromhex(encoded))


_VERSION_2: Final = _element(_INTEGER, b"\x02")
_DATA: Final = _identifier("2a864886f70d010701")  # 1.2.840.113549.1.7.1
_ENVELOPED_DATA: Final = _identifier("2a864886f70d010703")  # 1.2.840.113549.1.7.3
_AES256_CBC: Final = _identifier("60864801650304012a")  # 2.16.840.1.101.3.4.1.42
# RFC 4055, section 4.1: hashAlgorithm [0], maskGenAlgorithm [1]; pSourceAlgorithm has its default, the empty label
_SHA256: Final = _element(_SEQUENCE, _identifier("608648016503040201") + _element(_NULL, b""))  # 2.16.840.1.101.3.4.2.1
_MGF1_SHA256: Final = _element(_SEQUENCE, _identifier("2a864886f70d010108") + _SHA256)  # 1.2.840.113549.1.1.8
_RSAES_OAEP_SHA256: Final = _element(
    _SEQUENCE,
    _identifier("2a864886f70d010107")  # 1.2.840.113549.1.1.7
    + _element(_SEQUENCE, _element(_CONTEXT_0_CONSTRUCTED, _SHA256) + _element(_CONTEXT_1_CONSTRUCTED, _MGF1_SHA256)),
)
