"""Bytes that do not print, pickle, copy or log.

Who uses it: plugins, for material and credentials on their side of the boundary; the host, for what a plugin hands
out on purpose (the plaintext of a data key). Guarantee: ``repr``, ``str``, ``format``, ``pickle``, ``copy`` and
msgspec never see the content; comparing is constant-time and only between secrets.
"""

from __future__ import annotations

import hmac
from typing import NoReturn


class SecretBytes:
    """An immutable secret. The only way to the content is :meth:`expose`, which is easy to find in a review."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes | bytearray | memoryview) -> None:
        self._value = bytes(value)

    def expose(self) -> bytes:
        """The content. Call it where the bytes are used, never where they are stored, logged or formatted."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        """Constant-time comparison with another secret; comparing with plain bytes is a mistake and raises."""
        if not isinstance(other, SecretBytes):
            raise TypeError("a SecretBytes compares with another SecretBytes only")
        return hmac.compare_digest(self._value, other._value)

    __hash__ = None  # type: ignore[assignment]  # a secret is never a dictionary key

    def __repr__(self) -> str:
        return f"<SecretBytes, {len(self._value)} bytes>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a SecretBytes is not pickled or copied: keep it where it is, or expose() it on purpose")

    def __copy__(self) -> NoReturn:
        raise TypeError("a SecretBytes is not pickled or copied: keep it where it is, or expose() it on purpose")

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise TypeError("a SecretBytes is not pickled or copied: keep it where it is, or expose() it on purpose")
