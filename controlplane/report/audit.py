"""The audit journal as lines: records, and what a check of the files found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
    for bad in result.bad:
        yield Line(str(bad), Style.BAD)
    if result.ok:
        yield Line(f"The journal is whole: {number(result.records, 'record')}.", Style.GOOD)


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
