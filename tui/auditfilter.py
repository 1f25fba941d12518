"""The filter of the audit list: ``key:payments-data by:ana op:Decrypt denied since:1h word !word``.

Pure. ``key``, ``by``, ``op``, the decisions and ``since`` are asked of the server; words are looked for here.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final, get_args

import msgspec

from controlplane.audit.records import AuditEntry, Decision
from controlplane.client import AuditFilter
from controlplane.errors import InvalidInput

HINT: Final = "key:NAME  by:PRINCIPAL  op:Decrypt  allowed denied failed  since:1h  word  !word"
_DECISIONS: Final = get_args(Decision)
_SPAN: Final = re.compile(r"(\d{1,5})([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_READS: Final = frozenset({"keystead:Read", "keystead:ReadAudit"})


class AuditTerms(msgspec.Struct, frozen=True):
    """What the server filters by, how far back, and words with whether they must not occur."""

    asked: AuditFilter = AuditFilter()
    since: timedelta | None = None
    words: tuple[tuple[str, bool], ...] = ()

    def wanted(self, now: datetime) -> AuditFilter:
        return self.asked if self.since is None else msgspec.structs.replace(self.asked, since=now - self.since)

    def matches(self, entry: AuditEntry) -> bool:
        if not self.words:
            return True
        record = entry.record
        text = f"{record.principal} {record.operation} {record.resource} {record.reason} {record.error} {record.source}"
        return all((word in text.lower()) is not inverse for word, inverse in self.words)


def parse_audit_filter(text: str) -> AuditTerms:
    """Raises :class:`InvalidInput` that says what would be right."""
    key = principal = since = None
    decision: Decision | None = None
    operations: list[str] = []
    words: list[tuple[str, bool]] = []
    for word in text.split():
        name, colon, value = word.partition(":")
        match name.lower():
            case "key" | "by" | "op" | "since" if colon and not value:
                raise InvalidInput(f"{word} needs a word right after it, such as {name}:{_example(name)}")
            case "key" if colon:
                key = value
            case "by" if colon:
                principal = value
            case "op" if colon:
                operations.append(value)
            case "since" if colon:
                since = _span(value)
            case "allowed" | "denied" | "failed" as found if not colon:
                decision = found
            case _:
                words.append((word.removeprefix("!").lower(), word.startswith("!")))
    asked = AuditFilter(key=key, principal=principal, operations=tuple(operations), decision=decision)
    return AuditTerms(asked, since, tuple(each for each in words if each[0]))


def only_looks(entry: AuditEntry) -> bool:
    """Whether a request read the reconciliation API and did nothing, as this program does all the time."""
    return entry.record.action in _READS and entry.record.decision == "allowed"


def _span(text: str) -> timedelta:
    match = _SPAN.fullmatch(text.lower())
    if match is None:
        raise InvalidInput(f"since:{text} is no span of time; write one such as since:90m, since:24h or since:7d")
    return timedelta(seconds=int(match[1]) * _SECONDS[match[2]])


def _example(name: str) -> str:
    return {"key": "payments-data", "by": "ana", "op": "Decrypt", "since": "1h"}[name.lower()]


assert set(_DECISIONS) == {"allowed", "denied", "failed"}
