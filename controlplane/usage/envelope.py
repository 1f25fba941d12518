"""The ciphertext envelope: what ``Encrypt`` answers for a symmetric key, version 1.

::

    offset  length  content
    0       4       magic: 4B 53 01 00 ("KS", version 1, flags 0); flags 1: the key id is ``mrk-`` + hex
    4       16      key id: the UUID's, or the multi-Region key id's, 16 octets
    20      32      key material id
    52      ...     what the key store made of it (its nonce, ciphertext and tag); opaque here

Associated data, authenticated by the key store with the body: the label ``keystead/ciphertext/v1`` and a zero octet,
the 52 octets above, then the encryption context as pairs sorted by key in UTF-8, each string preceded by its length as
four octets, big-endian, the pairs by their number. So a blob names its key and material (nothing is tried in turn), and
a changed octet anywhere, or another context, is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

import msgspec

from controlplane.errors import InvalidCiphertext

MAGIC: Final = b"KS\x01"
MULTI_REGION: Final = 1
HEADER: Final = 52
_LABEL: Final = b"keystead/ciphertext/v1\x00"
_length = struct.Struct(">I").pack
_NO_PAIRS: Final = _length(0)
_SINGLE_REGION: Final = MAGIC + b"\x00"
_MULTI_REGION: Final = MAGIC + bytes((MULTI_REGION,))


class Opened(msgspec.Struct, frozen=True, gc=False):
    """A blob taken apart, nothing verified yet."""

    key_id: str
    material_id: str
    header: bytes
    body: bytes


def header(key_id: str, material_id: str) -> bytes:
    """The 52 octets for a key and material."""
    if key_id.startswith("mrk-"):
        return _MULTI_REGION + bytes.fromhex(key_id[4:] + material_id)
    return _SINGLE_REGION + bytes.fromhex(key_id.replace("-", "") + material_id)


def take_apart(blob: bytes) -> Opened:
    """Read the header. Raises :class:`InvalidCiphertext` for anything that is not an envelope of this version."""
    if len(blob) <= HEADER or blob[:3] != MAGIC or blob[3] > MULTI_REGION:
        raise InvalidCiphertext("")
    names = blob[4:HEADER].hex()
    raw, material_id = names[:32], names[32:]
    if blob[3] == MULTI_REGION:  # noqa: SIM108 - two lines that can be read
        key_id = f"mrk-{raw}"
    else:
        key_id = f"{raw[:8]}-{raw[8:12]}-{raw[12:16]}-{raw[16:20]}-{raw[20:]}"
    return Opened(key_id, material_id, blob[:HEADER], blob[HEADER:])


def associated_data(header_octets: bytes, context: Mapping[str, str] | None) -> bytes:
    """What the key store authenticates beside the body."""
    if not context:
        return _LABEL + header_octets + _NO_PAIRS
    pairs = sorted((name.encode(), value.encode()) for name, value in context.items())
    parts = [_LABEL, header_octets, _length(len(pairs))]
    for name, value in pairs:
        parts += (_length(len(name)), name, _length(len(value)), value)
    return b"".join(parts)
