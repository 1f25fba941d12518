"""Where the root key comes from. Called by ``plugin`` (provision), ``domainkeys`` (open) and ``migration``.

Guarantees: a root key is read or derived, never stored by us outside its file; a file that others could read, that is
missing or malformed is refused with a sentence that says what to do; no message, repr or chained error holds the key.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
from pathlib import Path
from typing import Annotated, Protocol

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from plugins.sdk import CredentialsRefused, Misconfigured, read_private_file
from plugins.software.options import FileRootKey, PassphraseRootKey
from plugins.software.sealing import seal, unseal

ROOT_KEY_BYTES = 32
_FILE_LABEL = b"KEYSTEAD-ROOT-KEY-1"


class Argon2Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Argon2id parameters (RFC 9106), kept in the root record so that later stores can ask for more.

    The defaults are RFC 9106's second recommended option. The bounds stop a hostile or damaged record from asking this
    process for a terabyte of memory or a year of time before the record can be authenticated.
    """

    salt: Annotated[bytes, msgspec.Meta(min_length=16, max_length=64)]
    iterations: Annotated[int, msgspec.Meta(ge=1, le=16)] = 3
    lanes: Annotated[int, msgspec.Meta(ge=1, le=16)] = 4
    memory_kib: Annotated[int, msgspec.Meta(ge=8 * 16, le=1024 * 1024)] = 64 * 1024


class RootCipher(Protocol):
    """The root key, ready to wrap, wherever it is."""

    async def seal(self, plaintext: bytes, binding: bytes) -> bytes:
        """A box that opens only with this root key and binding."""

    async def unseal(self, box: bytes, binding: bytes) -> bytes:
        """What was sealed. Raises :class:`SealBroken`, or what keeps it from the key."""


class HeldCipher:
    """A root key in this process's memory."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    async def seal(self, plaintext: bytes, binding: bytes) -> bytes:
        return seal(self._cipher, plaintext, binding)

    async def unseal(self, box: bytes, binding: bytes) -> bytes:
        return unseal(self._cipher, box, binding)


class RootKey(Protocol):
    """A provider of the root key."""

    provider: str
    """Its name in spec files and in the root record."""
    whereabouts: str
    """Where a person finds it, for messages."""

    async def provision(self) -> None:
        """Make a new root key where the provider keeps one. Refuses to replace anything."""

    def fresh_parameters(self) -> Argon2Parameters | None:
        """What a new store records beside its root key, if anything."""

    async def cipher(self, parameters: Argon2Parameters | None) -> RootCipher:
        """The root key, ready to wrap. Raises ``CredentialsRefused``, ``Misconfigured`` or ``Unavailable``."""

    async def present(self) -> bool:
        """Whether there is a key to read at all."""

    async def close(self) -> None:
        """Let go of whatever holds the key."""


class RootKeyFile:
    """One text line in a private file: a label and 32 bytes in base64."""

    provider = "file"

    def __init__(self, options: FileRootKey) -> None:
        self._path = Path(options.path)
        self.whereabouts = f"root key file {self._path}"

    async def provision(self) -> None:
        await asyncio.to_thread(self._create)

    def _create(self) -> None:
        line = _FILE_LABEL + b" " + base64.b64encode(os.urandom(ROOT_KEY_BYTES)) + b"\n"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            descriptor = os.open(self._path, flags, 0o600)
        except FileExistsError:
            raise Misconfigured(
                f"rootKey: {self._path} exists already and is never overwritten: it may be the only way to open a store"
            ) from None
        except OSError as error:
            raise Misconfigured(f"rootKey: file {self._path} cannot be created: {error.strerror}") from None
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            # Without this the name of the file may be lost in a power cut while the store that needs it is not.
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            self._path.unlink(missing_ok=True)  # half a root key would be refused by every later attempt
            raise Misconfigured(f"rootKey: file {self._path} cannot be written: {error.strerror}") from None

    def fresh_parameters(self) -> None:
        return None

    async def present(self) -> bool:
        return await asyncio.to_thread(os.path.lexists, self._path)

    async def close(self) -> None:
        """Nothing is held."""

    async def cipher(self, parameters: Argon2Parameters | None) -> HeldCipher:  # noqa: ARG002
        content = read_private_file(self._path, "rootKey").expose()
        label, _, encoded = content.removesuffix(b"\n").partition(b" ")
        try:
            key = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            key = b""
        if label != _FILE_LABEL or len(key) != ROOT_KEY_BYTES:
            raise CredentialsRefused(
                f"rootKey: file {self._path} does not hold a root key (one line that begins with "
                f"{_FILE_LABEL.decode()}); restore it from your backup",
                reason="RootKeyMalformed",
            )
        return HeldCipher(key)


class RootKeyPassphrase:
    """Argon2id of a passphrase. The derivation takes a tenth of a second and 64 MiB, so it runs in a thread."""

    provider = "passphrase"
    whereabouts = "rootKey.passphrase"

    def __init__(self, options: PassphraseRootKey) -> None:
        self._source = options.passphrase

    async def provision(self) -> None:
        self._source.read("rootKey.passphrase")

    def fresh_parameters(self) -> Argon2Parameters:
        return Argon2Parameters(salt=os.urandom(16))

    async def present(self) -> bool:
        return True

    async def close(self) -> None:
        """Nothing is held."""

    async def cipher(self, parameters: Argon2Parameters | None) -> HeldCipher:
        assert parameters is not None
        passphrase = self._source.read("rootKey.passphrase")
        kdf = Argon2id(
            salt=parameters.salt,
            length=ROOT_KEY_BYTES,
            iterations=parameters.iterations,
            lanes=parameters.lanes,
            memory_cost=parameters.memory_kib,
        )
        return HeldCipher(await asyncio.to_thread(kdf.derive, passphrase.expose()))
