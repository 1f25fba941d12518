"""Keys that are about to go: what is left of their time, who still tries to use them, and the key that keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Final

from textual.containers import Vertical
from textual.widget import Widget

from controlplane.report import Line, Style, age, time_left
from controlplane.schema.browse import KeyRow, KeyRows, KeySort
from controlplane.schema.keys import RefusedUse
from tui import words
from tui.actions import LIST
from tui.feed.questions import Detail, KeyList
from tui.screens.acting import ANY
from tui.screens.keys import KeysScreen
from tui.widgets.lines import Lines
from tui.widgets.table import Column, Row, Table

POLL_SECONDS: Final = 5.0
"""A refused use changes no object, so they are asked for."""
BAR: Final = 16
DAY_SECONDS: Final = 86_400

COLUMNS: Final = (
    Column("KEY", "name", most=40, least=14),
    Column("LEFT", "due", least=8),
    Column("", "bar", keep=3, most=BAR, least=BAR),
    Column("DUE (UTC)", "at", keep=4, least=12),
    Column("REFUSED USES", "refused", least=18, most=26),
    Column("BY", "by", keep=5, most=30, least=10),
    Column("ALIASES", "aliases", keep=6, most=36, wide=True),
    Column("STORE", "store", keep=7, wide=True),
)


class DeletionsScreen(KeysScreen):
    """See the module."""

    section = "deletions"
    FIXED: ClassVar[str] = "state:pendingdeletion,pendingreplicadeletion"
    about = (
        "Keys that are scheduled for deletion, the next one first. Every use of them is refused and counted.",
        "When the time is over, a key and all its material are destroyed. Until then u keeps it.",
    )
    OFFERS: ClassVar[tuple[str, ...]] = ("cancel", "open", "events", "describe", "yaml", *ANY, *LIST)
    SORTS: ClassVar[tuple[StrEnum, ...]] = (KeySort.DUE, KeySort.NAME, KeySort.STORE, KeySort.CONDITION)

    def body(self) -> Iterable[Widget]:
        table = Table(COLUMNS, id="keys")
        table.notice(Line("Reading…", Style.MUTED))
        below = Vertical(Lines(id="pane"), classes="panel", id="tried")
        below.border_title = "Who tried to use it"
        yield Vertical(table, below)

    def question(self) -> KeyList:
        asked = super().question()
        return KeyList(asked.filter, asked.sort, asked.descending, asked.offset, poll=POLL_SECONDS)

    def crumbs(self) -> tuple[str, str]:
        where = f" deletions{f'  /{self.filter}' if self.filter else ''}"
        if self.page is None:
            return where, ""
        marked = f"{len(self.table.marked)} marked · " if self.table.marked else ""
        used = sum(row.refused > 0 for row in self.page.items)
        return where, f"{marked}{self.page.matching:,} pending · {used:,} used since scheduling"

    def tick(self) -> None:
        super().tick()
        self._show_rows()  # the countdown

    def row(self, each: KeyRow, now: datetime) -> Row:
        deletion = each.deletion
        due = deletion.due_at if deletion is not None else None
        if deletion is None or due is None:
            left, bar, when, tone = "waits for replicas", "", "-", Style.UPDATE
        else:
            seconds = (due - now).total_seconds()
            share = seconds / (deletion.window_days * DAY_SECONDS)
            left, bar, when = clock(due, now), words.countdown(share, BAR), f"{due:%b %d %H:%M}"
            tone = Style.BAD if seconds < DAY_SECONDS else Style.UPDATE if share < 0.5 else Style.GOOD
            left = f"! {left}" if seconds < DAY_SECONDS else left
        refused = ("none", Style.MUTED)
        if each.refused and each.refused_last_at is not None:
            refused = (f"! {each.refused:,}, last {age(each.refused_last_at, now)} ago", Style.BAD)
        by = deletion.requested_by.rpartition(":")[2] if deletion is not None else "-"
        return Row(
            each.name,
            (
                (each.name, Style.PLAIN),
                (left, tone),
                (bar, tone),
                (when, Style.PLAIN),
                refused,
                (by, Style.MUTED),
                (", ".join(each.aliases) or "-", Style.MUTED),
                (each.key_store, Style.MUTED),
            ),
        )

    def nothing(self, page: KeyRows) -> Sequence[Line]:
        if self.filter:
            return super().nothing(page)
        return (
            Line("✓ No key is about to be deleted.", Style.GOOD),
            Line("", Style.MUTED),
            Line(
                "A key that is scheduled for deletion waits here for 7 to 30 days. Every use of it is refused and "
                "counted meanwhile, and u keeps it.",
                Style.MUTED,
            ),
        )

    def _show_detail(self) -> None:
        pane = self.query_one("#pane", Lines)
        detail = self._detail
        if detail is None or detail.item.metadata.name != self.table.current:
            pane.show([] if self.table.current is None else [Line("Reading…", Style.MUTED)])
            return
        pane.show(tried(detail, self.host.now()))


def clock(due: datetime, now: datetime) -> str:
    """What is left: to the second in the last hour, when it counts."""
    seconds = int((due - now).total_seconds())
    if 0 < seconds < 3_600:
        return f"{seconds // 60}m {seconds % 60:02}s"
    return time_left(due, now)


def tried(detail: Detail, now: datetime) -> list[Line]:
    """Who tried to use a key that is about to go."""
    if not detail.refused:
        return [Line("Nobody since its deletion was scheduled.", Style.MUTED)]
    uses: list[RefusedUse] = sorted(detail.refused, key=lambda use: use.last_at, reverse=True)
    width = max(len(use.principal) for use in uses)
    return [
        Line(
            f"! {use.principal:<{width}}  {use.operation:<24} {use.count:>6,}x  last {age(use.last_at, now)} ago",
            Style.WARNING,
        )
        for use in uses
    ]
