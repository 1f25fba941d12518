"""What a full segment holds, in short: a query for one key need not read the segments that have nothing of it.

Who calls it: ``reading``. Guarantees: a summary never says that something is absent which is there; one that is
missing, damaged or of another segment is made anew. It is a cache: whoever checks the journal does not look at it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

FORMAT: Final = 1
MAX_NAMES: Final = 200_000
"""Of resources or principals in one segment; with more, the summary says nothing about them."""
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)


class _Brief(msgspec.Struct, rename="camel"):
    """As much of a record as a summary needs; notes of the journal have none of it."""

    time: datetime | None = None
    principal: str | None = None
    resource: str | None = None


class _Line(msgspec.Struct):
    record: _Brief


class Summary(msgspec.Struct, frozen=True, array_like=True):
    """Times between which the records lie, and eight octets of the hash of every name in them, sorted."""

    format: int
    size: int
    first: datetime
    last: datetime
    resources: bytes | None
    principals: bytes | None

    def may_hold(
        self,
        resources: Iterable[str] = (),
        principals: Iterable[str] = (),
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> bool:
        """Whether the segment may have a record with one of each."""
        if since is not None and self.last < since:
            return False
        if until is not None and self.first >= until:
            return False
        return _may_hold(self.resources, tuple(resources)) and _may_hold(self.principals, tuple(principals))


# Made here and not when they are first used: see `chain`.
_summary = msgspec.msgpack.Decoder(Summary).decode
_line = msgspec.json.Decoder(_Line).decode


def summary_of(segment: Path) -> Summary:
    """The summary of a segment that no longer grows. Reads it through once if there is none yet."""
    path = segment.with_suffix(".summary")
    size = segment.stat().st_size
    try:
        kept = _summary(path.read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        kept = None
    if kept is not None and (kept.format, kept.size) == (FORMAT, size):
        return kept
    made = _read(segment, size)
    draft = path.with_suffix(f".{os.getpid()}.new")
    with contextlib.suppress(OSError):  # a directory that cannot be written costs the next reader the same work
        draft.write_bytes(msgspec.msgpack.encode(made))
        draft.replace(path)
    return made


def _read(segment: Path, size: int) -> Summary:
    first, last = _LAST, _FIRST
    resources: set[str] = set()
    principals: set[str] = set()
    with segment.open("rb") as file:
        for line in file:
            try:
                record = _line(line).record
            except (msgspec.DecodeError, UnicodeDecodeError):
                # Not for us to say what that is; a query will read the segment and skip the line.
                return Summary(FORMAT, size, _FIRST, _LAST, None, None)
            if record.time is None:
                continue
            first, last = min(first, record.time), max(last, record.time)
            if record.resource is not None:
                resources.add(record.resource)
            if record.principal is not None:
                principals.add(record.principal)
    return Summary(FORMAT, size, first, last, _digests(resources), _digests(principals))


def _digest(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


def _digests(names: set[str]) -> bytes | None:
    if len(names) > MAX_NAMES:
        return None
    return _little(array("Q", sorted(map(_digest, names)))).tobytes()


def _may_hold(digests: bytes | None, names: tuple[str, ...]) -> bool:
    if digests is None or not names:
        return True
    known = array("Q")
    known.frombytes(digests)
    known = _little(known)
    for name in names:
        wanted = _digest(name)
        at = bisect_left(known, wanted)
        if at < len(known) and known[at] == wanted:
            return True
    return False


def _little(numbers: array[int]) -> array[int]:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
