"""The pretended device of the memory plugin: material by name, in a JSON file or in this process. Called by ``plugin``.

Keys are stored in clear. It is a test double with the durability of a real device: with a file, what ``write``
returned from survives ``kill -9``; without one, it survives ``close`` and ``open`` in the same process.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from plugins.sdk import KeySpec, Misconfigured


class Slot(msgspec.Struct, frozen=True):
    """Material in clear."""

    key_spec: KeySpec
    secret: bytes
    external_id: str

    def __repr__(self) -> str:
        return f"<Slot {self.external_id}, {self.key_spec}>"


Slots = dict[str, Slot]


class ProcessDevice:
    """A device that lives as long as this process."""

    def __init__(self) -> None:
        self._slots: Slots = {}

    def read(self) -> Slots:
        """All material."""
        return self._slots

    @contextmanager
    def change(self) -> Iterator[Slots]:
        """All material, to be changed."""
        yield self._slots


class FileDevice:
    """A device that plays in one JSON file. Several processes may share it: each change holds a lock."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Slots:
        """All material."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Slots)
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            raise Misconfigured(f"device: {self._path} is not a device file of the memory key store") from None

    @contextmanager
    def change(self) -> Iterator[Slots]:
        """All material, to be changed; written durably at the end, all or nothing."""
        lock = os.open(self._path.with_name(self._path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            slots = self.read()
            yield slots
            self._write(msgspec.json.encode(slots))
        finally:
            os.close(lock)

    def _write(self, content: bytes) -> None:
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
