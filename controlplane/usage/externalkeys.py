"""A key used as an external key: AES-GCM in parts, the ciphertext metadata, and the integrity value.

Who calls it: the XKS door, as the work of ``perform``. Source: AWS KMS External Key Store Proxy API Specification
1.0.3, "Encrypt", "Decrypt" and Appendix C.

Ciphertext metadata, 20 octets, as many as the specification allows: a format octet ``01``, then the first 19 octets of
the material id. So a rotated key decrypts what its earlier materials encrypted, and nothing is tried in turn.

The associated data of the key store can never be that of a KMS ciphertext (``usage.envelope``): that begins with the
label ``keystead``, which read as a length would be 27,493 octets of additional data, and at most 8,192 are taken.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final

import msgspec

from controlplane.errors import InvalidCiphertext, KeyStoreFailure
from controlplane.keystores.calls import Calls
from controlplane.schema.keys import Algorithm, KeyUsage
from controlplane.store.catalog import KeyRecord
from controlplane.usage.operations import check, current
from plugins.sdk import GcmCiphertext, MaterialRef

MAX_METADATA: Final = 20
_FORMAT: Final = b"\x01"
_ID_OCTETS: Final = MAX_METADATA - len(_FORMAT)


class Encrypted(msgspec.Struct, frozen=True):
    """What Encrypt answers. ``integrity`` is the CDIV if it was asked for."""

    sealed: GcmCiphertext
    metadata: bytes
    integrity: bytes | None = None


async def encrypt(
    calls: Calls, record: KeyRecord, plaintext: bytes, aad: bytes, *, proven: bool, seconds: float
) -> Encrypted:
    """Encrypt within ``seconds``. ``proven``: with the integrity value, after decrypting what was encrypted.

    Raises :class:`KeyStoreFailure` if the proof fails: then nothing of it may reach the caller.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    check(record, KeyUsage.ENCRYPT_DECRYPT, Algorithm.SYMMETRIC_DEFAULT, "Encrypt")
    ref, store = current(record), record.key.spec.key_store
    metadata = ciphertext_metadata(ref.material_id)
    bound = associated_data(aad, metadata)
    sealed = await calls.encrypt_gcm(store, ref, plaintext, bound, seconds=seconds)
    if not proven:
        return Encrypted(sealed, metadata)
    # Before the decryption that proves it (Appendix C): a bit that flips later is then found by whoever checks.
    integrity = integrity_value(aad, metadata, sealed)
    left = max(deadline - asyncio.get_running_loop().time(), 0.001)
    try:
        opened = await calls.decrypt_gcm(store, ref, sealed, bound, seconds=left)
    except InvalidCiphertext:
        opened = None
    if opened != plaintext:
        raise KeyStoreFailure(f"key store {store} encrypted something that it does not decrypt", reason="NotProven")
    return Encrypted(sealed, metadata, integrity)


async def decrypt(
    calls: Calls, record: KeyRecord, sealed: GcmCiphertext, metadata: bytes, aad: bytes, *, seconds: float
) -> bytes:
    """The plaintext, or :class:`InvalidCiphertext`. ``metadata`` is what Encrypt answered."""
    check(record, KeyUsage.ENCRYPT_DECRYPT, Algorithm.SYMMETRIC_DEFAULT, "Decrypt")
    ref = _material(record, metadata)
    return await calls.decrypt_gcm(
        record.key.spec.key_store, ref, sealed, associated_data(aad, metadata), seconds=seconds
    )


def ciphertext_metadata(material_id: str) -> bytes:
    """The 20 octets that name a material of a key."""
    return _FORMAT + bytes.fromhex(material_id)[:_ID_OCTETS]


def associated_data(aad: bytes, metadata: bytes) -> bytes:
    """What the key store authenticates: both parts behind their lengths, so that none can pass for the other."""
    return len(aad).to_bytes(2) + aad + len(metadata).to_bytes(1) + metadata


def integrity_value(aad: bytes, metadata: bytes, sealed: GcmCiphertext) -> bytes:
    """The ciphertext data integrity value (CDIV): SHA-256 over the parts as they stand."""
    return hashlib.sha256(b"".join((aad, metadata, sealed.iv, sealed.ciphertext, sealed.tag))).digest()


def _material(record: KeyRecord, metadata: bytes) -> MaterialRef:
    if len(metadata) != MAX_METADATA or metadata[:1] != _FORMAT:
        raise InvalidCiphertext("")
    start = metadata[1:].hex()
    found = [ref for material_id, ref in record.refs.items() if material_id.startswith(start)]
    if len(found) != 1:
        raise InvalidCiphertext("")
    return found[0]
