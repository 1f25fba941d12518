"""Keys whose material somebody brings: which wait, which expire when, and the step that each import is at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Final

from textual.containers import Vertical
from textual.widget import Widget

from controlplane.report import Line, Style, import_lines, time_left
from controlplane.schema.browse import KeyRow, KeyRows, KeySort
from controlplane.schema.imports import ImportReport
from controlplane.schema.keys import KeyState
from tui import words
from tui.actions import LIST
from tui.feed.messages import Answer
from tui.feed.questions import ImportOf
from tui.screens.acting import ANY
from tui.screens.keys import KeysScreen
from tui.widgets.lines import Lines
from tui.widgets.table import Column, Row, Table

COLUMNS: Final = (
    Column("KEY", "name", most=48, least=16),
    Column("STATE", "state", least=15),
    Column("SPEC", "spec", keep=2, least=12),
    Column("MATERIAL", "expires", least=22, most=40),
    Column("ALIASES", "aliases", keep=4, most=36, least=14),
    Column("STORE", "store", keep=5, wide=True),
)
SOON_DAYS: Final = 7


class ImportsScreen(KeysScreen):
    """See the module."""

    section = "imports"
    FIXED: ClassVar[str] = "origin:external !origin:external_"
    about = (
        "Keys of origin EXTERNAL: their material is made elsewhere, comes wrapped and can be taken away or expire.",
        "i imports material, step by step. This program never reads material in clear: it is wrapped elsewhere.",
    )
    OFFERS: ClassVar[tuple[str, ...]] = (
        "import",
        "open",
        "events",
        "describe",
        "empty",
        "cancel",
        "yaml",
        *ANY,
        *LIST,
    )
    SORTS: ClassVar[tuple[StrEnum, ...]] = (KeySort.EXPIRES, KeySort.NAME, KeySort.STATE, KeySort.SPEC, KeySort.STORE)

    def __init__(self) -> None:
        super().__init__()
        self._report: ImportReport | None = None

    def body(self) -> Iterable[Widget]:
        table = Table(COLUMNS, id="keys")
        table.notice(Line("Reading…", Style.MUTED))
        below = Vertical(Lines(id="pane"), classes="panel", id="steps")
        below.border_title = "Its import"
        yield Vertical(table, below)

    def crumbs(self) -> tuple[str, str]:
        where = f" imports{f'  /{self.filter}' if self.filter else ''}"
        if self.page is None:
            return where, ""
        marked = f"{len(self.table.marked)} marked · " if self.table.marked else ""
        waiting = sum(row.state is KeyState.PENDING_IMPORT for row in self.page.items)
        noun = "key" if self.page.matching == 1 else "keys"
        return where, f"{marked}{self.page.matching:,} {noun} of imported material · {waiting:,} waiting"

    def answered(self, message: Answer) -> None:
        if isinstance(message.value, ImportReport):
            self._report = message.value
            self._show_detail()
        else:
            super().answered(message)

    def _ask_detail(self) -> None:
        super()._ask_detail()
        name = self.table.current
        if name is None:
            self.host.feed.drop(self, "import")
        elif self.is_current:
            self.watch_question(ImportOf(name), "import")

    def row(self, each: KeyRow, now: datetime) -> Row:
        if each.state is KeyState.PENDING_IMPORT:
            material = ("… waits for material", Style.UPDATE)
        elif each.expires_at is None:
            material = ("does not expire", Style.MUTED)
        else:
            left = time_left(each.expires_at, now)
            soon = (each.expires_at - now).days < SOON_DAYS
            material = (f"{'! ' if soon else ''}expires in {left}", Style.WARNING if soon else Style.PLAIN)
        return Row(
            each.name,
            (
                (each.name, Style.PLAIN),
                words.STATES[each.state],
                (each.key_spec, Style.PLAIN),
                material,
                (", ".join(each.aliases) or "-", Style.MUTED),
                (each.key_store, Style.MUTED),
            ),
        )

    def nothing(self, page: KeyRows) -> Sequence[Line]:
        if self.filter:
            return super().nothing(page)
        return (
            Line("No key has imported material.", Style.HEADING),
            Line(""),
            Line(
                "Declare one with origin: EXTERNAL and apply it: Plans (6). It waits here for its material.",
                Style.MUTED,
            ),
        )

    def _show_detail(self) -> None:
        pane, report = self.query_one("#pane", Lines), self._report
        if report is None or report.key_name != self.table.current:
            pane.show([] if self.table.current is None else [Line("Reading…", Style.MUTED)])
        else:
            pane.show(import_lines(report, self.host.now()))
