"""What every reader hands on: raw documents, where they stand, and what no document can hold.

Guarantee of :func:`unfit`: a value without findings is built of dicts with text keys, lists, text, 64-bit integers,
finite floats, booleans and None, nested at most ``MAX_DEPTH`` deep. So what follows can be recursive, and everything
can be stored as JSON.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import msgspec

from controlplane.schema.mistakes import Mistake, Path

MAX_DEPTH = 64

_NOT_TEXT = re.compile("[\x00\ud800-\udfff]")
_INTEGERS = range(-(2**63), 2**63)

Lines = list[tuple[Path, int]]
"""Fields and items in the order of the text, each with its line counted from 0; a field may stand twice."""


class Passage(msgspec.Struct, frozen=True):
    """Where one document stands: characters ``start`` to ``end`` of ``text``, beginning on ``line``.

    ``find`` is the format's way to find the lines of fields. It reads the one document again, and only when asked.
    """

    text: str
    start: int
    end: int
    line: int
    find: Callable[[str], Lines]

    def lines(self) -> dict[Path, int]:
        """The line of every field and item, as far as they can be found; the first one where a field stands twice."""
        lines: dict[Path, int] = {}
        for path, offset in self.find(self.text[self.start : self.end]):
            lines.setdefault(path, self.line + offset)
        return lines

    def repeated(self) -> Lines:
        """Every field that stands twice, with the line of the second one. Fields below it are not told again."""
        seen: set[Path] = set()
        found: Lines = []
        for path, offset in self.find(self.text[self.start : self.end]):
            if path in seen and all(path[: len(above)] != above for above, _ in found):
                found.append((path, self.line + offset))
            seen.add(path)
        return found


class RawDocument(msgspec.Struct, frozen=True):
    """One document as read. With ``mistakes`` its value says nothing. ``number`` is None if the whole file is meant."""

    number: int | None
    value: object
    passage: Passage
    mistakes: tuple[Mistake, ...] = ()


def nothing(_: str) -> Lines:
    """The lines of a text that cannot be read."""
    return []


def broken(text: str, line: int, message: str, hint: str) -> RawDocument:
    """A file that cannot be read as a whole because of what stands on ``line``."""
    passage = Passage(text, 0, len(text), line, nothing)
    return RawDocument(None, None, passage, (Mistake(message, (), hint, line),))


def too_deep(text: str) -> RawDocument:
    return broken(text, 1, f"this is nested more than {MAX_DEPTH} deep", "no document needs that")


def not_a_set(text: str, documents: object, beside: dict[str, Any]) -> RawDocument:
    """``documents`` is no list, or something stands beside it."""
    line = line_of(text, max(text.find("documents"), 0))
    if not isinstance(documents, list):
        return broken(text, line, "`documents` is not a list", "write one document, or a list of documents")
    hint = "a file holds one document, or `documents` and nothing else"
    return broken(text, line, f"`{next(iter(beside))[:60]}` stands beside `documents`", hint)


def line_of(text: str, index: int) -> int:
    """The line of a character, counted from 1."""
    return text.count("\n", 0, index) + 1


def unfit(value: object) -> list[Mistake]:
    """What TOML and JSON can say and a document cannot hold."""
    found: list[Mistake] = []
    pending: list[tuple[object, Path]] = [(value, ())]
    while pending:
        item, path = pending.pop()
        if isinstance(item, dict | list):
            if len(path) >= MAX_DEPTH:
                return [Mistake(f"this is nested more than {MAX_DEPTH} deep", hint="no document needs that")]
            members = item.items() if isinstance(item, dict) else enumerate(item)
            for key, member in members:
                if isinstance(key, str) and _NOT_TEXT.search(key):
                    found.append(Mistake("a key holds a NUL or half a character", path, "remove it"))
                pending.append((member, (*path, key)))
        elif isinstance(item, str):
            if not item.isascii() or "\0" in item:
                found += [Mistake("this holds a NUL or half a character", path, "remove it")] * bool(
                    _NOT_TEXT.search(item)
                )
        elif isinstance(item, bool) or item is None:
            continue
        elif isinstance(item, int | float):
            found += unfit_number(item, path)
        else:
            found.append(Mistake("this is a date or time", path, "put it in quotes"))
    return found


def unfit_number(number: float, path: Path, line: int | None = None) -> list[Mistake]:
    """The same for one number: JSON has no infinity, and the store no more than 64 bits."""
    if isinstance(number, int):
        if number not in _INTEGERS:
            return [Mistake("this number does not fit into 64 bits", path, "put text in quotes", line)]
    elif not math.isfinite(number):
        return [Mistake("this is not a finite number", path, "put text in quotes", line)]
    return []
