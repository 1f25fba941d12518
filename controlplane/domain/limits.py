"""What an algorithm takes: how long a plaintext may be, which message types it signs, how long digests are.

Who calls it: ``usage``, before a key store is asked, so that a dry run checks what the real request would. Lengths are
in octets. Every refusal is :class:`~controlplane.errors.InvalidInput` in AWS's words.

Source: the API reference of Encrypt (sizes by key spec) and Sign (``MessageType``); RFC 8017, 7.1.1, for OAEP.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from controlplane.errors import InvalidInput
from controlplane.schema.keys import Algorithm, KeySpec, MessageType
from plugins.sdk.vocabulary import KEY_SPECS

MU: Final = 64
"""Length of FIPS 204's message representative."""

_HASH: Final = {"SHA_1": 20, "SHA_224": 28, "SHA_256": 32, "SHA_384": 48, "SHA_512": 64}


def _hash_length(algorithm: Algorithm) -> int:
    return next(length for name, length in _HASH.items() if algorithm.endswith(name))


_RAW: Final = frozenset({MessageType.RAW})
_HASHED: Final = frozenset({MessageType.RAW, MessageType.DIGEST})
_MESSAGE_TYPES: Final[Mapping[Algorithm, frozenset[MessageType]]] = {
    **{algorithm: _HASHED for algorithm in Algorithm if algorithm.startswith(("RSASSA_", "ECDSA_"))},
    Algorithm.ED25519_SHA_512: _RAW,
    Algorithm.ED25519_PH_SHA_512: frozenset({MessageType.DIGEST}),
    Algorithm.ML_DSA_SHAKE_256: frozenset({MessageType.RAW, MessageType.EXTERNAL_MU}),
    Algorithm.SM2DSA: _HASHED,
}
_DIGESTS: Final[Mapping[Algorithm, int]] = {
    algorithm: 32 if algorithm is Algorithm.SM2DSA else _hash_length(algorithm)
    for algorithm, types in _MESSAGE_TYPES.items()
    if MessageType.DIGEST in types
}
_LONGEST_PLAINTEXT: Final[Mapping[tuple[KeySpec, Algorithm], int]] = {
    (spec, algorithm): facts.bits // 8 - 2 * _hash_length(algorithm) - 2
    for spec, facts in KEY_SPECS.items()
    for algorithms in facts.algorithms.values()
    for algorithm in algorithms
    if algorithm.startswith("RSAES_OAEP_")
}


def check_message(algorithm: Algorithm, message_type: MessageType, length: int) -> None:
    """Return if a message of this type and length can be signed with the algorithm."""
    if message_type not in _MESSAGE_TYPES[algorithm]:
        raise InvalidInput(f"Message type {message_type} is incompatible with algorithm {algorithm}.")
    if message_type is MessageType.EXTERNAL_MU and length != MU:
        raise InvalidInput(f"Message type EXTERNAL_MU needs a message of {MU} bytes; this one has {length}.")
    if message_type is MessageType.DIGEST and length != _DIGESTS[algorithm]:
        raise InvalidInput(f"Digest is invalid length for algorithm {algorithm}.")


def check_plaintext(spec: KeySpec, algorithm: Algorithm, length: int) -> None:
    """Return if a plaintext of this length can be encrypted. Symmetric keys take what the API takes, 4096."""
    longest = _LONGEST_PLAINTEXT.get((spec, algorithm))
    if longest is not None and length > longest:
        raise InvalidInput(
            f"Algorithm {algorithm} and key spec {spec} cannot encrypt data larger than {longest} bytes."
        )
