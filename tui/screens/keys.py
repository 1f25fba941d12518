"""The keys: a list that the server filters, sorts and cuts, with the one under the cursor beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Final

from textual.timer import Timer
from textual.widget import Widget

from controlplane.report import Line, Style, age
from controlplane.schema.browse import KeyRow, KeyRows, KeySort
from controlplane.schema.meta import Kind
from tui import words
from tui.actions import KEY, LIST, LOOK
from tui.cards import card
from tui.feed.messages import Answer, Trouble
from tui.feed.questions import WINDOW, Detail, Gone, KeyList, OneObject
from tui.screens.acting import Subject
from tui.screens.keyactions import KeyActions, subject_of_row
from tui.screens.lists import Listing
from tui.widgets.lines import Lines
from tui.widgets.table import Column, Row, Table

HIGHLIGHT_SECONDS: Final = 0.15
"""The cursor rests this long before the key under it is asked for, so that moving on asks nothing."""
ROWS_SECONDS: Final = 10.0

COLUMNS: Final = (
    Column("NAME", "name", most=48, least=16),
    Column("STATE", "state", least=17),
    Column("SPEC", "spec", keep=2, least=12),
    Column("STORE", "store", keep=3, most=24, least=8),
    Column("ALIASES", "aliases", keep=5, most=36, least=14),
    Column("AGE", "created", keep=4, right=True),
    Column("CONDITION", "condition", keep=1, most=28),
    Column("TAGS", "tags", keep=6, most=48, wide=True),
    Column("REGION", "region", keep=7, wide=True),
    Column("KEY ID", "id", keep=8, wide=True),
)
SORTS: Final = (KeySort.NAME, KeySort.STATE, KeySort.SPEC, KeySort.STORE, KeySort.CREATED, KeySort.CONDITION)


class KeysScreen(Listing, KeyActions):
    """See the module."""

    section = "keys"
    about = (
        "Every key, live. The server filters and sorts; the list shows a window of it.",
        "CONDITION says whether the key is as declared. Beside the list, in a wide terminal: the key under the cursor.",
    )
    OFFERS: ClassVar[tuple[str, ...]] = ("open", *KEY, *LOOK, *LIST)
    NOUN: ClassVar[tuple[str, str]] = ("key", "keys")
    SORTS: ClassVar[tuple[StrEnum, ...]] = SORTS
    FILTER_HINT: ClassVar[str] = "word  !not  -l tag=value  -f fuzzy  @store  state:pending  is:unhealthy"
    FIXED: ClassVar[str] = ""
    """Terms of the filter that belong to the section and are not shown."""

    def __init__(self) -> None:
        super().__init__()
        self.page: KeyRows | None = None
        self._detail: Detail | None = None
        self._resting: Timer | None = None
        self._rows_at: datetime | None = None
        self._wanted: str | None = None
        """The key on which the cursor is to be as soon as there are rows."""

    def body(self) -> Iterable[Widget]:
        table = Table(COLUMNS, id="keys")
        table.notice(Line("Reading keys…", Style.MUTED))
        yield table
        yield Lines(id="pane", classes="pane")

    @property
    def table(self) -> Table:
        return self.query_one("#keys", Table)

    def crumbs(self) -> tuple[str, str]:
        where = f" keys{f'  /{self.filter}' if self.filter else ''}"
        if self.page is None:
            return where, ""
        marked = f"{len(self.table.marked)} marked · " if self.table.marked else ""
        total, matching = self.page.total, self.page.matching
        count = f"{matching:,} of {total:,}" if self.filter else f"{total:,}"
        return where, f"{marked}{count} {'key' if total == 1 else 'keys'}"

    # ---- questions -------------------------------------------------------------------------------------------------

    def ask(self) -> None:
        self.watch_question(self.question())
        self._ask_detail()

    def question(self) -> KeyList:
        return KeyList(f"{self.FIXED} {self.filter}".strip(), KeySort(self.sort), self.descending, self.first)

    def answered(self, message: Answer) -> None:
        match message.value:
            case KeyRows() as page:
                self.page = page
                self._show_rows()
            case Detail() as detail:
                self._detail = detail
                self._show_detail()
            case Gone(message=why):
                self._detail = None
                self.query_one("#pane", Lines).show([Line(why, Style.MUTED)])

    def failed(self, message: Trouble) -> None:
        if message.slot == "" and (self.page is None or not self.page.items):
            lines = [Line("The keys could not be read.", Style.WARNING), Line(message.error.message, Style.MUTED)]
            self.table.notice(*lines)

    def tick(self) -> None:
        super().tick()
        if self._rows_at is not None and (self.host.now() - self._rows_at).total_seconds() >= ROWS_SECONDS:
            self._show_rows()  # ages
            self._show_detail()

    # ---- showing ---------------------------------------------------------------------------------------------------

    def _show_rows(self) -> None:
        page = self.page
        if page is None:
            return
        now = self._rows_at = self.host.now()
        if page.items:
            self.table.show([self.row(each, now) for each in page.items], offset=page.offset, matching=page.matching)
            self._go_to_wanted(page)
        elif page.offset and page.matching:
            self.first = 0  # the list became shorter than where we were
            self.ask()
        else:
            self.table.notice(*self.nothing(page))

    def row(self, each: KeyRow, now: datetime) -> Row:
        return Row(
            each.name,
            (
                (each.name, Style.PLAIN),
                words.STATES[each.state],
                (each.key_spec, Style.PLAIN),
                (each.key_store, Style.PLAIN),
                (", ".join(each.aliases) or "-", Style.MUTED),
                (age(each.created_at, now), Style.MUTED),
                words.condition("Paused" if each.paused else each.condition),
                (", ".join(f"{name}={value}" for name, value in each.tags.items()) or "-", Style.MUTED),
                (each.region, Style.MUTED),
                (each.key_id, Style.MUTED),
            ),
        )

    def nothing(self, page: KeyRows) -> Sequence[Line]:
        """What is said where there is no row."""
        if self.filter:
            return self.none_matches(page.total)
        return (
            Line("There is no key yet.", Style.HEADING),
            Line("", Style.MUTED),
            Line("Declare some in a file and apply it, in a shell:", Style.MUTED),
            Line("keystead apply PATH", Style.PLAIN),
            Line("Or have a KMS client create one: any AWS SDK, with this server as its endpoint.", Style.MUTED),
        )

    def _show_detail(self) -> None:
        if self._detail is not None:
            self.query_one("#pane", Lines).show(card(self._detail, self.host.now()))

    # ---- the cursor ------------------------------------------------------------------------------------------------

    def choose(self, name: str) -> None:
        """Have the cursor on this key. Until it is there, no other row is offered to be acted on in its place."""
        self._wanted = name
        if self.page is None:
            return
        if any(row.name == name for row in self.page.items):
            self._go_to_wanted(self.page)
        else:
            self.page = None
            self.table.notice(Line("Reading keys…", Style.MUTED))

    def _go_to_wanted(self, page: KeyRows) -> None:
        wanted, self._wanted = self._wanted, None
        if wanted is None:
            return
        if any(row.name == wanted for row in page.items):
            self.table.go_to(wanted)
        else:
            self.filtered(wanted)  # outside of the window, or of the filter

    def on_table_highlighted(self, message: Table.Highlighted) -> None:
        message.stop()
        if self._resting is not None:
            self._resting.stop()
        self._resting = self.set_timer(HIGHLIGHT_SECONDS, self._ask_detail)
        self.update_frame()

    def _ask_detail(self) -> None:
        name = self.table.current
        if name is None:
            self.host.feed.drop(self, "detail")
            self._detail = None
            self.query_one("#pane", Lines).show(())
        elif self.is_current:
            if self._detail is not None and self._detail.item.metadata.name != name:
                self.query_one("#pane", Lines).scroll_now(0)
            self.watch_question(OneObject(Kind.KEY, name), "detail")

    def on_table_chosen(self, message: Table.Chosen) -> None:
        message.stop()
        self.host.open(Kind.KEY, message.key)

    def detail(self) -> Detail | None:
        return self._detail

    def subjects(self) -> Sequence[Subject]:
        if self.page is None:
            return ()
        rows = {row.name: row for row in self.page.items}
        wanted = self.table.marked or tuple(name for name in (self.table.current,) if name is not None)
        return [subject_of_row(rows[name]) for name in wanted if name in rows]


__all__ = ["COLUMNS", "WINDOW", "KeysScreen"]
