"""The files of an import on the importer's side: the directory of parameters, and what was wrapped under them.

Called by the commands of ``keystead import-material`` and by the terminal UI. Guarantees: nothing here is secret and no
file with material in clear is ever opened; files are written whole or not at all, for their owner only, and none is
overwritten. Bad input is an :class:`InvalidInput` that names the file.
"""

from __future__ import annotations

import hashlib
import os
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from controlplane.errors import InvalidInput
from controlplane.schema.imports import ImportParameters

PARAMETERS_FILE: Final = "parameters.json"
PUBLIC_KEY_FILE: Final = "wrapping-key.der"
TOKEN_FILE: Final = "import-token.bin"  # noqa: S105
WRAPPED_FILE: Final = "wrapped.bin"
"""Where wrapped material is looked for if nobody says."""
WRAPPED_NOTE: Final = "wrapped.json"
MAX_WRAPPED: Final = 6144


class Wrapped(msgspec.Struct, frozen=True, rename="camel"):
    """What ``wrap`` notes beside the parameters: when, and of which file. Nothing of the material."""

    wrapped_at: datetime
    sha256: str


def save_parameters(directory: Path, made: ImportParameters) -> None:
    """Write what somebody needs to wrap material. The directory was made by :func:`new_directory`."""
    write(directory / PARAMETERS_FILE, msgspec.json.format(msgspec.json.encode(made), indent=2))
    write(directory / PUBLIC_KEY_FILE, made.public_key)
    write(directory / TOKEN_FILE, made.import_token)


def note_wrapped(directory: Path, wrapped: bytes, at: datetime) -> None:
    """Keep beside the parameters when this was wrapped."""
    note = Wrapped(wrapped_at=at.replace(microsecond=0), sha256=hashlib.sha256(wrapped).hexdigest())
    write(directory / WRAPPED_NOTE, msgspec.json.encode(note), replace=True)


def wrapped_at(directory: Path, wrapped: bytes) -> datetime | None:
    """When this very file was wrapped, if ``wrap`` noted it here."""
    try:
        note = msgspec.json.decode((directory / WRAPPED_NOTE).read_bytes(), type=Wrapped)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return note.wrapped_at if note.sha256 == hashlib.sha256(wrapped).hexdigest() else None


def new_directory(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        occupied = any(directory.iterdir())
    except OSError as error:
        raise InvalidInput(f"{directory}: cannot be used: {error.strerror}") from None
    if occupied:
        raise InvalidInput(f"{directory} is not empty; give a directory of its own to each set of parameters")


def read_parameters(directory: Path) -> ImportParameters:
    content = read(directory / PARAMETERS_FILE, 65_536)
    try:
        return msgspec.json.decode(content, type=ImportParameters)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{directory / PARAMETERS_FILE}: these are no import parameters ({error})") from None


def read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read: {error.strerror}") from None
    if not content or len(content) > limit:
        raise InvalidInput(f"{path}: has {'no' if not content else f'more than {limit:,}'} octets")
    return content


def write(path: Path, content: bytes, *, replace: bool = False) -> None:
    """Write a file as a whole or not at all, for its owner only. An existing one is not overwritten."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                draft.rename(path)
            else:
                os.link(draft, path)
        finally:
            draft.unlink(missing_ok=True)
    except FileExistsError:
        raise InvalidInput(f"{path} exists already and is not overwritten") from None
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be written: {error.strerror}") from None
