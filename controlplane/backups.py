"""The format of a backup: a tar file that begins with a manifest, and nothing in it that opens without the root key.

Who calls it: ``store.backup`` writes, the command line reads and unpacks. Guarantees: what is unpacked is exactly what
the manifest lists, each file with its size and SHA-256; a file that is cut short, changed or holds more than that is
refused before anything is put in its place; no name in an archive reaches outside the directory.

::

    manifest.json   {"format": 1, "serverId", "account", "createdAt", "version", "files": [{"name", "size", "sha256"}]}
    keystead.db     the database, checked after it was copied
    audit/...       the audit journal, up to the moment of the backup
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import tarfile
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import IO, Final

import msgspec

from controlplane.errors import InvalidInput

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
DATABASE_FILE: Final = "keystead.db"
AUDIT_DIRECTORY: Final = "audit"
MAX_MANIFEST: Final = 16 * 1024 * 1024
_CHUNK: Final = 1024 * 1024
_NAME: Final = re.compile(r"keystead\.db|audit/chain-\d+/segment-\d+\.jsonl")


class BackupFile(msgspec.Struct, frozen=True, rename="camel"):
    """One file of a backup."""

    name: str
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, rename="camel"):
    """What a backup says of itself."""

    format: int
    server_id: str
    account: str
    created_at: datetime
    version: str
    files: tuple[BackupFile, ...]


def pack(target: Path, manifest: Manifest, root: Path) -> None:
    """Write a backup of the files under ``root`` that the manifest lists, for its owner only."""
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as out, tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        content = msgspec.json.encode(manifest)
        head = tarfile.TarInfo(MANIFEST)
        head.size, head.mode = len(content), 0o600
        tar.addfile(head, io.BytesIO(content))
        for each in manifest.files:
            info = tarfile.TarInfo(each.name)
            info.size, info.mode = each.size, 0o600
            with (root / each.name).open("rb") as file:
                tar.addfile(info, file)
    _sync_file(target)


def described(root: Path, names: Iterable[str]) -> tuple[BackupFile, ...]:
    """Files as a manifest lists them."""
    return tuple(
        BackupFile(name=name, size=(root / name).stat().st_size, sha256=_digest(root / name)) for name in names
    )


def unpack(source: Path, directory: Path) -> Manifest:
    """Put a backup's files into a directory that holds no Keystead. Raises :class:`InvalidInput`; then it holds none.

    Everything is unpacked beside its place and checked before the first file is put there.
    """
    occupied = [name for name in (DATABASE_FILE, AUDIT_DIRECTORY) if (directory / name).exists()]
    if occupied:
        raise InvalidInput(f"{directory} already holds {' and '.join(occupied)}; restore into an empty directory")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = directory / f".restore-{os.getpid()}"
        draft.mkdir(mode=0o700)
    except OSError as error:
        raise InvalidInput(f"{directory}: cannot be used: {error.strerror}") from None
    try:
        with source.open("rb") as file:
            manifest = _unpack(file, source, draft)
        audit = draft / AUDIT_DIRECTORY
        if audit.exists():
            audit.rename(directory / AUDIT_DIRECTORY)
        (draft / DATABASE_FILE).rename(directory / DATABASE_FILE)  # last: with it there is a server
        _sync_directory(directory)
    except (OSError, tarfile.TarError, EOFError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "it is not a whole backup"
        raise InvalidInput(f"{source}: {why}; nothing was restored") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return manifest


def check(source: Path) -> Manifest:
    """Read a backup through, as :func:`unpack` would. Raises :class:`InvalidInput` if it is not whole."""
    try:
        with source.open("rb") as file:
            return _unpack(file, source, None)
    except (OSError, tarfile.TarError, EOFError) as error:
        raise InvalidInput(f"{source}: is not a whole backup ({error})") from None


# ---- inside ----------------------------------------------------------------------------------------------------------


def _unpack(file: IO[bytes], source: Path, draft: Path | None) -> Manifest:
    """Read everything, and write it under ``draft`` if there is one."""
    with tarfile.open(fileobj=file, mode="r|") as tar:
        manifest = _manifest(tar, source)
        expected = {each.name: each for each in manifest.files}
        while (member := tar.next()) is not None:
            wanted = expected.pop(member.name, None)
            content = tar.extractfile(member)
            if wanted is None or content is None or not member.isreg() or member.size != wanted.size:
                raise InvalidInput(
                    f"{source}: holds {member.name!r}, which its manifest does not; nothing was restored"
                )
            if _copy(content, None if draft is None else draft / wanted.name) != wanted.sha256:
                raise InvalidInput(f"{source}: {wanted.name} is damaged; nothing was restored")
    if expected:
        raise InvalidInput(f"{source}: lacks {', '.join(sorted(expected))}; nothing was restored")
    return manifest


def _manifest(tar: tarfile.TarFile, source: Path) -> Manifest:
    member = tar.next()
    content = tar.extractfile(member) if member is not None and member.name == MANIFEST else None
    if member is None or content is None or member.size > MAX_MANIFEST:
        raise InvalidInput(f"{source}: is not a backup of Keystead")
    try:
        manifest = msgspec.json.decode(content.read(), type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise InvalidInput(f"{source}: is not a backup of Keystead, or its manifest is damaged") from None
    if manifest.format != FORMAT:
        raise InvalidInput(
            f"{source}: is a backup of format {manifest.format}; this version reads {FORMAT}: use the version that "
            f"made it ({manifest.version}), or a newer one"
        )
    names = [each.name for each in manifest.files]
    if DATABASE_FILE not in names or len(set(names)) != len(names) or not all(map(_NAME.fullmatch, names)):
        raise InvalidInput(f"{source}: its manifest lists files that no backup has")
    return manifest


def _copy(content: IO[bytes], path: Path | None) -> str:
    """The SHA-256 of the content, which is at ``path`` afterwards."""
    if path is None:
        return _digest_of(content)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        digest = _digest_of(content, file)
        file.flush()
        os.fsync(file.fileno())
    _sync_directory(path.parent)
    return digest


def _digest_of(content: IO[bytes], out: IO[bytes] | None = None) -> str:
    digest = hashlib.sha256()
    while chunk := content.read(_CHUNK):
        digest.update(chunk)
        if out is not None:
            out.write(chunk)
    return digest.hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return _digest_of(file)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
