"""What every list of objects has: a filter, a sort, a window of rows from the server, marks, wide columns.

Who uses it: the lists of keys, key stores, imports, deletions, principals and XKS proxies. The server filters, sorts
and cuts; the table draws what differs.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from controlplane.errors import InvalidInput
from controlplane.report import Line, Style
from controlplane.schema.filters import parse_filter
from tui.actions import Action
from tui.feed.questions import KeyList, ObjectList
from tui.screens.acting import Acting
from tui.screens.base import HIDDEN, Verdict
from tui.widgets.table import Table

UNHEALTHY = "is:unhealthy"


class Listing(Acting):
    """See the module. A screen has one table, and says with :meth:`question` what it asks."""

    NOUN: ClassVar[tuple[str, str]] = ("row", "rows")
    """One and several of what it lists."""
    SORTS: ClassVar[tuple[StrEnum, ...]] = ()
    """What it can be sorted by, in the order of the columns; a column of that id shows the arrow."""
    FILTER_HINT: ClassVar[str] = ""

    def __init__(self) -> None:
        super().__init__()
        self.filter = ""
        self.sort: StrEnum = self.SORTS[0]
        self.descending = False
        self.first = 0

    @property
    def table(self) -> Table:
        raise NotImplementedError

    def question(self) -> KeyList | ObjectList:
        """What is asked for the rows."""
        raise NotImplementedError

    def parse(self, text: str) -> object:
        """Raises :class:`InvalidInput` for a filter that means nothing here."""
        return parse_filter(text)

    def none_matches(self, total: int) -> tuple[Line, ...]:
        """Said where the filter leaves nothing."""
        one, several = self.NOUN
        return (
            Line(f"None of {total:,} {one if total == 1 else several} matches {self.filter}", Style.HEADING),
            Line("esc takes the filter away, / changes it", Style.MUTED),
        )

    def on_table_window_wanted(self, message: Table.WindowWanted) -> None:
        message.stop()
        self.first = message.offset
        self.watch_question(self.question())

    # ---- actions ---------------------------------------------------------------------------------------------------

    def can_go_back(self) -> bool:
        return bool(self.filter or self.table.marked)

    def specific(self, action: Action) -> Verdict:
        if action.id in ("open", "mark") and self.table.current is None:
            return HIDDEN
        return super().specific(action)

    def do_open(self) -> None:
        self.table.action_choose()

    def do_filter(self) -> None:
        self.prompt.open("filter", "/", self.filter, self.FILTER_HINT, check=self.parse)

    def filtered(self, text: str) -> None:
        text = " ".join(text.split())
        try:
            self.parse(text)
        except InvalidInput as error:
            self.host.say(error.message, wrong=True)
            return
        if text != self.filter:
            self.filter = text
            self.start_over()

    def do_unhealthy(self) -> None:
        terms = self.filter.split()
        left = [term for term in terms if term != UNHEALTHY]
        self.filtered(" ".join(left if UNHEALTHY in terms else [*terms, UNHEALTHY]))

    def do_sort(self) -> None:
        at = self.SORTS.index(self.sort) if self.sort in self.SORTS else -1
        self.sort, self.descending = self.SORTS[(at + 1) % len(self.SORTS)], False
        self.start_over()

    def do_reverse(self) -> None:
        self.descending = not self.descending
        self.start_over()

    def do_wide(self) -> None:
        self.table.wide = not self.table.wide

    def do_mark(self) -> None:
        self.table.mark()
        self.update_frame()

    def do_back(self) -> None:
        if self.table.marked:
            self.table.unmark()
        elif self.filter:
            self.filtered("")
        self.update_frame()

    def start_over(self) -> None:
        """Another filter or sort: ask for the first rows."""
        self.first = 0
        if not self.is_mounted:
            return  # it comes up with these
        self.table.start_over()
        self.table.sorted_by(self.sort.value, self.descending)
        if self.is_current:
            self.watch_question(self.question())
        self.update_frame()
