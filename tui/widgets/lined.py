"""The base of widgets that draw their own lines: tones of ``report`` as styles of the theme, and safe text.

Line-API widgets are used where there may be many lines: nothing is measured or laid out but what is on the screen.
"""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style as RichStyle
from textual.scroll_view import ScrollView
from textual.strip import Strip

from controlplane.report import Style, printable


class Lined(ScrollView, can_focus=True):
    """Knows the colour of every tone. ``app.tcss`` gives the component classes their colours."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"tone--{style.value}" for style in Style} | {"lined--cursor"}

    def scroll_now(self, y: int) -> None:
        """Scroll to a line at once; before the first layout too, when Textual would refuse."""
        self.scroll_to(y=y, animate=False, force=True)

    def tone(self, style: Style, *more: str) -> RichStyle:
        """The style of a tone, on a cursor or mark if ``more`` names one."""
        return self.get_component_rich_style(f"tone--{style.value}", *more)

    def padded(self, segments: list[Segment], width: int, style: RichStyle) -> Strip:
        """A line of exactly ``width`` cells."""
        return Strip(segments).adjust_cell_length(width, style)


@lru_cache(maxsize=4096)
def fitted(text: str, width: int, right: bool = False) -> str:
    """The text in exactly ``width`` cells; what is cut off is shown by an ellipsis. Control characters are escaped."""
    text = printable(text)
    length = cell_len(text)
    if length > width:
        return set_cell_size(text, width - 1) + "…" if width > 0 else ""
    return " " * (width - length) + text if right else text + " " * (width - length)
