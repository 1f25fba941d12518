"""One chain of the journal as bytes: its lines, segments, and the walk that finds the first line that is not good.

Who calls it: ``journal`` when it opens, ``verifying`` and ``reading``. Guarantee: a line is good only if it is, octet
for octet, what :func:`make_line` makes of its record at its place.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import msgspec

from controlplane.audit.records import BadRecord, SegmentNote
from controlplane.errors import StoreDamaged

GENESIS = b"0" * 64
HASH_MEMBER = len('"hash":"",') + len(GENESIS)
CHAIN = "chain-"
SEGMENT = "segment-"
SUFFIX = ".jsonl"
ARCHIVED = "archived.json"


class Line(msgspec.Struct, frozen=True):
    seq: int
    prev: str
    hash: str
    record: msgspec.Raw


class Past(msgspec.Struct, frozen=True):
    """What lies in an archive: segments up to ``segment``. The next record is ``seq`` and follows ``hash``."""

    segment: int
    seq: int
    hash: str


# Made here and not when they are first used: msgspec learns a type when it makes its decoder, and two threads that do
# so at once end the process.
_line = msgspec.json.Decoder(Line).decode
_past = msgspec.json.Decoder(Past).decode
_note = msgspec.json.Decoder(SegmentNote).decode


class Walk:
    """A segment, line by line, as far as it is good. Afterwards ``seq`` and ``prev`` are what the next record must
    have, ``line`` counts good lines, ``torn`` holds an unfinished last line and ``bad`` the first bad one."""

    def __init__(
        self, path: Path, chain: str, segment: int, seq: int, prev: bytes, *, anchors: Mapping[int, str] | None = None
    ) -> None:
        """``anchors`` are hashes of records that are known from elsewhere, by their numbers."""
        self.seq, self.prev = seq, prev
        self.line = 0
        self.torn = b""
        self.bad: BadRecord | None = None
        self._path = path
        self._chain = chain
        self._segment = segment
        self._anchors = anchors or {}

    def good_lines(self, file: BinaryIO) -> Iterator[bytes]:
        for line in file:
            if not line.endswith(b"\n"):
                self.torn = line
                return
            start = b'{"seq":%d,"prev":"%b",' % (self.seq, self.prev)
            # Compared as bytes with the line as it was written: a JSON reader would forgive a space or a second key.
            expected, digest = make_line(self.seq, self.prev, line[len(start) + HASH_MEMBER : -1])
            why = None if line == expected else _why(line, self.seq, self.prev)
            if why is None and self.line == 0 and not self._is_header(line):
                why = f"this is not the header of segment {self._segment} of {self._chain}"
            if why is None and self._anchors.get(self.seq, digest.decode()) != digest.decode():
                why = "not the record that was anchored: recomputed"
            if why is not None:
                self.bad = BadRecord(str(self._path), self.line + 1, why)
                return
            self.seq += 1
            self.prev = digest
            self.line += 1
            yield line

    def _is_header(self, line: bytes) -> bool:
        try:
            note = _note(_line(line).record)
        except msgspec.MsgspecError:
            return False
        return (note.chain, note.segment, note.previous.encode()) == (self._chain, self._segment, self.prev)


def make_line(seq: int, prev: bytes, tail: bytes) -> tuple[bytes, bytes]:
    """The line of record ``seq`` after ``prev``, and its hash; ``tail`` is ``"record":{...}}``."""
    start = b'{"seq":%d,"prev":"%b",' % (seq, prev)
    digest = hashlib.sha256(start + tail).hexdigest().encode()
    return b'%b"hash":"%b",%b\n' % (start, digest, tail), digest


def _why(line: bytes, seq: int, prev: bytes) -> str:
    try:
        found = _line(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return "this is not an audit record: edited"
    if found.seq > seq:
        return f"this is record {found.seq} where {seq} belongs: records were removed or reordered"
    if found.seq < seq:
        return f"this is record {found.seq} where {seq} belongs: records were inserted or reordered"
    if found.prev.encode() != prev:
        return "this record does not follow the one before it: one of the two was edited or replaced"
    return "the content does not match its hash: edited"


def past_of(chain: Path) -> Past:
    """What of the chain was archived; nothing, if nothing was."""
    try:
        return _past((chain / ARCHIVED).read_bytes())
    except FileNotFoundError:
        return Past(0, 0, GENESIS.decode())
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise StoreDamaged(f"the audit journal is damaged: {chain / ARCHIVED} does not decode") from None


def write_past(chain: Path, past: Past) -> None:
    """Say durably that a chain begins later. Raises ``OSError``."""
    draft = chain / f"{ARCHIVED}.new"
    with draft.open("wb") as file:
        file.write(msgspec.json.encode(past) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(chain / ARCHIVED)
    sync_directory(chain)


def segments_of(chain: Path, first: int = 1) -> list[Path]:
    """The segment files from number ``first`` on; a gap in their numbers is a segment that was removed."""
    segments = sorted(path for path in chain.glob(f"{SEGMENT}*{SUFFIX}") if path >= segment_path(chain, first))
    for number, path in enumerate(segments, start=first):
        expected = segment_path(chain, number)
        if path != expected:
            raise StoreDamaged(f"the audit journal is damaged: {expected} is missing")
    return segments


def segment_path(chain: Path, number: int) -> Path:
    return chain / f"{SEGMENT}{number:08}{SUFFIX}"


def last_of(path: Path) -> tuple[int, bytes]:
    """Next sequence number and hash after the last record of a segment that is complete."""
    with path.open("rb") as file:
        size = reach = file.seek(0, os.SEEK_END)
        lines: list[bytes] = []
        while reach and len(lines) < 2:  # until the last line is whole: it begins inside what was read
            reach = max(0, reach - 65536)
            file.seek(reach)
            lines = file.read(size - reach).splitlines(keepends=True)
    try:
        found = _line(lines[-1])
        expected, digest = make_line(found.seq, found.prev.encode(), b'"record":%b}' % bytes(found.record))
        if lines[-1] == expected:
            return found.seq + 1, digest
    except (IndexError, msgspec.MsgspecError, UnicodeDecodeError):
        pass
    with path.open("rb") as file:
        count = sum(1 for _ in file)
    raise StoreDamaged(f"the audit journal is damaged: {path}:{count}: the segment's last record was edited or cut")


def in_use(chain: Path) -> bool:
    try:
        fd = os.open(chain / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def sync_directory(path: Path) -> None:
    """Make names in a directory durable: a synced file without a name is lost with the power."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
