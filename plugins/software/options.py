"""Options of the standard key store, as key store documents spell them (camelCase, unknown fields refused)."""

from __future__ import annotations

from typing import Annotated

import msgspec

from plugins.sdk import Options, SecretSource


class FileRootKey(Options, frozen=True, tag_field="provider", tag="file"):
    """The root key is 32 random bytes in a file of mode 0600, made once by ``keystead init``."""

    path: str


class PassphraseRootKey(Options, frozen=True, tag_field="provider", tag="passphrase"):
    """The root key is derived from a passphrase with Argon2id; nothing is stored but the salt and the parameters."""

    passphrase: SecretSource


class SoftwareOptions(Options, frozen=True):
    """``domain_key_rotation_days`` bounds the age of the domain key that wraps new material, in days.

    ``cache_size`` bounds how many unwrapped materials one process keeps in memory.
    """

    root_key: FileRootKey | PassphraseRootKey
    domain_key_rotation_days: Annotated[int, msgspec.Meta(ge=1)] = 30
    cache_size: Annotated[int, msgspec.Meta(ge=1)] = 100_000
