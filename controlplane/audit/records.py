"""What stands in the audit journal, and what is said about it.

Who uses it: everybody who writes or reads the journal. Guarantee: nothing here holds key material, plaintext or
credentials.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

Decision = Literal["allowed", "denied", "failed"]
"""``denied``: by authentication or a policy; ``failed``: allowed, and refused for another reason or gone wrong."""


class AuditRecord(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True, gc=False):
    """One decision: who asked for what, and what came of it. Never holds key material, plaintext or credentials.

    ``principal`` and ``resource`` are ARNs where there is one; ``source`` is the peer's address; ``action`` is the
    permission that was asked for; ``reason`` says which rule decided; ``error`` is the error's code;
    ``encryption_context`` is shown whole, as CloudTrail does.
    """

    time: datetime
    request_id: str
    principal: str
    source: str
    operation: str
    decision: Decision
    action: str = ""
    region: str | None = None
    resource: str | None = None
    reason: str = ""
    encryption_context: dict[str, str] | None = None
    latency_us: int = 0
    error: str | None = None
    details: dict[str, Any] | None = None


class AuditEntry(msgspec.Struct, frozen=True, rename="camel"):
    """A record with its place in the journal, as queries answer it."""

    chain: str
    seq: int
    record: AuditRecord


class AuditPage(msgspec.Struct, frozen=True, rename="camel"):
    """What a query found. ``next`` asks for more; there may be more even after a page that is not full."""

    items: tuple[AuditEntry, ...]
    next: str | None


class SegmentNote(msgspec.Struct, frozen=True, rename="camel", tag_field="note", tag="segment"):
    """First record of a segment file; ``previous`` is the hash of the last record of the segment before."""

    chain: str
    segment: int
    previous: str


class TailNote(msgspec.Struct, frozen=True, rename="camel", tag_field="note", tag="tailCut"):
    """A crash left an unfinished, never acknowledged line; it was cut off: its length in bytes and its SHA-256."""

    length: int
    sha256: str


class Head(msgspec.Struct, frozen=True):
    """The end of a chain: number and hash of its last record. Kept elsewhere, it anchors all that came before."""

    seq: int
    hash: str


class BadRecord(msgspec.Struct, frozen=True):
    """What is wrong, and where. ``line`` counts from 1; 0 means the file as a whole."""

    file: str
    line: int
    why: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.why}" if self.line else f"{self.file}: {self.why}"


class VerifyResult(msgspec.Struct, frozen=True):
    """``bad`` holds the first bad record of each chain; ``records`` counts the good ones before it, notes included;
    ``heads`` is the last good record of each chain by its name.

    ``checkpoints`` counts good ones, ``signed`` is the last record that one vouches for, ``archived`` the first record
    of a chain whose beginning lies elsewhere; both by chain.
    """

    records: int
    heads: dict[str, Head]
    bad: tuple[BadRecord, ...]
    checkpoints: int = 0
    signed: dict[str, int] = msgspec.field(default_factory=dict)
    archived: dict[str, int] = msgspec.field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.bad
