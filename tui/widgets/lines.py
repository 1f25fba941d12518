"""A text of marked lines (``report.Line``) to scroll through: descriptions, YAML, plans, events, help."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.strip import Strip

from controlplane.report import Line, Style
from tui.widgets.lined import Lined, fitted


class Lines(Lined):
    """Shows lines; long ones are wrapped under their indentation. Where it stands is kept when the text changes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "by(-1)", show=False),
        Binding("down,j", "by(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home,g", "by(-1000000)", show=False),
        Binding("end,G", "by(1000000)", show=False),
    ]

    def __init__(self, lines: Iterable[Line] = (), **options: Any) -> None:
        super().__init__(**options)
        self._lines: tuple[Line, ...] = tuple(lines)
        self._wrapped: list[Line] = []
        self._make: Callable[[int], Iterable[Line]] | None = None

    @property
    def text(self) -> str:
        """Everything, unwrapped."""
        return "\n".join(line.text for line in self._lines)

    def show(self, lines: Iterable[Line], *, top: bool = False) -> None:
        """Replace the text. ``top`` goes to its beginning, for another subject."""
        new, self._make = tuple(lines), None
        if top:
            self.scroll_now(0)
        if new == self._lines:
            return
        self._lines = new
        self._wrap()

    def action_by(self, lines: int) -> None:
        self.scroll_now(self.scroll_offset.y + lines)

    def action_page(self, pages: int) -> None:
        self.action_by(pages * max(1, self.scrollable_content_region.height - 1))

    def fit(self, make: Callable[[int], Iterable[Line]]) -> None:
        """Show lines that are made for a width, now and whenever the width changes."""
        self._make = make
        self._wrap()

    def on_resize(self) -> None:
        self._wrap()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self.refresh()

    def _wrap(self) -> None:
        width = max(1, self.scrollable_content_region.width)
        if self._make is not None:
            self._lines = tuple(self._make(width))
        self._wrapped = [part for line in self._lines for part in wrapped(line, width)]
        self.virtual_size = Size(width, len(self._wrapped))
        self.refresh()

    def render_line(self, y: int) -> Strip:
        index = y + self.scroll_offset.y
        width = self.scrollable_content_region.width
        if not 0 <= index < len(self._wrapped):
            return Strip.blank(width, self.rich_style)
        line = self._wrapped[index]
        style = self.tone(line.style)
        return self.padded([Segment(fitted(line.text, width), style)], width, style)


def wrapped(line: Line, width: int, hang: int = 2) -> Iterator[Line]:
    """The line in pieces of at most ``width`` cells, broken at spaces where there are some; those after the first are
    indented ``hang`` cells more than it."""
    if cell_len(line.text) <= width:
        yield line
        return
    bare = line.text.lstrip(" ")
    indent = " " * min(len(line.text) - len(bare) + hang, width // 2)
    rest, start = line.text, ""
    while rest:
        cut = _break(rest, width - len(start))
        yield Line((start + rest[:cut]).rstrip(), line.style)
        rest, start = rest[cut:].lstrip(" "), indent


def _break(text: str, width: int) -> int:
    """How many characters of the text go on one line."""
    if cell_len(text) <= width:
        return len(text)
    fit = used = 0
    for character in text:
        used += cell_len(character)
        if used > width:
            break
        fit += 1
    indent = len(text) - len(text.lstrip(" "))
    space = text.rfind(" ", indent + 1, fit + 1)
    return space if space > indent else max(fit, 1)


def plain(texts: Sequence[str], style: Style = Style.PLAIN) -> list[Line]:
    """Texts as lines of one style."""
    return [Line(text, style) for text in texts]
