"""The audit journal as it grows: a tail that can be held, filtered, and opened record by record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, Final

import msgspec
from textual.widget import Widget

from controlplane.audit.records import AuditEntry, AuditPage, VerifyResult
from controlplane.errors import InvalidInput, KeysteadError
from controlplane.report import Line, Style
from controlplane.report.audit import verify_lines
from tui.actions import Action
from tui.auditfilter import HINT, AuditTerms, only_looks, parse_audit_filter
from tui.feed.messages import Answer, Outcome, Trouble
from tui.feed.orders import VerifyAudit
from tui.feed.questions import AuditTail
from tui.screens.base import HIDDEN, YES, Framed, Verdict
from tui.screens.dialogs import TextDialog
from tui.widgets.table import Column, Row, Table
from tui.words import Cell

KEPT: Final = 500
"""Records that are held; older ones are for `keystead audit query`."""
COLUMNS: Final = (
    Column("TIME (UTC)", "time", least=12),
    Column("PRINCIPAL", "principal", most=40, least=12),
    Column("OPERATION", "operation", most=32, least=14),
    Column("RESOURCE", "resource", keep=2, most=48, least=16),
    Column("OUTCOME", "outcome", most=44, least=9),
    Column("MS", "ms", keep=4, right=True),
    Column("REASON", "reason", keep=5, most=80, least=20),
    Column("SOURCE", "source", keep=6, wide=True),
    Column("#", "seq", keep=7, wide=True),
)
VOUCHES: Final = (
    Line(""),
    Line("The server has checked its own files here. To check them without trusting it, on its machine:", Style.MUTED),
    Line("keystead audit verify DIR", Style.MUTED),
)
_OUTCOMES: Final[dict[str, Cell]] = {
    "allowed": ("✓ allowed", Style.GOOD),
    "denied": ("✗ denied", Style.BAD),
    "failed": ("! failed", Style.WARNING),
}


class AuditScreen(Framed):
    """See the module."""

    section = "audit"
    about = (
        "Every request, as the audit journal keeps it: who, what, on which key, what came of it, and why.",
        "The newest is below. space holds the list while you read; what comes meanwhile is counted.",
    )
    NOT_HERE: ClassVar[Mapping[str, str]] = {
        "sort": "the journal is in the order of time; a filter finds what you look for",
        "reconcile": "a record says what happened; only objects are compared with what is declared",
        "pause": "a record says what happened; space holds the list",
    }
    OFFERS: ClassVar[tuple[str, ...]] = ("record", "hold", "reads", "filter", "verify", "wide", *NOT_HERE)

    def __init__(self) -> None:
        super().__init__()
        self.filter = ""
        self.terms = AuditTerms()
        self.reads = False
        self.held = False
        self.pending = 0
        self.checked = ""
        self.entries: dict[tuple[str, int], AuditEntry] = {}
        self._waiting: dict[tuple[str, int], AuditEntry] = {}
        self._answered = False

    def body(self) -> Iterable[Widget]:
        table = Table(COLUMNS, id="audit")
        table.notice(Line("Reading the journal…", Style.MUTED))
        yield table

    @property
    def table(self) -> Table:
        return self.query_one("#audit", Table)

    def crumbs(self) -> tuple[str, str]:
        where = f" audit{f'  /{self.filter}' if self.filter else ''}"
        state = f"‖ held, +{self.pending:,} below" if self.held else "● tail"
        return where, f"{self.checked + ' · ' if self.checked else ''}{state}"

    # ---- questions -------------------------------------------------------------------------------------------------

    def ask(self) -> None:
        self.watch_question(AuditTail(self.terms.wanted(self.host.now())))

    def answered(self, message: Answer) -> None:
        page = message.value
        if not isinstance(page, AuditPage):
            return
        self._answered = True
        fresh = {(each.chain, each.seq): each for each in page.items}
        if self.held:
            self._waiting |= {place: each for place, each in fresh.items() if place not in self.entries}
            self.pending = sum(self._shown(each) for each in self._waiting.values())
        else:
            self.entries |= fresh
            self._show()

    def failed(self, message: Trouble) -> None:
        if not self.entries:
            self.table.notice(Line("The journal could not be read.", Style.WARNING), Line(message.error.message))

    def _shown(self, entry: AuditEntry) -> bool:
        return (self.reads or not only_looks(entry)) and self.terms.matches(entry)

    def _show(self) -> None:
        newest = sorted(self.entries.values(), key=lambda each: (each.record.time, each.chain, each.seq))[-KEPT * 4 :]
        self.entries = {(each.chain, each.seq): each for each in newest}
        shown = [each for each in newest if self._shown(each)][-KEPT:]
        table = self.table
        if shown:
            follow = not table.rows or table.current == table.rows[-1].key
            table.show([_row(each) for each in shown])
            if follow:
                table.action_last()
        elif self._answered:
            table.notice(*self._nothing())

    def _nothing(self) -> list[Line]:
        if self.filter:
            return [
                Line(f"No record matches {self.filter}", Style.HEADING),
                Line("esc takes the filter away, / changes it", Style.MUTED),
            ]
        return [
            Line("Nothing but looking happened lately.", Style.HEADING),
            Line("o shows requests that only look; older records: keystead audit query", Style.MUTED),
        ]

    # ---- actions ---------------------------------------------------------------------------------------------------

    def specific(self, action: Action) -> Verdict:
        if action.id == "record" and self.table.current is None:
            return HIDDEN
        return YES

    def label(self, action: Action) -> str:
        if action.id == "hold":
            return "go on" if self.held else "hold"
        if action.id == "reads":
            return "hide reads" if self.reads else "show reads"
        return action.label

    def can_go_back(self) -> bool:
        return bool(self.filter) or self.held

    def do_back(self) -> None:
        if self.held:
            self.do_hold()
        else:
            self.filtered("")

    def do_hold(self) -> None:
        self.held = not self.held
        if not self.held:
            self.entries |= self._waiting
            self._waiting, self.pending = {}, 0
            self._show()
            self.table.action_last()
        self.update_frame()

    def do_reads(self) -> None:
        self.reads = not self.reads
        self._show()
        self.update_frame()

    def do_wide(self) -> None:
        self.table.wide = not self.table.wide

    def do_verify(self) -> None:
        self.checked = "checking the chain…"
        self.order(VerifyAudit())
        self.update_frame()

    def finished(self, message: Outcome) -> None:
        match message:
            case Outcome(order=VerifyAudit(), error=KeysteadError() as error):
                self.checked = ""
                self.host.say(f"The journal was not checked: {error.message}", bad=True)
            case Outcome(order=VerifyAudit(), value=VerifyResult() as result):
                self.checked = "✓ chain verified" if result.ok else "✗ CHAIN BROKEN"
                self.host.push_screen(TextDialog("The audit journal", [*verify_lines(result), *VOUCHES]))
        self.update_frame()

    def do_record(self) -> None:
        self.table.action_choose()

    def on_table_chosen(self, message: Table.Chosen) -> None:
        message.stop()
        chain, seq = message.key.rsplit("/", 1)
        entry = self.entries.get((chain, int(seq)))
        if entry is not None:
            text = msgspec.json.format(msgspec.json.encode(entry), indent=2).decode()
            self.host.push_screen(TextDialog(f"Record {seq} of {chain}", [Line(line) for line in text.splitlines()]))

    def do_filter(self) -> None:
        self.prompt.open("filter", "/", self.filter, HINT, check=parse_audit_filter)

    def filtered(self, text: str) -> None:
        text = " ".join(text.split())
        try:
            terms = parse_audit_filter(text)
        except InvalidInput as error:
            self.host.say(error.message, wrong=True)
            return
        if text == self.filter:
            return
        asked = terms.asked != self.terms.asked or terms.since != self.terms.since
        self.filter, self.terms = text, terms
        if not self.is_mounted:
            return
        if asked:
            self.entries, self._waiting, self.pending, self._answered = {}, {}, 0, False
            self.table.notice(Line("Reading the journal…", Style.MUTED))
            self.ask()
        self._show()
        self.update_frame()


def _row(entry: AuditEntry) -> Row:
    record = entry.record
    word, style = _OUTCOMES[record.decision]
    outcome = word if record.error is None else f"{word} {record.error}"
    return Row(
        f"{entry.chain}/{entry.seq}",
        (
            (f"{record.time:%H:%M:%S}.{record.time.microsecond // 1000:03}", Style.MUTED),
            (_short(record.principal), Style.PLAIN),
            (record.operation, Style.PLAIN),
            (_short(record.resource or "-"), Style.PLAIN),
            (outcome, style),
            (f"{record.latency_us / 1000:.1f}", Style.MUTED),
            (record.reason or "-", Style.MUTED),
            (record.source, Style.MUTED),
            (str(entry.seq), Style.MUTED),
        ),
    )


def _short(name: str) -> str:
    """The end of an ARN, which tells one from another."""
    return name.split(":", 5)[-1] if name.startswith("arn:") else name
