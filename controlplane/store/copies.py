"""Copies of what cannot be made again (key tokens, the plugins' own records) as files in other directories.

Who calls it: ``safekeeping``. No SQL here, and no judgement: one directory is written, read and emptied as told.

::

    IDENTITY                              "keystead copies 1", the server's id
    tokens/<2 of owner>/<owner>~<name>.copy
    state/<store>/<name>.copy

    a file: "KSCOPY" 01 | kind (1: token, 2: state) | owner, name, value, each behind its length (4 octets, big-endian)
            | SHA-256 of everything before

Guarantees: a file is there whole or not at all, and on disk when :meth:`Copy.write` returns; what is read has its
checksum and the name it was asked for by, so files that were mixed up are told; removed files are overwritten first.
The values are encrypted by who made them; a directory alone opens nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import threading
from collections.abc import Collection
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec

from controlplane.errors import KeysteadError, StartupRefused

IDENTITY_FILE: Final = "IDENTITY"
_IDENTITY: Final = "keystead copies 1"
_MAGIC: Final = b"KSCOPY\x01"
_SUFFIX: Final = ".copy"
_LENGTH: Final = 4
_CHECKSUM: Final = 32


class What(StrEnum):
    """What is copied."""

    TOKEN = "token"  # noqa: S105
    """A key token; its owner is the uid of its key."""
    STATE = "state"
    """A record of a plugin; its owner is the name of its key store."""


_CODES: Final = {What.TOKEN: b"\x01", What.STATE: b"\x02"}


class Record(msgspec.Struct, frozen=True):
    """One thing that is kept in several places."""

    what: What
    owner: str
    name: str
    value: bytes


class CopyDamaged(KeysteadError):
    """A file is there and is not what was written."""

    code = "CopyDamaged"


class Copy:
    """One directory of copies."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __str__(self) -> str:
        return str(self.directory)

    def open(self, server_id: str) -> bool:
        """Make the directory if it is new. True if it held nothing yet.

        Raises :class:`StartupRefused` if it belongs to another server, ``OSError`` if it cannot be reached.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.directory / IDENTITY_FILE
        try:
            held = path.read_text("ascii").split("\n")
        except FileNotFoundError:
            _write_whole(path, f"{_IDENTITY}\n{server_id}\n".encode())
            return True
        except UnicodeDecodeError:
            held = []
        if held[:2] != [_IDENTITY, server_id]:
            raise StartupRefused(
                f"the copies in {self.directory} belong to another server; give this one a directory of its own"
            )
        return False

    def write(self, record: Record) -> None:
        """Keep a record, durably. Raises ``OSError``."""
        path = self._path(record.what, record.owner, record.name)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_whole(path, encode(record))

    def read(self, what: What, owner: str, name: str) -> bytes | None:
        """The value, or None if there is none. Raises :class:`CopyDamaged`, or ``OSError`` for an unreachable disk."""
        path = self._path(what, owner, name)
        try:
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        record = decode(content, path)
        if (record.what, record.owner, record.name) != (what, owner, name):
            raise CopyDamaged(f"{path} is the copy of {record.name}, under another name")
        return record.value

    def keep_only(self, owner: str, names: Collection[str]) -> None:
        """Remove the tokens of one key but those named. Raises ``OSError``."""
        folder = self._folder(What.TOKEN, owner)
        kept = {self._path(What.TOKEN, owner, name).name for name in names}
        try:
            found = [each for each in folder.iterdir() if each.name.startswith(f"{quote(owner, safe='')}~")]
        except FileNotFoundError:
            return
        for path in found:
            if path.name not in kept:
                _destroy(path)
        if found:
            _sync(folder)

    def listing(self, what: What) -> set[str]:
        """Names of the files of a kind, as :meth:`file_of` answers them. Raises ``OSError``."""
        root = self._root(what)
        try:
            return {f"{folder.name}/{path.name}" for folder in root.iterdir() for path in folder.iterdir()}
        except FileNotFoundError:
            return set()

    def file_of(self, what: What, owner: str, name: str) -> str:
        """Where a record is, as :meth:`listing` names it."""
        path = self._path(what, owner, name)
        return f"{path.parent.name}/{path.name}"

    def folder_of(self, store: str) -> str:
        """The folder of a key store's records, as :meth:`listing` names it."""
        return self._folder(What.STATE, store).name

    def content(self, what: What, file: str) -> Record | None:
        """The record in a file of :meth:`listing`; None if it is damaged or no copy."""
        try:
            return decode((self._root(what) / file).read_bytes(), self._root(what) / file)
        except (OSError, CopyDamaged):
            return None

    def _root(self, what: What) -> Path:
        return self.directory / ("tokens" if what is What.TOKEN else "state")

    def _folder(self, what: What, owner: str) -> Path:
        encoded = quote(owner, safe="")
        return self._root(what) / (encoded[:2] if what is What.TOKEN else encoded)

    def _path(self, what: What, owner: str, name: str) -> Path:
        encoded = quote(name, safe="")
        prefix = f"{quote(owner, safe='')}~" if what is What.TOKEN else ""
        return self._folder(what, owner) / f"{prefix}{encoded}{_SUFFIX}"


def encode(record: Record) -> bytes:
    """A record as a file."""
    parts = [_MAGIC, _CODES[record.what]]
    for field in (record.owner.encode(), record.name.encode(), record.value):
        parts += (len(field).to_bytes(_LENGTH, "big"), field)
    body = b"".join(parts)
    return body + hashlib.sha256(body).digest()


def decode(content: bytes, path: Path) -> Record:
    """The record in a file. Raises :class:`CopyDamaged`."""
    body, checksum = content[:-_CHECKSUM], content[-_CHECKSUM:]
    if not hmac.compare_digest(hashlib.sha256(body).digest(), checksum) or not body.startswith(_MAGIC):
        raise CopyDamaged(f"{path} is damaged, or was written by a newer version")
    position = len(_MAGIC) + 1
    fields = []
    for _ in range(3):
        start = position + _LENGTH
        position = start + int.from_bytes(body[position:start], "big")
        fields.append(body[start:position])
    what = next((each for each, code in _CODES.items() if code == body[len(_MAGIC) : len(_MAGIC) + 1]), None)
    if what is None or position != len(body):
        raise CopyDamaged(f"{path} is damaged, or was written by a newer version")
    return Record(what, fields[0].decode(), fields[1].decode(), fields[2])


def _write_whole(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
    _sync(path.parent)


def _destroy(path: Path) -> None:
    """Overwrite and remove. What a disk does with overwritten blocks is its own affair; the file system shows none."""
    with contextlib.suppress(FileNotFoundError):
        with path.open("r+b") as file:
            file.write(bytes(path.stat().st_size))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()


def _sync(folder: Path) -> None:
    """Make names durable: without this a file may be lost in a power cut though its content was synced."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
