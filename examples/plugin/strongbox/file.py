"""The file: a salt, and all keys in one AES-256-GCM box under a key from the passphrase. Called by ``plugin``.

Guarantees: a change is written whole or not at all, and is on the disk when it returns; processes that change the file
at once do so one after the other; nothing here prints a key. Every method blocks and runs in a thread.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from plugins.sdk import CredentialsRefused, Misconfigured, SecretBytes, Unavailable

NONCE_BYTES = 12
_LABEL = b"strongbox/v1"


class _Stored(msgspec.Struct, forbid_unknown_fields=True):
    """What is in the file. ``box`` is a nonce and the ciphertext of the keys by their names."""

    format: int
    salt: bytes
    box: bytes


class Box:
    """One file that was opened with its passphrase."""

    def __init__(self, path: Path, passphrase: SecretBytes) -> None:
        self._path = path
        self._passphrase = passphrase
        self._cipher: AESGCM | None = None
        self._seen: tuple[int, int] | None = None
        self._keys: dict[str, SecretBytes] = {}

    def make(self) -> None:
        """A new, empty file. Raises ``Misconfigured`` if there is one."""
        if self._path.exists():
            raise Misconfigured(f"path: {self._path} exists already, and a strongbox is never replaced")
        salt = os.urandom(16)
        self._cipher = self._derive(salt)
        self._write(salt, {})

    def open(self) -> None:
        """Raises ``CredentialsRefused`` for a wrong passphrase, ``Misconfigured`` if it is no strongbox."""
        self._cipher = self._derive(self._read().salt)
        self.keys()

    def keys(self) -> dict[str, SecretBytes]:
        """All keys by name, as the file has them now. A file that was replaced is another inode and is read again."""
        try:
            status = self._path.stat()
        except OSError as error:
            raise Unavailable(f"{self._path} cannot be read: {error.strerror}") from None
        if self._seen != (status.st_ino, status.st_mtime_ns):
            self._keys = self._unseal(self._read())
            self._seen = (status.st_ino, status.st_mtime_ns)
        return self._keys

    @contextmanager
    def change(self) -> Iterator[dict[str, SecretBytes]]:
        """The keys, to be changed; written when the block ends without an error."""
        with self._path.with_name(self._path.name + ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            keys = dict(self.keys())
            yield keys
            if keys.keys() != self._keys.keys():
                self._write(self._read().salt, keys)

    # ---- inside ------------------------------------------------------------------------------------------------------

    def _derive(self, salt: bytes) -> AESGCM:
        # Argon2id (RFC 9106) with 19 MiB and two passes: the least that OWASP's cheat sheet recommends.
        kdf = Argon2id(salt=salt, length=32, iterations=2, lanes=1, memory_cost=19 * 1024)
        return AESGCM(kdf.derive(self._passphrase.expose()))

    def _read(self) -> _Stored:
        try:
            stored = msgspec.json.decode(self._path.read_bytes(), type=_Stored)
        except FileNotFoundError:
            raise Misconfigured(f"path: {self._path} does not exist") from None
        except OSError as error:
            raise Unavailable(f"{self._path} cannot be read: {error.strerror}") from None
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise Misconfigured(f"path: {self._path} is no strongbox") from None
        if stored.format != 1:
            raise Misconfigured(f"path: {self._path} is a strongbox of format {stored.format}, and 1 is known")
        return stored

    def _unseal(self, stored: _Stored) -> dict[str, SecretBytes]:
        assert self._cipher is not None
        try:
            plain = self._cipher.decrypt(stored.box[:NONCE_BYTES], stored.box[NONCE_BYTES:], _LABEL)
        except (InvalidTag, ValueError):
            raise CredentialsRefused("the passphrase does not open this strongbox", reason="PassphraseWrong") from None
        return {name: SecretBytes(key) for name, key in msgspec.json.decode(plain, type=dict[str, bytes]).items()}

    def _write(self, salt: bytes, keys: dict[str, SecretBytes]) -> None:
        assert self._cipher is not None
        nonce = os.urandom(NONCE_BYTES)
        plain = msgspec.json.encode({name: key.expose() for name, key in keys.items()})
        content = msgspec.json.encode(_Stored(1, salt, nonce + self._cipher.encrypt(nonce, plain, _LABEL)))
        draft = self._path.with_name(self._path.name + ".draft")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
