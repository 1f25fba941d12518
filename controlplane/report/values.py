"""Values of fields: one, or the difference of two, on as many lines as they need.

Who calls it: ``plans`` and ``objects``. Guarantee: what is shortened says so, and a difference is never hidden by it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from difflib import SequenceMatcher, unified_diff
from typing import Any, Final

from controlplane.report.lines import Line, Style, number, printable

_WIDE = 100  # characters of a value on one line
_TALL = 40  # lines of a text or of a difference
_STYLES: Final = {"+": Style.CREATE, "-": Style.DELETE}
_CUT = 60  # characters that stay of each end of a long value
MAX_PAD = 44
"""A single long path must not push every value off the screen."""


def one_value(start: str, value: Any, style: Style, note: str = "") -> Iterator[Line]:
    lines = _text_lines(value)
    if lines is None:
        yield Line(f"{start} {shown_value(value)}{note}", style)
    elif len(lines) > _TALL:
        yield Line(f"{start} (text of {len(lines):,} lines, {len(value):,} characters){note}", style)
    else:
        yield Line(f"{start}{note}", style)
        for line in lines:
            yield Line(f"        | {_shortened(line)}", style)


def two_values(start: str, before: Any, after: Any, style: Style, note: str) -> Iterator[Line]:
    old, new = _text_lines(before), _text_lines(after)
    if old is not None or new is not None:
        old = old if old is not None else [shown_value(before)]
        new = new if new is not None else [shown_value(after)]
        yield from _text_difference(start, old, new, style, note)
        return
    if isinstance(before, list) and isinstance(after, list) and len(_json(before)) + len(_json(after)) > _WIDE:
        yield from _list_difference(start, before, after, style, note)
        return
    shown = shown_value(before), shown_value(after)
    if shown[0] == shown[1] or _json(before) != shown[0] or _json(after) != shown[1]:
        shown = _around_difference(_json(before), _json(after))
    yield Line(f"{start} {shown[0]} -> {shown[1]}{note}", style)


def _text_difference(start: str, old: list[str], new: list[str], style: Style, note: str) -> Iterator[Line]:
    difference = list(unified_diff(old, new, lineterm="", n=3))[2:]
    if not difference:
        yield Line(f"{start} (the same JSON, formatted otherwise){note}", style)
        return
    added = sum(line.startswith("+") for line in difference)
    removed = sum(line.startswith("-") for line in difference)
    if len(difference) > _TALL or any(len(line) > 2 * _WIDE for line in difference):
        counts = f"{number(added, 'line')} added, {removed:,} removed"
        yield Line(f"{start} (text: {counts}; use --json for all){note}", style)
        return
    yield Line(f"{start}{note}", style)
    for line in difference:
        mark = Style.CREATE if line[0] == "+" else Style.DELETE if line[0] == "-" else Style.MUTED
        yield Line(f"        | {line}", mark)


def _list_difference(start: str, before: list[Any], after: list[Any], style: Style, note: str) -> Iterator[Line]:
    old, new = [_json(item) for item in before], [_json(item) for item in after]
    yield Line(f"{start} [{note}", style)
    same = 0
    for tag, i, j, m, n in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            same += j - i
            continue
        for mark, items in (("-", old[i:j]), ("+", new[m:n])):
            for item in items:
                yield Line(f"          {mark} {_shortened(item)}", _STYLES[mark])
    if same:
        yield Line(f"            # ({number(same, 'unchanged element')} hidden)", Style.MUTED)
    yield Line("      ]", style)


def _text_lines(value: Any) -> list[str] | None:
    """Lines of a text that is better read as such: several lines, or a policy on one long line. None for the rest."""
    if not isinstance(value, str):
        return None
    if "\n" in value:
        return value.expandtabs(4).removesuffix("\n").split("\n")
    if len(value) > _WIDE and value.startswith("{"):
        return _pretty(value)
    return None


def _pretty(text: str) -> list[str] | None:
    """A JSON object over several lines. None if a name stands twice in it: printed anew it would say less."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) != len(pairs):
            raise ValueError
        return dict(pairs)

    try:
        value = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError):
        return None
    return json.dumps(value, indent=2, ensure_ascii=False).split("\n")


def shown_path(path: str) -> str:
    """A tag may be named like a piece of a plan; then it is quoted."""
    return path if re.fullmatch(r"[\w.:/@+-]+", path) else _json(path)


def _json(value: Any) -> str:
    if value is None:
        return "(none)"
    return printable(json.dumps(value, ensure_ascii=False))


def shown_value(value: Any) -> str:
    return _shortened(_json(value))


def _shortened(text: str) -> str:
    if len(text) <= 2 * _WIDE:
        return text
    return f"{text[:_CUT]}…{text[-_CUT:]} ({len(text):,} characters)"


def _around_difference(before: str, after: str) -> tuple[str, str]:
    """Both texts from shortly before to shortly after where they differ."""
    first = next(
        (i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after))
    )
    start = max(0, first - 20)

    def cut(text: str) -> str:
        window = text[start : start + 2 * _CUT]
        tail = f"… ({len(text):,} characters)" if len(text) > start + len(window) else ""
        return f"{'…' if start else ''}{window}{tail}"

    return cut(before), cut(after)
