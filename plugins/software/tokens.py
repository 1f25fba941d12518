"""The key token: key material encrypted under a domain key, for the host to store. Called by ``plugin``.

::

    magic "KSTEADKT" (8) | version (1) | domain key id (16) | nonce (12) | AES-256-GCM ciphertext and tag
    plaintext: bind(secret, public key)

Guarantees: a token opens only for the ARN, material id and key spec it was made for, under the domain key it names;
one changed byte anywhere, or a byte too many or too few, is ``MaterialDamaged``.
"""

from __future__ import annotations

from plugins.sdk import MaterialDamaged, MaterialRef
from plugins.software.domainkeys import ID_BYTES, DomainKey
from plugins.software.sealing import SealBroken, bind, seal, unbind, unseal

HEADER = b"KSTEADKT\x01"
_BOX_AT = len(HEADER) + ID_BYTES


def seal_token(domain: DomainKey, ref: MaterialRef, secret: bytes, public_key: bytes | None) -> bytes:
    """A token for exactly this ``ref``. The public key travels inside so that observing need not load the key."""
    return HEADER + domain.id + seal(domain.cipher, bind(secret, public_key or b""), _binding(domain.id, ref))


def domain_id_of(token: bytes) -> bytes:
    """The id of the domain key that a token names. Raises ``MaterialDamaged``."""
    if not token.startswith(HEADER) or len(token) < _BOX_AT:
        raise MaterialDamaged("this is not a key token of the standard key store, or of a newer version of it")
    return token[len(HEADER) : _BOX_AT]


def open_token(domain: DomainKey, ref: MaterialRef, token: bytes) -> tuple[bytes, bytes | None]:
    """The secret and the public key. Raises ``MaterialDamaged``."""
    try:
        secret, public_key = unbind(unseal(domain.cipher, token[_BOX_AT:], _binding(domain.id, ref)))
    except SealBroken:
        raise MaterialDamaged(
            f"the key token does not open for material {ref.material_id} of {ref.key_arn}: "
            "it is damaged or belongs to another key"
        ) from None
    return secret, public_key or None


def _binding(domain_id: bytes, ref: MaterialRef) -> bytes:
    return bind(HEADER, domain_id, ref.key_arn.encode(), ref.material_id.encode(), ref.key_spec.encode())
