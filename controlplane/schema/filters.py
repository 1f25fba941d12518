"""The filter of lists of keys: what a person types, as one grammar for the API, the command line and the terminal UI.

Pure. :func:`parse_filter` reads it, ``store.keyindex`` evaluates it, so a filter means the same wherever it is typed.
Terms are separated by spaces and all have to hold:

========================  =============================================================================
``pay``                   the name, an alias, the key id or the description contains it, in any case
``-f pymt``               the name has these characters in this order (fuzzy)
``-l team=web``           there is this tag with this value; ``-l team``: there is this tag
``@hsm-a``                it lives in this key store
``state:pending``         its key state begins like this; several with commas: ``state:disabled,unavail``
``condition:store``         the reason why it is not as declared begins like this: ``StoreUnreachable``
``origin:external``       its material comes from there (it begins like this)
``is:unhealthy``          it is not as declared, or its key store is away
``!`` before any of them  it does not
========================  =============================================================================

Lists of other objects (``domain.lists``) have the first three, ``is:unhealthy`` and ``!``. Labels are the tags of a
principal; of every object ``set`` (its spec set), and ``type`` where it has one.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Final

import msgspec

from controlplane.errors import InvalidInput
from controlplane.schema.conditions import Reason
from controlplane.schema.keys import KeyState, Origin

MAX_TERMS: Final = 16
MAX_LENGTH: Final = 1_000


class TermKind(StrEnum):
    TEXT = "text"
    FUZZY = "fuzzy"
    TAG = "tag"
    """``value`` is ``key`` or ``key=value``."""
    STORE = "store"
    STATE = "state"
    """``value`` is the name of one key state or of several, separated by commas."""
    ORIGIN = "origin"
    """Like ``state``."""
    CONDITION = "condition"
    """Like ``state``."""
    UNHEALTHY = "unhealthy"


class Term(msgspec.Struct, frozen=True):
    """One condition. ``inverse`` turns it round. Text is in lower case."""

    kind: TermKind
    value: str = ""
    inverse: bool = False


KeyFilter = tuple[Term, ...]
"""All of them have to hold; empty, everything does."""

_OF_KEYS: Final = {
    TermKind.STORE: "@store",
    TermKind.STATE: "state:",
    TermKind.ORIGIN: "origin:",
    TermKind.CONDITION: "condition:",
}
_FLAGS: Final = {"-f": TermKind.FUZZY, "-l": TermKind.TAG}


def parse_filter(text: str) -> KeyFilter:
    """The terms of a filter. Raises :class:`InvalidInput` that says what would be right."""
    if len(text) > MAX_LENGTH:
        raise InvalidInput(f"a filter has at most {MAX_LENGTH:,} characters; this one has {len(text):,}")
    terms = tuple(_terms(text.split()))
    if len(terms) > MAX_TERMS:
        raise InvalidInput(f"a filter has at most {MAX_TERMS} terms; this one has {len(terms)}")
    return terms


def parse_object_filter(text: str) -> KeyFilter:
    """The terms of a filter of objects that are no keys. Raises :class:`InvalidInput` for what only keys have, too."""
    terms = parse_filter(text)
    for term in terms:
        if term.kind in _OF_KEYS:
            raise InvalidInput(f"{_OF_KEYS[term.kind]} finds keys only; here are word, !not, -l label=value, -f fuzzy")
    return terms


def _terms(words: list[str]) -> Iterator[Term]:
    rest = iter(words)
    for word in rest:
        inverse, bare = word.startswith("!"), word.removeprefix("!")
        flag = _FLAGS.get(bare)
        if flag is not None:
            bare = next(rest, "")
            if bare.startswith("!"):
                inverse, bare = not inverse, bare[1:]
            if not bare:
                example = "-l team=web" if flag is TermKind.TAG else "-f pymt"
                raise InvalidInput(f"{word} needs a word after it, such as {example}")
            yield Term(flag, bare.lower(), inverse)
        elif bare.startswith("@"):
            yield Term(TermKind.STORE, _word(bare[1:], word, "@hsm-a").lower(), inverse)
        elif bare.lower().startswith("state:"):
            yield Term(TermKind.STATE, _members(KeyState, "key state", bare[6:], word), inverse)
        elif bare.lower().startswith("origin:"):
            yield Term(TermKind.ORIGIN, _members(Origin, "origin", bare[7:], word), inverse)
        elif bare.lower().startswith("condition:"):
            yield Term(TermKind.CONDITION, _members(Reason, "reason", bare[10:], word), inverse)
        elif bare.lower().startswith("is:"):
            if bare[3:].lower() != "unhealthy":
                raise InvalidInput(f"{word} is not known; there is is:unhealthy")
            yield Term(TermKind.UNHEALTHY, inverse=inverse)
        else:
            yield Term(TermKind.TEXT, _word(bare, word, "!old").lower(), inverse)


def _word(bare: str, word: str, example: str) -> str:
    if not bare:
        raise InvalidInput(f"{word} needs a word right after it, such as {example}")
    return bare


def _members(of: type[StrEnum], noun: str, starts: str, word: str) -> str:
    """The values of an enumeration that begin like one of ``starts``, which commas separate."""
    found: list[str] = []
    for start in starts.lower().split(","):
        fitting = [member.value for member in of if start and member.value.lower().startswith(start)]
        if not fitting:
            raise InvalidInput(f"{word} fits no {noun}; there are {', '.join(of)}")
        found += [value for value in fitting if value not in found]
    return ",".join(found)
