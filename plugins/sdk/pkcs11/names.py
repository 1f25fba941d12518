"""Labels on a token that mean something to Keystead."""

from __future__ import annotations

from typing import Final

ROOT_KEY_PREFIX: Final = "keystead-root:"
"""The root key of a standard key store. Nobody but that store's provider touches it."""

_RESERVED: Final = (ROOT_KEY_PREFIX,)


def is_reserved(label: str) -> bool:
    """Whether a key of that label belongs to a part of Keystead that no key store document declares."""
    return label.startswith(_RESERVED)
