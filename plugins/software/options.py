"""Options of the standard key store, as key store documents spell them (camelCase, unknown fields refused)."""

from __future__ import annotations

from typing import Annotated

import msgspec

from plugins.sdk import Options, SecretSource
from plugins.sdk.pkcs11 import TokenOptions


class FileRootKey(Options, frozen=True, tag_field="provider", tag="file"):
    """The root key is 32 random bytes in a file of mode 0600, made once by ``keystead init``."""

    path: str


class PassphraseRootKey(Options, frozen=True, tag_field="provider", tag="passphrase"):
    """The root key is derived from a passphrase with Argon2id; nothing is stored but the salt and the parameters."""

    passphrase: SecretSource


class TokenRootKey(TokenOptions, frozen=True, tag_field="provider", tag="pkcs11"):
    """The root key is an AES-256 key in an HSM, made there by ``keystead init``, and never leaves it.

    ``key`` names it in the token, where its label is ``keystead-root:`` and this name. ``seconds`` bound one call.
    """

    pin: SecretSource | None = None
    key: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = "keystead"
    seconds: Annotated[float, msgspec.Meta(gt=0, le=600)] = 5.0


RootKeyOptions = FileRootKey | PassphraseRootKey | TokenRootKey


class SoftwareOptions(Options, frozen=True):
    """``domain_key_rotation_days`` bounds the age of the domain key that wraps new material, in days.

    ``cache_size`` bounds how many unwrapped materials one process keeps in memory. ``previous_root_key`` is for
    ``keystead migrate-root-key`` alone: where the root key came from before ``root_key`` was changed.
    """

    root_key: RootKeyOptions
    previous_root_key: RootKeyOptions | None = None
    domain_key_rotation_days: Annotated[int, msgspec.Meta(ge=1)] = 30
    cache_size: Annotated[int, msgspec.Meta(ge=1)] = 100_000
