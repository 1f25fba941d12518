"""Lists of objects that are no keys: principals and XKS proxies here, key stores in ``stores``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from textual.widget import Widget

from controlplane.report import Line, Style, age, shown_condition
from controlplane.schema.browse import ObjectRows, ObjectSort
from controlplane.schema.filters import parse_object_filter
from controlplane.schema.meta import AnyObject, Kind, Principal
from tui import words
from tui.actions import LIST, LOOK
from tui.cards import card
from tui.feed.messages import Answer, Trouble
from tui.feed.questions import Detail, Gone, ObjectList, OneObject
from tui.screens.acting import ANY, Subject, subject_of
from tui.screens.lists import Listing
from tui.widgets.lines import Lines
from tui.widgets.table import Column, Row, Table


class ObjectsScreen(Listing):
    """A list of objects of one kind, with the one under the cursor beside it."""

    kind: ClassVar[Kind]
    columns: ClassVar[tuple[Column, ...]]
    SORTS: ClassVar[tuple[StrEnum, ...]] = (ObjectSort.NAME, ObjectSort.CREATED, ObjectSort.CONDITION)
    FILTER_HINT: ClassVar[str] = "word  !not  -l label=value  -f fuzzy  is:unhealthy"

    def __init__(self) -> None:
        super().__init__()
        self.page: ObjectRows | None = None
        self._detail: Detail | None = None

    def body(self) -> Iterable[Widget]:
        table = Table(self.columns, id="objects")
        table.notice(Line(f"Reading {self.NOUN[1]}…", Style.MUTED))
        yield table
        yield Lines(id="pane", classes="pane")

    @property
    def table(self) -> Table:
        return self.query_one("#objects", Table)

    def crumbs(self) -> tuple[str, str]:
        one, several = self.NOUN
        where = f" {several}{f'  /{self.filter}' if self.filter else ''}"
        if self.page is None:
            return where, ""
        marked = f"{len(self.table.marked)} marked · " if self.table.marked else ""
        total, matching = self.page.total, self.page.matching
        count = f"{matching:,} of {total:,}" if self.filter else f"{total:,}"
        return where, f"{marked}{count} {one if total == 1 else several}"

    def ask(self) -> None:
        self.watch_question(self.question())
        self._ask_detail()

    def question(self) -> ObjectList:
        return ObjectList(self.kind, self.filter, ObjectSort(self.sort), self.descending, self.first)

    def parse(self, text: str) -> object:
        return parse_object_filter(text)

    def answered(self, message: Answer) -> None:
        match message.value:
            case ObjectRows() as page:
                self.page = page
                self._show_rows(page)
            case Detail() as detail:
                self._detail = detail
                self.query_one("#pane", Lines).show(card(detail, self.host.now()))
            case Gone(message=why):
                self._detail = None
                self.query_one("#pane", Lines).show([Line(why, Style.MUTED)])

    def failed(self, message: Trouble) -> None:
        if message.slot == "" and (self.page is None or not self.page.items):
            lines = [Line(f"The {self.NOUN[1]} could not be read.", Style.WARNING), Line(message.error.message)]
            self.table.notice(*lines)

    def _show_rows(self, page: ObjectRows) -> None:
        now = self.host.now()
        if page.items:
            self.table.show([self.row(each, now) for each in page.items], offset=page.offset, matching=page.matching)
        elif page.offset and page.matching:
            self.first = 0  # the list became shorter than where we were
            self.ask()
        else:
            self.table.notice(*(self.none_matches(page.total) if self.filter else self.nothing()))

    def nothing(self) -> Sequence[Line]:
        """What is said where there is no object."""
        return (Line(f"There is no {self.NOUN[0]}."),)

    def row(self, item: AnyObject, now: datetime) -> Row:
        raise NotImplementedError

    # ---- the cursor ------------------------------------------------------------------------------------------------

    def chosen_items(self) -> Sequence[AnyObject]:
        """The marked ones, or the one under the cursor."""
        if self.page is None:
            return ()
        items = {item.metadata.name: item for item in self.page.items}
        wanted = self.table.marked or tuple(name for name in (self.table.current,) if name is not None)
        return [items[name] for name in wanted if name in items]

    def subjects(self) -> Sequence[Subject]:
        return [subject_of(item) for item in self.chosen_items()]

    def detail(self) -> Detail | None:
        return self._detail

    def on_table_highlighted(self, message: Table.Highlighted) -> None:
        message.stop()
        self._ask_detail()
        self.update_frame()

    def _ask_detail(self) -> None:
        name = self.table.current
        if name is None:
            self.host.feed.drop(self, "detail")
            self._detail = None
            self.query_one("#pane", Lines).show(())
        elif self.is_current:
            self.watch_question(OneObject(self.kind, name), "detail")

    def on_table_chosen(self, message: Table.Chosen) -> None:
        message.stop()
        self.entered(message.key)

    def entered(self, name: str) -> None:
        """Enter on a row."""
        self.host.open(self.kind, name)


class PrincipalsScreen(ObjectsScreen):
    """Who may call the server."""

    section = "principals"
    kind = Kind.PRINCIPAL
    NOUN: ClassVar[tuple[str, str]] = ("principal", "principals")
    SORTS: ClassVar[tuple[StrEnum, ...]] = (
        ObjectSort.NAME,
        ObjectSort.TYPE,
        ObjectSort.CREATED,
        ObjectSort.CONDITION,
    )
    about = ("Users and roles that may call the server. They are declared in files and applied.",)
    OFFERS: ClassVar[tuple[str, ...]] = ("open", *LOOK, *ANY, *LIST)
    columns = (
        Column("NAME", "name", most=40, least=12),
        Column("TYPE", "type", keep=2),
        Column("ADMINISTRATOR", "administrator"),
        Column("POLICIES", "policies", keep=3, most=40),
        Column("AGE", "created", keep=4, right=True),
        Column("CONDITION", "condition", keep=1),
    )

    def row(self, item: AnyObject, now: datetime) -> Row:
        assert isinstance(item, Principal)
        administrator = ("! yes", Style.WARNING) if item.spec.administrator else ("no", Style.MUTED)
        return Row(
            item.metadata.name,
            (
                (item.metadata.name, Style.PLAIN),
                (item.spec.type, Style.PLAIN),
                administrator,
                (", ".join(item.spec.policies) or "-", Style.MUTED),
                (age(item.metadata.created_at, now), Style.MUTED),
                words.condition("Paused" if subject_of(item).paused else shown_condition(item)),
            ),
        )


class ProxiesScreen(ObjectsScreen):
    """XKS proxies: where keys of this server serve as external keys of another KMS."""

    section = "proxies"
    kind = Kind.XKS_PROXY
    NOUN: ClassVar[tuple[str, str]] = ("XKS proxy", "XKS proxies")
    about = (
        "XKS proxies: keys of this server as external keys of another KMS. They are declared in files and applied.",
    )
    OFFERS: ClassVar[tuple[str, ...]] = ("open", *LOOK, *ANY, *LIST)
    columns = (
        Column("NAME", "name", most=40, least=12),
        Column("AGE", "created", keep=2, right=True),
        Column("CONDITION", "condition", keep=1, least=20),
    )

    def row(self, item: AnyObject, now: datetime) -> Row:
        return Row(
            item.metadata.name,
            (
                (item.metadata.name, Style.PLAIN),
                (age(item.metadata.created_at, now), Style.MUTED),
                words.condition(shown_condition(item)),
            ),
        )
