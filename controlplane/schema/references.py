"""References in spec files: ``${env:NAME}`` and ``${values:PATH}``, so that one file serves several stages.

Who calls it: ``documents.parse``, before a document is checked. Pure: the caller looks up what a name stands for.

A reference is a whole value, never a part of one, and stands for one text, number or boolean: there is no language in
which a file computes. ``$${env:`` is the text ``${env:``, wherever it stands (:func:`escaped`). Guarantee: no message
holds what a reference stands for, because it may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from controlplane.schema.mistakes import Mistake, Path

Scalar = str | int | float | bool
Look = Callable[[str, str], Scalar]
"""What a source (``env``, ``values``) has under a name. Raises :class:`Unknown`."""

_WHOLE: Final = re.compile(r"\$\{(env|values):([^{}]*)\}")
_ANYWHERE: Final = re.compile(r"(?<!\$)\$\{(?:env|values):")
_TAKEN: Final = re.compile(r"\$\{(?:env|values):")
_ESCAPED: Final = re.compile(r"\$(\$\{(?:env|values):)")


class Unknown(Exception):
    """A reference that stands for nothing: why, and what would be right."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def resolve(value: object, look: Look) -> tuple[object, dict[Path, str], list[Mistake]]:
    """The value with what its references stand for, the references by their paths, and what is wrong with them.

    Without a reference it is the same value.
    """
    found: dict[Path, str] = {}
    wrong: list[Mistake] = []

    def walk(item: object, path: Path) -> object:
        if isinstance(item, str):
            return text(item, path) if "${" in item else item
        if isinstance(item, dict):
            made: dict[object, object] = {key: walk(member, (*path, key)) for key, member in item.items()}
            return made if any(made[key] is not item[key] for key in item) else item
        if isinstance(item, list):
            listed = [walk(member, (*path, index)) for index, member in enumerate(item)]
            return listed if any(new is not old for new, old in zip(listed, item, strict=True)) else item
        return item

    def text(item: str, path: Path) -> object:
        whole = _WHOLE.fullmatch(item)
        if whole is None:
            if _ANYWHERE.search(item):
                hint = "write `${env:NAME}` or `${values:PATH}` alone, or `$${...}` for that text itself"
                wrong.append(Mistake("a reference is a whole value and no part of one", path, hint))
            return _ESCAPED.sub(r"\1", item)
        try:
            meant = look(whole[1], whole[2])
        except Unknown as error:
            wrong.append(Mistake(str(error), path, error.hint))
            return item
        found[path] = item
        return meant

    return walk(value, ()), found, wrong


def escaped(text: str) -> str:
    """What stands for this text in a spec file, whatever it holds."""
    return _TAKEN.sub(r"$\g<0>", text)


def hushed(mistakes: list[Mistake], found: dict[Path, str]) -> list[Mistake]:
    """The mistakes of a document, without what its references stand for."""
    return [
        Mistake(f"what `{found[mistake.path]}` stands for does not fit here", mistake.path, mistake.hint)
        if mistake.path in found
        else mistake
        for mistake in mistakes
    ]
