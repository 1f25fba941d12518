"""Wildcards: ``*`` stands for any run of characters, none included, ``?`` for exactly one. Nothing else is special.

Who calls it: ``document`` for actions and resources, ``conditions`` for the ``Like`` and ``Arn`` operators. Guarantee:
a match never backtracks, whoever wrote pattern and text. Parts between stars are looked for from left to right, each
one once: a part without ``?`` with ``str.find``, a part with ``?`` with the bit-parallel search of Baeza-Yates and
Gonnet ("A new approach to text searching", CACM 1992), one step per character of the text. A regular expression with
several ``.*`` would take time that grows with a power of the text's length.

Source: IAM User Guide, "IAM JSON policy elements: Resource" and "Condition operators".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum

MAX_PATTERN_CHARACTERS = 2_048
"""Length of a string that holds wildcards; ARNs are not longer. Bounds the memory of a compiled pattern."""


class Wild(Enum):
    """A wildcard among literal text."""

    RUN = "*"
    ONE = "?"


Pattern = Callable[[str], bool]
"""Whether a text matches."""


def split(text: str) -> list[str | Wild]:
    """Literal text and wildcards, in order."""
    tokens: list[str | Wild] = []
    begin = 0
    for position, character in enumerate(text):
        if character in "*?":
            if position > begin:
                tokens.append(text[begin:position])
            tokens.append(Wild(character))
            begin = position + 1
    if begin < len(text):
        tokens.append(text[begin:])
    return tokens


def pattern(tokens: Iterable[str | Wild]) -> Pattern:
    """Compile. What most policies write (an exact text, ``*``, ``prefix*``) gets the shortest test."""
    parts: list[list[str | Wild]] = [[]]
    for token in tokens:
        if token is Wild.RUN:
            parts.append([])
        else:
            parts[-1].append(token)
    pieces = [_piece(part) for part in parts]
    if len(pieces) == 1:
        return _whole(pieces[0])
    head, *middle, tail = pieces
    middle = [piece for piece in middle if piece]
    if not middle and isinstance(head, str) and isinstance(tail, str):
        return _ends(head, tail)
    return _Chain(head, middle, tail)


def like(text: str) -> Pattern:
    """Compile a text in which ``*`` and ``?`` are wildcards."""
    return pattern(split(text))


class _Holes:
    """Characters of which some may be anything."""

    __slots__ = ("_masks", "_runs", "length")

    def __init__(self, tokens: list[str | Wild]) -> None:
        self.length = 0
        runs: list[tuple[int, str]] = []
        for token in tokens:
            if isinstance(token, str):
                runs.append((self.length, token))
                self.length += len(token)
            else:
                self.length += 1
        self._runs = tuple(runs)
        self._masks: tuple[dict[str, int], int] | None = None

    def __len__(self) -> int:
        return self.length

    def at(self, text: str, position: int) -> bool:
        """Whether it stands at ``position``; the caller knows that the text is long enough."""
        return all(text.startswith(run, position + offset) for offset, run in self._runs)

    def find(self, text: str, begin: int, end: int) -> int:
        """Where it first stands in ``text[begin:end]``, or -1. One step per character."""
        if self._masks is None:
            self._masks = self._places()
        masks, free = self._masks
        goal = 1 << (self.length - 1)
        state = 0
        for position in range(begin, end):
            state = (state << 1 | 1) & masks.get(text[position], free)
            if state & goal:
                return position - self.length + 1
        return -1

    def _places(self) -> tuple[dict[str, int], int]:
        """For each character, where it may stand, as bits; and where any may. Made when a search first needs it."""
        fixed: dict[str, int] = {}
        for offset, run in self._runs:
            for place, character in enumerate(run, offset):
                fixed[character] = fixed.get(character, 0) | 1 << place
        free = (1 << self.length) - 1 - sum(fixed.values())
        return {character: places | free for character, places in fixed.items()}, free


class _Chain:
    """Parts with stars between them."""

    __slots__ = ("_head", "_middle", "_shortest", "_tail")

    def __init__(self, head: str | _Holes, middle: list[str | _Holes], tail: str | _Holes) -> None:
        self._head, self._middle, self._tail = head, tuple(middle), tail
        self._shortest = len(head) + len(tail) + sum(len(piece) for piece in middle)

    def __call__(self, text: str) -> bool:
        end = len(text) - len(self._tail)
        if len(text) < self._shortest or not _at(self._head, text, 0) or not _at(self._tail, text, end):
            return False
        position = len(self._head)
        for piece in self._middle:
            position = _find(piece, text, position, end)
            if position < 0:
                return False
            position += len(piece)
        return True


def _piece(tokens: list[str | Wild]) -> str | _Holes:
    return _Holes(tokens) if Wild.ONE in tokens else "".join(token for token in tokens if isinstance(token, str))


def _at(piece: str | _Holes, text: str, position: int) -> bool:
    return text.startswith(piece, position) if isinstance(piece, str) else piece.at(text, position)


def _find(piece: str | _Holes, text: str, begin: int, end: int) -> int:
    return text.find(piece, begin, end) if isinstance(piece, str) else piece.find(text, begin, end)


def _whole(piece: str | _Holes) -> Pattern:
    if isinstance(piece, str):
        return lambda text: text == piece
    return lambda text: len(text) == piece.length and piece.at(text, 0)


def _ends(head: str, tail: str) -> Pattern:
    if not head and not tail:
        return lambda text: True  # noqa: ARG005 - a Pattern takes the text
    if not tail:
        return lambda text: text.startswith(head)
    shortest = len(head) + len(tail)
    return lambda text: len(text) >= shortest and text.startswith(head) and text.endswith(tail)
