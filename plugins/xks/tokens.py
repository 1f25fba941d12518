"""Two formats of ours: the key token, and what ``encrypt`` answers.

Token: ``KX`` and a version octet, the length of the external key id (1), the id, then the token that the inner store
made for our own material. The inner token is bound to the external key id too, so a changed one does not open.

Ciphertext: a format octet, the lengths of ciphertext metadata and IV (1 each), metadata, IV, tag (16), and what the
proxy made of the inner ciphertext.
"""

from __future__ import annotations

from typing import Final

import msgspec

from plugins.sdk import InvalidCiphertext, MaterialDamaged, MaterialRef
from plugins.xks.wire import MAX_METADATA, NOT_OURS

_MAGIC: Final = b"KX\x01"
_FORMAT: Final = b"\x01"
_TAG: Final = 16


class Sealed(msgspec.Struct, frozen=True):
    """What a proxy has to be given to decrypt."""

    metadata: bytes
    iv: bytes
    tag: bytes
    ciphertext: bytes


def make_token(external_id: str, inner: bytes) -> bytes:
    encoded = external_id.encode()
    return _MAGIC + bytes((len(encoded),)) + encoded + inner


def inner_ref(ref: MaterialRef) -> tuple[str, MaterialRef]:
    """The external key id of a token, and the reference of our own material. Raises ``MaterialDamaged``."""
    token = ref.token or b""
    if token[:3] != _MAGIC or len(token) < 5:
        raise _damaged(ref)
    end = 4 + token[3]
    try:
        external_id = token[4:end].decode("ascii")
    except UnicodeDecodeError:
        raise _damaged(ref) from None
    if not external_id or len(token) <= end:
        raise _damaged(ref)
    return external_id, bound(ref, external_id, token[end:])


def bound(ref: MaterialRef, external_id: str, token: bytes | None = None) -> MaterialRef:
    """The reference under which the inner store knows our material: it names the external key, too."""
    return msgspec.structs.replace(ref, key_arn=f"{ref.key_arn} xks:{external_id}", token=token, external_id=None)


def pack(sealed: Sealed) -> bytes:
    lengths = bytes((len(sealed.metadata), len(sealed.iv)))
    return b"".join((_FORMAT, lengths, sealed.metadata, sealed.iv, sealed.tag, sealed.ciphertext))


def unpack(blob: bytes) -> Sealed:
    """Raises ``InvalidCiphertext`` for what :func:`pack` did not make."""
    if len(blob) < 3 or blob[:1] != _FORMAT or blob[1] > MAX_METADATA:
        raise InvalidCiphertext(NOT_OURS)
    iv_at = 3 + blob[1]
    tag_at = iv_at + blob[2]
    body_at = tag_at + _TAG
    if blob[2] not in (12, 16) or len(blob) <= body_at:
        raise InvalidCiphertext(NOT_OURS)
    return Sealed(blob[3:iv_at], blob[iv_at:tag_at], blob[tag_at:body_at], blob[body_at:])


def _damaged(ref: MaterialRef) -> MaterialDamaged:
    return MaterialDamaged(f"the key token of material {ref.material_id} is not one of an external key store")
