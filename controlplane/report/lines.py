"""Lines of text, and the small pieces that every text is made of: times, counts, tables.

Who calls it: the other modules of ``report``; ``cli.output`` and the UI's theme turn a :class:`Style` into colour.
Guarantee: a :class:`Line` is safe for a terminal, whatever its text came from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import msgspec


class Style(StrEnum):
    """What a line is; how it looks is decided where it is shown."""

    PLAIN = "plain"
    HEADING = "heading"
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    BLOCKED = "blocked"
    MUTED = "muted"
    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


class Line(msgspec.Struct, frozen=True):
    """One line of text for people. Made safe for a terminal on construction."""

    text: str
    style: Style = Style.PLAIN

    def __post_init__(self) -> None:
        if not self.text.isprintable():
            msgspec.structs.force_setattr(self, "text", printable(self.text))


def printable(text: str) -> str:
    """The text with control, format (right-to-left marks) and line-separating characters written as escapes."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def age(then: datetime, now: datetime) -> str:
    """``45s``, ``5m``, ``7h``, ``3d``; a moment in the future counts as now."""
    return _span(now - then)


def moment(when: datetime) -> str:
    """A time in UTC, to the second."""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def time_left(due: datetime, now: datetime) -> str:
    """``6d 3h``, ``5h 55m``, ``25m``, or ``due now``. Counted down, so always rounded down."""
    minutes = int((due - now).total_seconds() // 60)
    if due <= now:
        return "due now"
    if minutes < 1:
        return "less than 1m"
    days, hours = divmod(minutes // 60, 24)
    if days:
        return f"{days}d {hours}h"
    return f"{hours}h {minutes % 60}m" if hours else f"{minutes}m"


def _span(span: timedelta) -> str:
    seconds = max(0, int(span.total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def some(names: Sequence[str]) -> str:
    if not names:
        return "-"
    more = f" +{len(names) - 2}" if len(names) > 2 else ""
    return ",".join(names[:2]) + more


def table(header: Sequence[str], rows: Sequence[tuple[Sequence[str], Style]], indent: str = "") -> Iterator[Line]:
    shown = [([printable(cell) for cell in cells], style) for cells, style in rows]
    widths = [max(len(cells[column]) for cells in (header, *(r for r, _ in shown))) for column in range(len(header))]
    for cells, style in ((header, Style.HEADING), *shown):
        text = "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))
        yield Line((indent + text).rstrip(), style)


def number(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
