"""The grammar of the jump prompt: ``keys @hsm-a /payments``, ``key payments-data``, ``deletions``, ``principals``.

Pure. The first word is a section, in full or as short as it is clear; the rest is a filter, or the name of one object.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

import msgspec

from controlplane.errors import InvalidInput
from controlplane.schema.filters import parse_filter
from controlplane.schema.meta import Kind
from tui.actions import OTHER_SECTIONS, SECTIONS, Section

KINDS: Final = {"keys": Kind.KEY, "stores": Kind.KEY_STORE, "principals": Kind.PRINCIPAL, "proxies": Kind.XKS_PROXY}
"""Sections whose rows are objects of a kind."""
_COMMANDS: Final = {"help": "help", "?": "help", "quit": "quit", "q": "quit", "exit": "quit"}
_WORDS: Final = {word: section for section in (*SECTIONS, *OTHER_SECTIONS) for word in section.words}
_PLACES: Final = sorted({section.words[0] for section in (*SECTIONS, *OTHER_SECTIONS)} | {"help", "quit"})


class Jump(msgspec.Struct, frozen=True):
    """Where to go: a section with a filter, one object in it, or a command of the program."""

    section: str = ""
    filter: str | None = None
    name: str | None = None
    command: str = ""


def parse_jump(text: str) -> Jump:
    """Raises :class:`InvalidInput` that says what would be right."""
    words = text.strip().removeprefix(":").split()
    if not words:
        raise InvalidInput(f"type where to go: {', '.join(_PLACES)}")
    first, rest = words[0].lower(), words[1:]
    if first in _COMMANDS and not rest:
        return Jump(command=_COMMANDS[first])
    if first[0] in "@/":  # only a filter: of keys, where there are the most
        section, rest = _WORDS["keys"], words
    else:
        section = _section(first)
    if not rest:
        return Jump(section.id)
    if (section.id in KINDS or section.id == "imports") and len(rest) == 1 and not _is_filter(rest[0]):
        return Jump(section.id, name=rest[0])
    if section.id != "keys":
        return Jump(section.id, filter=" ".join(word.removeprefix("/") for word in rest))
    wanted = " ".join(word.removeprefix("/") for word in rest)
    parse_filter(wanted)
    return Jump(section.id, filter=wanted)


def places() -> list[str]:
    """What a jump may begin with, for completion."""
    return _PLACES


def _section(word: str) -> Section:
    if word in _WORDS:
        return _WORDS[word]
    begins = {section.id: section for known, section in _WORDS.items() if known.startswith(word)}
    if len(begins) == 1:
        return next(iter(begins.values()))
    close = get_close_matches(word, [*_WORDS, *_COMMANDS], n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(_PLACES)}"
    raise InvalidInput(f"there is no {word}; {hint}")


def _is_filter(word: str) -> bool:
    return word[0] in "@/!-" or ":" in word
