"""Queries over the journal: by key, principal, operation, outcome and time, newest or oldest first, page by page.

Who calls it: the reconciliation API. Guarantees: what was appended before the query began is found; the work of one
page is bounded (:data:`BUDGET`), so a page may be empty and still have a next one; nothing is kept in memory between
pages; a page goes on exactly where the one before it ended, whatever was written meanwhile. Checks nothing: a line that
does not decode is passed over (``verifying`` finds it).

Lines are looked at as bytes first: only those that hold what was asked for are decoded.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from controlplane.audit.chain import CHAIN, past_of, segment_path
from controlplane.audit.checkpoints import Checkpoint, latest
from controlplane.audit.records import AuditEntry, AuditPage, AuditRecord, Decision, VerifyResult
from controlplane.audit.summaries import summary_of
from controlplane.audit.verifying import verify
from controlplane.errors import InvalidMarker

BLOCK: Final = 1024 * 1024
BUDGET: Final = 64 * BLOCK
"""Bytes that one page reads, more or less: 0.05 s of work if they hold nothing that is wanted, 0.4 s if all of it."""

Position = tuple[int, int]
"""Segment, and an offset in it that stands between two lines."""


class Query(msgspec.Struct, frozen=True):
    """What is wanted: all that is given must hold; of several resources, principals or operations one."""

    resources: tuple[str, ...] = ()
    principals: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    decision: Decision | None = None
    error: str | None = None
    request_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    """Exclusive."""

    def matches(self, record: AuditRecord) -> bool:
        """Whether a record is wanted."""
        return (
            (not self.resources or record.resource in self.resources)
            and (not self.principals or record.principal in self.principals)
            and (not self.operations or record.operation in self.operations)
            and (self.decision is None or record.decision == self.decision)
            and (self.error is None or record.error == self.error)
            and (self.request_id is None or record.request_id == self.request_id)
            and (self.since is None or record.time >= self.since)
            and (self.until is None or record.time < self.until)
        )

    def needles(self) -> tuple[tuple[bytes, ...], ...]:
        """Bytes of a line that is wanted: one of each. They stand in it as the journal's encoder writes them."""
        wanted = {
            "resource": self.resources,
            "principal": self.principals,
            "operation": self.operations,
            "decision": (self.decision,) if self.decision else (),
            "error": (self.error,) if self.error else (),
            "requestId": (self.request_id,) if self.request_id else (),
        }
        return tuple(
            tuple(f'"{name}":'.encode() + msgspec.json.encode(value) for value in values)
            for name, values in wanted.items()
            if values
        )


class _Line(msgspec.Struct):
    seq: int
    record: AuditRecord


class _Marker(msgspec.Struct):
    """Where a query goes on, opaque to whoever asks."""

    newest_first: bool
    chains: dict[str, Position]


class _Budget:
    def __init__(self, left: int) -> None:
        self.left = left


_Found = tuple[AuditEntry | None, Position]
"""What a walk over a chain says: a record, or that it got this far without one."""


class JournalReader:
    """Reads the journal in ``directory``, whoever writes it. Blocks: call it in a thread."""

    def __init__(self, directory: Path, *, block: int = BLOCK, budget: int = BUDGET) -> None:
        self._directory = directory
        self._block = block
        self._budget = budget

    def query(self, wanted: Query, *, limit: int, marker: str | None = None, newest_first: bool = True) -> AuditPage:
        """A page of at most ``limit`` records in the order of their times; of one chain, in the order of its records.

        Raises :class:`InvalidMarker` for a marker that no page of such a query gave.
        """
        at = self._begin(newest_first) if marker is None else self._resume(marker, newest_first)
        budget = _Budget(self._budget)
        walk = self._backward if newest_first else self._forward
        walks = {name: walk(name, position, wanted, budget) for name, position in at.items()}
        heads: dict[str, tuple[AuditEntry, Position]] = {}
        items: list[AuditEntry] = []
        while len(items) < limit and (budget.left > 0 or not items):
            if not self._fill(walks, heads, at, budget) or not heads:
                break
            time = {name: head[0].record.time for name, head in heads.items()}
            name = (max if newest_first else min)(heads, key=time.__getitem__)
            entry, at[name] = heads.pop(name)
            items.append(entry)
        over = not walks and not heads
        return AuditPage(tuple(items), None if over else _write_marker(_Marker(newest_first, at)))

    def latest(self, wanted: Query) -> AuditRecord | None:
        """The newest record that is wanted, however far back it is."""
        marker = None
        while True:
            page = self.query(wanted, limit=1, marker=marker)
            if page.items:
                return page.items[0].record
            if page.next is None:
                return None
            marker = page.next

    # ---- inside ----------------------------------------------------------------------------------------------------

    def verify(self) -> VerifyResult:
        """Check every record of the journal, as :func:`controlplane.audit.verifying.verify` does. Blocks."""
        return verify(self._directory)

    def checkpoints(self) -> list[Checkpoint]:
        """The last checkpoint of each chain. Blocks."""
        found = (latest(self._directory / chain) for chain in self._chains())
        return [each for each in found if each is not None]

    @staticmethod
    def _fill(
        walks: dict[str, Iterator[_Found]],
        heads: dict[str, tuple[AuditEntry, Position]],
        at: dict[str, Position],
        budget: _Budget,
    ) -> bool:
        """Have the next record of every chain at hand; False if the budget does not go that far. Every chain gets on
        by a block at least, or a page could end where it began. A walk that is over leaves.
        """
        complete = True
        for name in [name for name in walks if name not in heads]:
            for entry, position in walks[name]:
                if entry is not None:
                    heads[name] = entry, position
                    break
                at[name] = position
                if budget.left <= 0:
                    complete = False
                    break
            else:
                del walks[name]
        return complete

    def _chains(self) -> list[str]:
        found = (path.name.removeprefix(CHAIN) for path in self._directory.glob(f"{CHAIN}*"))
        return [f"{CHAIN}{number}" for number in sorted(int(number) for number in found if number.isdecimal())]

    def _begin(self, newest_first: bool) -> dict[str, Position]:
        return {name: self._end(name) if newest_first else (self._first(name), 0) for name in self._chains()}

    def _end(self, chain: str) -> Position:
        """The end of the chain now."""
        number = self._first(chain)
        while self._path(chain, number + 1).exists():
            number += 1
        return number, self._size(chain, number)

    def _resume(self, text: str, newest_first: bool) -> dict[str, Position]:
        try:
            marker = _marker(base64.urlsafe_b64decode(text.encode()))
        except (binascii.Error, UnicodeError, ValueError):
            raise _foreign() from None
        known = set(self._chains())
        for name, (segment, offset) in marker.chains.items():
            if name not in known or not self._first(name) <= segment <= self._end(name)[0]:
                raise _foreign()
            if not 0 <= offset <= self._size(name, segment):
                raise _foreign()
            if offset and self._read(name, segment, offset - 1, offset) != b"\n":
                raise _foreign()
        if marker.newest_first is not newest_first:
            raise _foreign()
        return marker.chains

    def _backward(self, chain: str, position: Position, wanted: Query, budget: _Budget) -> Iterator[_Found]:
        segment, end = position
        newest, _ = self._end(chain)
        first = self._first(chain)
        while segment >= first:
            if end and segment < newest and not self._may_hold(chain, segment, wanted, budget):
                end = 0
            while end:
                block, start = self._block_before(chain, segment, end, budget)
                for offset, line in reversed(_lines(block, start, wanted.needles())):
                    entry = _decoded(chain, line, wanted)
                    if entry is not None:
                        yield entry, (segment, offset)
                end = start
                yield None, (segment, end)
            segment -= 1
            end = self._size(chain, segment)
            if segment >= first:
                yield None, (segment, end)

    def _forward(self, chain: str, position: Position, wanted: Query, budget: _Budget) -> Iterator[_Found]:
        segment, start = position
        newest, limit = self._end(chain)
        while segment <= newest:
            size = limit if segment == newest else self._size(chain, segment)
            if segment < newest and not self._may_hold(chain, segment, wanted, budget):
                start = size
            while start < size:
                block = self._block_after(chain, segment, start, size, budget)
                if not block:  # an unfinished line, which nobody was answered for
                    break
                for offset, line in _lines(block, start, wanted.needles()):
                    entry = _decoded(chain, line, wanted)
                    if entry is not None:
                        yield entry, (segment, offset + len(line))
                start += len(block)
                yield None, (segment, start)
            if segment < newest:
                yield None, (segment + 1, 0)
            segment, start = segment + 1, 0

    def _block_before(self, chain: str, segment: int, end: int, budget: _Budget) -> tuple[bytes, int]:
        """Whole lines that end at ``end``, and where they begin."""
        length = self._block
        while True:
            start = max(0, end - length)
            block = self._read(chain, segment, start, end)
            budget.left -= len(block)
            # At a file's end there may be half a line; elsewhere ``end`` stands behind a line.
            whole = block[: block.rfind(b"\n") + 1]
            cut = 0 if start == 0 else whole.find(b"\n") + 1
            if start == 0 or cut < len(whole):
                return whole[cut:], start + cut
            length *= 2

    def _block_after(self, chain: str, segment: int, start: int, size: int, budget: _Budget) -> bytes:
        """Whole lines that begin at ``start``; empty if there is none."""
        length = self._block
        while True:
            block = self._read(chain, segment, start, min(start + length, size))
            budget.left -= len(block)
            whole = block[: block.rfind(b"\n") + 1]
            if whole or start + length >= size:
                return whole
            length *= 2

    def _may_hold(self, chain: str, segment: int, wanted: Query, budget: _Budget) -> bool:
        if not (wanted.resources or wanted.principals or wanted.since or wanted.until):
            return True
        path = self._path(chain, segment)
        if not path.with_suffix(".summary").exists():
            budget.left -= 4 * self._size(chain, segment)  # decoding all of it costs more than looking
        return summary_of(path).may_hold(wanted.resources, wanted.principals, wanted.since, wanted.until)

    def _first(self, chain: str) -> int:
        """The first segment that was not archived."""
        return past_of(self._directory / chain).segment + 1

    def _path(self, chain: str, segment: int) -> Path:
        return segment_path(self._directory / chain, segment)

    def _size(self, chain: str, segment: int) -> int:
        try:
            return self._path(chain, segment).stat().st_size
        except FileNotFoundError:
            return 0

    def _read(self, chain: str, segment: int, start: int, end: int) -> bytes:
        try:
            with self._path(chain, segment).open("rb", buffering=0) as file:
                return os.pread(file.fileno(), end - start, start)
        except FileNotFoundError:  # archived meanwhile
            return b""


def _lines(block: bytes, start: int, needles: tuple[tuple[bytes, ...], ...]) -> list[tuple[int, bytes]]:
    """Lines that may be wanted, with their offsets."""
    if not all(any(needle in block for needle in one_of) for one_of in needles):
        return []
    found = []
    for line in block.splitlines(keepends=True):
        if all(any(needle in line for needle in one_of) for one_of in needles):
            found.append((start, line))
        start += len(line)
    return found


# Made here and not when they are first used: see `chain`.
_decode: Final[Callable[[bytes], _Line]] = msgspec.json.Decoder(_Line).decode
_marker: Final[Callable[[bytes], _Marker]] = msgspec.msgpack.Decoder(_Marker).decode


def _decoded(chain: str, line: bytes, wanted: Query) -> AuditEntry | None:
    try:
        found = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):  # a note of the journal, or damage
        return None
    return AuditEntry(chain, found.seq, found.record) if wanted.matches(found.record) else None


def _write_marker(marker: _Marker) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(marker)).decode()


def _foreign() -> InvalidMarker:
    return InvalidMarker("the marker is not one that this query answered; begin without it")
