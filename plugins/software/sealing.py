"""The two primitives that every record and token of the standard key store is made of. Called by its other modules.

Guarantees: a sealed box opens only with the same key and the same binding, every field of the binding counts, and
what goes wrong is :class:`SealBroken`, which carries no data.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12
TAG_BYTES = 16


class SealBroken(Exception):
    """The box was not sealed with this key and binding, or was changed since."""


def bind(*fields: bytes) -> bytes:
    """Fields joined unambiguously: each behind its length, four octets, big-endian.

    Plain concatenation would let ``("ab", "c")`` pass for ``("a", "bc")``: a token of one key for that of another.
    """
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def unbind(joined: bytes) -> list[bytes]:
    """The fields of what :func:`bind` made. Only for authenticated input."""
    fields, position = [], 0
    while position < len(joined):
        start = position + 4
        position = start + int.from_bytes(joined[position:start], "big")
        fields.append(joined[start:position])
    return fields


def seal(cipher: AESGCM, plaintext: bytes, binding: bytes) -> bytes:
    """Nonce, ciphertext and tag of AES-256-GCM.

    Nonces are random. The keys that seal this way (root and domain keys) do so once per record or key token, far below
    the 2^32 messages per key of NIST SP 800-38D, section 8.3.
    """
    nonce = os.urandom(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, plaintext, binding)


def unseal(cipher: AESGCM, box: bytes, binding: bytes) -> bytes:
    """What was sealed. Raises :class:`SealBroken`."""
    if len(box) < NONCE_BYTES + TAG_BYTES:
        raise SealBroken
    try:
        return cipher.decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], binding)
    except InvalidTag:
        raise SealBroken from None
