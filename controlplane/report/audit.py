"""The audit journal as lines: records, and what a check of the files found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from controlplane.audit.archiving import Archived
from controlplane.audit.checkpoints import Checkpoints
from controlplane.audit.records import AuditEntry, AuditRecord, VerifyResult
from controlplane.report.lines import Line, Style, moment, number, table

_STYLES = {"allowed": Style.PLAIN, "denied": Style.BAD, "failed": Style.WARNING}


def audit_lines(entries: Sequence[AuditEntry]) -> Iterator[Line]:
    """A table of records."""
    header = ("TIME", "PRINCIPAL", "OPERATION", "RESOURCE", "OUTCOME", "SOURCE", "REASON")
    yield from table(header, [(_row(each.record), _STYLES[each.record.decision]) for each in entries])


def verify_lines(result: VerifyResult) -> Iterator[Line]:
    """What a check found: every chain, and the first bad record of each."""
    for chain, head in result.heads.items():
        yield Line(f"{chain}: {number(head.seq + 1, 'record')} good, the last is {head.hash}")
    for chain, seq in result.archived.items():
        yield Line(f"{chain}: the {number(seq, 'record')} before are in an archive", Style.MUTED)
    for chain, signed in result.signed.items():
        yield Line(f"{chain}: signed up to record {signed}", Style.MUTED)
    for bad in result.bad:
        yield Line(str(bad), Style.BAD)
    if not result.checkpoints:
        yield Line("No checkpoint is here: what was taken from the end of a chain is not found.", Style.WARNING)
    if result.ok:
        yield Line(f"The journal is whole: {number(result.records, 'record')}.", Style.GOOD)


def checkpoint_lines(found: Checkpoints, out: Path | None) -> Iterator[Line]:
    """Checkpoints that a server signed, and where they were saved."""
    for each in found.checkpoints:
        said = each.said
        yield Line(f"{said.chain}: record {said.head.seq} of {moment(said.time)} is {said.head.hash}")
    if out is not None:
        yield Line(f"Saved in {out}; check the journal with: keystead audit verify DIR --checkpoint {out}", Style.GOOD)


def archive_lines(moved: Archived, target: Path) -> Iterator[Line]:
    """What was moved into an archive."""
    yield Line(f"{number(moved.segments, 'segment')} moved to {target}, {moved.octets:,} octets.", Style.GOOD)
    if moved.waiting:
        yield Line(f"{number(moved.waiting, 'segment')} stay: no checkpoint vouches for them yet.", Style.MUTED)


def _row(record: AuditRecord) -> tuple[str, ...]:
    outcome = record.decision if record.error is None else f"{record.decision}: {record.error}"
    return (
        moment(record.time),
        _short(record.principal),
        record.operation,
        _short(record.resource or "-"),
        outcome,
        record.source,
        record.reason,
    )


def _short(name: str) -> str:
    """The end of an ARN, which tells one from another."""
    return name.split(":", 5)[-1] if name.startswith("arn:") else name
