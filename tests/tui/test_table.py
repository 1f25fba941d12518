"""The table: it draws again only what differs, keeps the cursor on its row, and asks for the rows it does not hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.app import App, ComposeResult

import tui.app
from controlplane.report import Line, Style
from tui.themes import DARK
from tui.widgets.lines import Lines, wrapped
from tui.widgets.table import Column, Row, Table

COLUMNS = (Column("NAME", "name"), Column("STATE", "state", keep=1), Column("ID", "id", wide=True))


def rows(names: Sequence[str], state: str = "Enabled") -> list[Row]:
    return [Row(name, ((name, Style.PLAIN), (state, Style.GOOD), (f"id-{name}", Style.MUTED))) for name in names]


class Plain(App[None]):
    """An app with our colours and nothing else."""

    CSS_PATH = Path(tui.app.__file__).with_name("app.tcss")

    def __init__(self) -> None:
        super().__init__()
        self.register_theme(DARK)
        self.theme = DARK.name
        self.animation_level = "none"


class OneTable(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.table = Table(COLUMNS)
        self.wanted: list[int] = []
        self.chosen: list[str] = []
        self.highlighted: list[str | None] = []

    def compose(self) -> ComposeResult:
        yield self.table

    def on_table_window_wanted(self, message: Table.WindowWanted) -> None:
        self.wanted.append(message.offset)

    def on_table_chosen(self, message: Table.Chosen) -> None:
        self.chosen.append(message.key)

    def on_table_highlighted(self, message: Table.Highlighted) -> None:
        self.highlighted.append(message.key)

    @property
    def lines(self) -> list[str]:
        return [self.table.render_line(y).text.rstrip() for y in range(self.table.size.height)]


NAMES = [f"key-{number:03}" for number in range(50)]


async def test_only_rows_that_differ_are_drawn_again() -> None:
    app = OneTable()
    async with app.run_test(size=(60, 20)) as pilot:
        app.table.show(rows(NAMES))
        await pilot.pause()
        before = app.table.lines_drawn
        app.table.show(rows(NAMES))
        assert app.table.lines_drawn == before, "nothing differs, nothing is drawn"
        changed = rows(NAMES)
        changed[3] = rows([NAMES[3]], "Pending")[0]
        changed[40] = rows([NAMES[40]], "Pending")[0]
        app.table.show(changed)
        assert app.table.lines_drawn == before + 1, "one on the screen, one below it"
        await pilot.pause()
        assert "Pending" in app.lines[4]


async def test_the_cursor_stays_on_its_row_whatever_comes_and_goes_above_it() -> None:
    app = OneTable()
    async with app.run_test(size=(60, 20)) as pilot:
        app.table.show(rows(NAMES))
        app.table.go_to("key-010")
        await pilot.pause()
        app.table.show(rows(["a-new", "b-new", *NAMES]))
        await pilot.pause()
        assert app.table.current == "key-010"
        app.table.show(rows(NAMES[5:]))
        await pilot.pause()
        assert app.table.current == "key-010"
        app.table.show(rows([*NAMES[5:10], *NAMES[11:]]))
        await pilot.pause()
        assert app.table.current == "key-011", "its row is gone: the one that took its place"


async def test_marks_stay_with_their_rows() -> None:
    app = OneTable()
    async with app.run_test(size=(60, 20)) as pilot:
        app.table.show(rows(NAMES))
        app.table.mark()
        app.table.mark()
        await pilot.pause()
        app.table.show(rows(["a-new", *NAMES]))
        assert app.table.marked == ("key-000", "key-001")
        assert [line[:2] for line in app.lines[2:4]] == [" *", " *"]


async def test_rows_outside_the_window_are_asked_for_and_show_as_dots() -> None:
    app = OneTable()
    async with app.run_test(size=(60, 20)) as pilot:
        app.table.focus()
        app.table.show(rows(NAMES), matching=12_431)
        await pilot.pause()
        assert not app.wanted
        await pilot.press("end")
        await pilot.pause()
        assert app.wanted == [12_431 - 50]
        assert app.table.current is None
        assert "·" in app.lines[-1]
        app.table.show(rows(NAMES), offset=12_431 - 50, matching=12_431)
        await pilot.pause()
        assert app.table.current == "key-049"
        assert app.lines[-1].startswith("› key-049") or app.lines[-1].startswith("›  key-049")


async def test_a_list_that_became_shorter_keeps_the_cursor_in_it() -> None:
    app = OneTable()
    async with app.run_test(size=(60, 20)) as pilot:
        app.table.focus()
        app.table.show(rows(NAMES))
        await pilot.press("end")
        app.table.show(rows(NAMES[:3]))
        await pilot.pause()
        assert app.table.current == "key-002"
        app.table.show([])
        await pilot.pause()
        assert app.table.current is None


async def test_enter_chooses_the_row_under_the_cursor() -> None:
    app = OneTable()
    async with app.run_test(size=(60, 20)) as pilot:
        app.table.focus()
        app.table.show(rows(NAMES))
        await pilot.press("down", "down", "enter")
        await pilot.pause()
        assert app.chosen == ["key-002"]
        await pilot.click(Table, offset=(4, 6))
        await pilot.click(Table, offset=(4, 6))
        assert app.chosen == ["key-002", "key-005"]


@pytest.mark.parametrize(("width", "shown"), [(60, "NAME     STATE"), (10, "NAME")])
async def test_columns_that_do_not_fit_go_the_least_needed_first(width: int, shown: str) -> None:
    app = OneTable()
    async with app.run_test(size=(width, 10)) as pilot:
        app.table.show(rows(NAMES))
        await pilot.pause()
        assert app.lines[0].strip() == shown


async def test_wide_shows_every_column() -> None:
    app = OneTable()
    async with app.run_test(size=(60, 10)) as pilot:
        app.table.show(rows(NAMES))
        app.table.wide = True
        await pilot.pause()
        assert "id-key-000" in app.lines[1]


async def test_hostile_text_moves_no_cursor() -> None:
    app = OneTable()
    async with app.run_test(size=(60, 10)) as pilot:
        app.table.show(rows(["evil\x1b[2J\u202egnp", "宽宽宽"]))
        await pilot.pause()
        assert "\x1b" not in app.lines[1]
        assert "\\x1b[2J\\u202e" in app.lines[1]
        assert all(cell_len(app.table.render_line(y).text) == app.table.size.width - 1 for y in range(3))


async def test_a_notice_stands_where_no_row_is() -> None:
    app = OneTable()
    async with app.run_test(size=(40, 10)) as pilot:
        app.table.show(rows(NAMES))
        app.table.notice(Line("There is no key yet.", Style.HEADING), Line("x " * 60))
        await pilot.pause()
        assert any("There is no key yet." in line for line in app.lines)
        assert app.table.current is None
        app.table.show(rows(NAMES))
        await pilot.pause()
        assert app.lines[1].startswith("› ")


# ---- lines -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "width", "parts"),
    [
        ("short", 10, ["short"]),
        ("one two three", 8, ["one two", "  three"]),
        ("  indented words here", 14, ["  indented", "    words here"]),
        ("arn:aws:kms:us-east-1", 8, ["arn:aws:", "  kms:us", "  -east-", "  1"]),
        ("", 5, [""]),
    ],
)
def test_long_lines_are_wrapped_under_their_indentation(text: str, width: int, parts: list[str]) -> None:
    assert [line.text for line in wrapped(Line(text), width)] == parts
    assert "".join("".join(parts).split()) == "".join(text.split()), "nothing is lost"


async def test_lines_keep_their_place_when_the_text_changes() -> None:
    class OneText(Plain):
        def compose(self) -> ComposeResult:
            yield Lines([Line(f"line {number}") for number in range(100)])

    app = OneText()
    async with app.run_test(size=(40, 10)) as pilot:
        lines = app.query_one(Lines)
        lines.focus()
        await pilot.press("pagedown")
        await pilot.pause()
        at = lines.scroll_offset.y
        assert at > 0
        lines.show([Line(f"other {number}") for number in range(100)])
        await pilot.pause()
        assert lines.scroll_offset.y == at
