"""A table of rows that the server filtered, sorted and counted: a window of a list that may be very long.

It draws its own lines (see ``lined``), so its cost is what is on the screen. Guarantees: new rows are compared with
those it has and only lines that differ are drawn again; the cursor stays on its row, whatever comes or goes above it;
marks stay with their rows. Rows outside of the window are asked for with :class:`Table.WindowWanted` while the cursor
gets near them and show as dots until they are there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import msgspec
from rich.cells import cell_len
from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.events import Click
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.strip import Strip

from controlplane.report import Line, Style, printable
from tui.widgets.lined import Lined, fitted
from tui.widgets.lines import wrapped
from tui.words import Cell

GAP: Final = "  "
MARGIN: Final = 2
"""Cells before the first column: the cursor and the mark."""


class Column(msgspec.Struct, frozen=True):
    """One column. ``keep`` 0 stays always; of the others the highest goes first where there is no room."""

    title: str
    id: str
    keep: int = 0
    right: bool = False
    most: int = 40
    least: int = 4
    wide: bool = False
    """Shown only in wide mode."""


class Row(msgspec.Struct, frozen=True):
    """``key`` is what the row stands for, unique in the list; a cell for every column, wide ones too."""

    key: str
    cells: tuple[Cell, ...]


class Table(Lined):
    """See the module."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home,g", "first", show=False),
        Binding("end,G", "last", show=False),
        Binding("enter", "choose", show=False),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {"table--header", "table--cursor", "table--marked"}

    wide: reactive[bool] = reactive(False)

    class Highlighted(Message):
        """The cursor is on another row, or on none."""

        def __init__(self, table: Table, key: str | None) -> None:
            super().__init__()
            self.table, self.key = table, key

        @property
        def control(self) -> Table:
            return self.table

    class Chosen(Message):
        """Enter, or a click on the row under the cursor."""

        def __init__(self, table: Table, key: str) -> None:
            super().__init__()
            self.table, self.key = table, key

        @property
        def control(self) -> Table:
            return self.table

    class WindowWanted(Message):
        """Rows that are not here should begin at ``offset``."""

        def __init__(self, table: Table, offset: int) -> None:
            super().__init__()
            self.table, self.offset = table, offset

        @property
        def control(self) -> Table:
            return self.table

    def __init__(self, columns: Sequence[Column], *, one_of_several: bool = False, **options: Any) -> None:
        """``one_of_several`` on a screen shows its cursor only while it has the focus."""
        super().__init__(**options)
        self._one_of_several = one_of_several
        self._columns = tuple(columns)
        self._rows: tuple[Row, ...] = ()
        self._offset = 0
        self._matching = 0
        self._cursor = 0
        self._marked: set[str] = set()
        self._notice: tuple[Line, ...] = ()
        self._sorted_by: tuple[str, bool] | None = None
        self._widths: dict[str, int] = {}
        self._shown: tuple[tuple[int, Column, int], ...] = ()
        self._highlighted: str | None = None
        self._asked_for: int | None = None
        self.lines_drawn = 0
        """How many lines were asked to be drawn again because their row changed; tests hold it small."""

    # ---- what it shows ---------------------------------------------------------------------------------------------

    @property
    def rows(self) -> tuple[Row, ...]:
        return self._rows

    @property
    def matching(self) -> int:
        """Rows of the whole list."""
        return self._matching

    @property
    def current(self) -> str | None:
        """The key of the row under the cursor."""
        row = self._row(self._cursor)
        return row.key if row is not None else None

    @property
    def marked(self) -> tuple[str, ...]:
        """Keys that are marked, in the order of the list where they are in the window."""
        here = [row.key for row in self._rows if row.key in self._marked]
        return (*here, *sorted(self._marked.difference(here)))

    def show(self, rows: Sequence[Row], *, offset: int = 0, matching: int | None = None) -> None:
        """Replace the window. Only what differs is drawn again."""
        before, before_offset, before_matching = self._rows, self._offset, self._matching
        self._rows, self._offset = tuple(rows), offset
        self._matching = len(rows) + offset if matching is None else matching
        self._asked_for = None
        had_notice, self._notice = bool(self._notice), ()
        moved = self._follow_cursor()
        remeasured = self._measure()
        if self._matching != before_matching:
            self.virtual_size = Size(self.virtual_size.width, self._matching + 1)
        if remeasured or moved or had_notice or not before:
            self.refresh()
        else:
            self._redraw_differences(before, before_offset)
        self._tell_highlighted()

    def notice(self, *lines: Line) -> None:
        """Show these lines instead of rows: loading, nothing there, failed."""
        self._rows, self._offset, self._matching, self._cursor = (), 0, 0, 0
        self._notice = lines
        self.virtual_size = Size(self.virtual_size.width, 1)
        self.refresh()
        self._tell_highlighted()

    def start_over(self) -> None:
        """Another list: the cursor stays on its row if it is in it, or goes to the first. Widths are measured anew."""
        self._cursor = 0
        self._widths = {}
        self._asked_for = None
        self.scroll_now(0)

    def sorted_by(self, column: str, descending: bool) -> None:
        """Show an arrow at this column."""
        self._sorted_by = (column, descending)
        self._measure()
        self.refresh()

    def go_to(self, key: str) -> None:
        """Put the cursor on a row, if it is in the window."""
        for index, row in enumerate(self._rows):
            if row.key == key:
                self._move_to(self._offset + index)
                return

    def mark(self) -> None:
        """Mark the row under the cursor, or take its mark away, and go on to the next."""
        key = self.current
        if key is None:
            return
        self._marked ^= {key}
        self._refresh_row(self._cursor)
        self.action_move(1)

    def unmark(self) -> None:
        if self._marked:
            self._marked.clear()
            self.refresh()

    # ---- moving ----------------------------------------------------------------------------------------------------

    def action_move(self, by: int) -> None:
        self._move_to(self._cursor + by)

    def action_page(self, by: int) -> None:
        self._move_to(self._cursor + by * max(1, self._height - 1))

    def action_first(self) -> None:
        self._move_to(0)

    def action_last(self) -> None:
        self._move_to(self._matching - 1)

    def action_choose(self) -> None:
        if (key := self.current) is not None:
            self.post_message(self.Chosen(self, key))

    def on_click(self, event: Click) -> None:
        if event.y < 1:
            return
        index = event.y - 1 + self.scroll_offset.y
        if index >= self._matching:
            return
        again = index == self._cursor
        self._move_to(index)
        if again:
            self.action_choose()

    def _move_to(self, index: int) -> None:
        index = max(0, min(index, self._matching - 1))
        if index == self._cursor:
            return
        self._refresh_row(self._cursor)
        self._cursor = index
        self._refresh_row(index)
        self._reveal(index)
        self._want_window()
        self._tell_highlighted()

    @property
    def _height(self) -> int:
        """Lines for rows."""
        return max(1, self.scrollable_content_region.height - 1)

    def _reveal(self, index: int) -> None:
        top = self.scroll_offset.y
        if index < top:
            self.scroll_now(index)
        elif index >= top + self._height:
            self.scroll_now(index - self._height + 1)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._want_window()

    def _want_window(self) -> None:
        """Ask for other rows when the screen comes near the end of those that are here."""
        held = len(self._rows)
        if not held or held >= self._matching:
            return
        top, bottom = self.scroll_offset.y, min(self.scroll_offset.y + self._height, self._matching)
        if top >= self._offset and bottom <= self._offset + held:
            return
        offset = max(0, min(top - (held - self._height) // 2, self._matching - held))
        if offset not in (self._offset, self._asked_for):
            self._asked_for = offset
            self.post_message(self.WindowWanted(self, offset))

    def _tell_highlighted(self) -> None:
        if self.current != self._highlighted:
            self._highlighted = self.current
            self.post_message(self.Highlighted(self, self._highlighted))

    def _follow_cursor(self) -> bool:
        """Keep the cursor on its row, at its place on the screen. Whether it moved."""
        before = self._cursor
        if self._highlighted is not None and (row := self._row(before)) is not None and row.key != self._highlighted:
            found = next((i for i, each in enumerate(self._rows) if each.key == self._highlighted), None)
            if found is not None:
                self._cursor = self._offset + found
        self._cursor = max(0, min(self._cursor, self._matching - 1))
        if self._cursor == before:
            return False
        self.virtual_size = Size(self.virtual_size.width, self._matching + 1)
        if self.scroll_offset.y:  # at the top, what is new above it should be seen
            self.scroll_now(max(0, self.scroll_offset.y + self._cursor - before))
        self._reveal(self._cursor)
        return True

    # ---- drawing ---------------------------------------------------------------------------------------------------

    def watch_wide(self) -> None:
        self._widths = {}
        self._measure()
        self.refresh()

    def on_resize(self) -> None:
        self._measure()
        self._reveal(self._cursor)
        self.refresh()

    def watch_has_focus(self, value: bool) -> None:
        super().watch_has_focus(value)
        self._refresh_row(self._cursor)

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self.refresh()

    def _row(self, index: int) -> Row | None:
        at = index - self._offset
        return self._rows[at] if 0 <= at < len(self._rows) else None

    def _redraw_differences(self, before: tuple[Row, ...], before_offset: int) -> None:
        if self._offset == before_offset and len(self._rows) == len(before):
            for index, (old, new) in enumerate(zip(before, self._rows, strict=True), self._offset):
                if old != new:
                    self._refresh_row(index)
            return
        self.refresh()

    def _refresh_row(self, index: int) -> None:
        y = index + 1 - self.scroll_offset.y
        if 1 <= y <= self._height:
            self.lines_drawn += 1
            self.refresh_line(index + 1)

    def _measure(self) -> bool:
        """Choose columns and widths. They grow with what comes and do not shrink, so that live lists stand still."""
        width = self.scrollable_content_region.width
        if width <= 0:
            return False
        candidates = [(i, c) for i, c in enumerate(self._columns) if self.wide or not c.wide]
        for index, column in candidates:
            title = cell_len(self._title(column))
            longest = max((cell_len(printable(row.cells[index][0])) for row in self._rows), default=0)
            self._widths[column.id] = max(self._widths.get(column.id, 0), title, min(longest, column.most))
        shown = list(candidates)

        def needed() -> int:
            return MARGIN + sum(self._widths[c.id] for _, c in shown) + len(GAP) * (len(shown) - 1)

        def squeezed() -> int:
            return sum(max(0, self._widths[c.id] - max(c.least, cell_len(self._title(c)))) for _, c in shown)

        while len(shown) > 1 and needed() - squeezed() > width:
            goes = max(shown, key=lambda each: each[1].keep)
            if goes[1].keep == 0:
                break
            shown.remove(goes)
        widths = {c.id: self._widths[c.id] for _, c in shown}
        over = needed() - width
        while over > 0:
            column = max((c for _, c in shown), key=lambda c: widths[c.id] - max(c.least, cell_len(self._title(c))))
            if widths[column.id] <= max(column.least, cell_len(self._title(column))):
                break
            widths[column.id] -= 1
            over -= 1
        new = tuple((index, column, widths[column.id]) for index, column in shown)
        changed, self._shown = new != self._shown, new
        self.virtual_size = Size(width, self._matching + 1)
        return changed

    def _title(self, column: Column) -> str:
        if self._sorted_by is not None and self._sorted_by[0] == column.id:
            return f"{column.title} {'↓' if self._sorted_by[1] else '↑'}"
        return column.title

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        if self._notice:
            return self._notice_line(y, width)
        if y == 0:
            style = self.get_component_rich_style("table--header")
            titles = (fitted(self._title(column), size, column.right) for _, column, size in self._shown)
            return self.padded([Segment(" " * MARGIN + GAP.join(titles), style)], width, style)
        index = y - 1 + self.scroll_offset.y
        if index >= self._matching:
            return Strip.blank(width, self.rich_style)
        return self._row_line(index, width)

    def _row_line(self, index: int, width: int) -> Strip:
        row = self._row(index)
        here = index == self._cursor and (self.has_focus or not self._one_of_several)
        on = ("table--cursor",) if here else ()
        if row is None:
            style = self.tone(Style.MUTED, *on)
            return self.padded([Segment(" " * MARGIN + "·", style)], width, style)
        if row.key in self._marked:
            on = (*on, "table--marked")
        base = self.tone(Style.PLAIN, *on)
        pointer = ("›" if here else " ") + ("*" if row.key in self._marked else " ")
        segments = [Segment(pointer, base)]
        for number, (at, column, size) in enumerate(self._shown):
            text, tone = row.cells[at]
            segments.append(Segment(fitted(text, size, column.right), self.tone(tone, *on)))
            if number < len(self._shown) - 1:
                segments.append(Segment(GAP, base))
        return self.padded(segments, width, base)

    def _notice_line(self, y: int, width: int) -> Strip:
        """The notice as one block, a third down the table, wrapped to its width."""
        lines = [part for line in self._notice for part in wrapped(line, max(1, width - 4), hang=0)]
        at = y - max(1, (self.scrollable_content_region.height - len(lines)) // 3)
        if not 0 <= at < len(lines):
            return Strip.blank(width, self.rich_style)
        indent = max(2, (width - max(cell_len(line.text) for line in lines)) // 2)
        style = self.tone(lines[at].style)
        return self.padded([Segment(" " * indent + printable(lines[at].text), style)], width, style)
