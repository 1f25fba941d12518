"""What is typed to say which files are planned, as ``keystead plan`` takes it: paths, then options.

Pure. ``PATH... [--values FILE]... [--target KIND/NAME]... [--spec-set NAME]``, quoted as in a shell.
"""

from __future__ import annotations

import shlex
from typing import Final

import msgspec

from controlplane.errors import InvalidInput

HINT: Final = "a spec file or a directory of them; --target KIND/NAME, --values FILE, --spec-set NAME"
_OPTIONS: Final = ("--values", "--target", "--spec-set")


class PlanLine(msgspec.Struct, frozen=True):
    paths: tuple[str, ...]
    values: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    spec_set: str | None = None


def parse_plan_line(text: str) -> PlanLine:
    """Raises :class:`InvalidInput` that says what would be right."""
    try:
        words = shlex.split(text)
    except ValueError:
        raise InvalidInput("a quotation mark is not closed") from None
    given: dict[str, list[str]] = {option: [] for option in _OPTIONS}
    paths: list[str] = []
    rest = iter(words)
    for word in rest:
        option, equals, value = word.partition("=")
        if option in given:
            value = value if equals else next(rest, "")
            if not value or value in given:
                raise InvalidInput(f"{option} needs a word after it, such as {_example(option)}")
            given[option].append(value)
        elif word.startswith("--"):
            raise InvalidInput(f"there is no {word}; there are {', '.join(_OPTIONS)}")
        else:
            paths.append(word)
    if not paths:
        raise InvalidInput("type the path of a spec file or directory first")
    if len(given["--spec-set"]) > 1:
        raise InvalidInput("a plan is of one spec set: give --spec-set once")
    sets = given["--spec-set"]
    return PlanLine(tuple(paths), tuple(given["--values"]), tuple(given["--target"]), sets[0] if sets else None)


def _example(option: str) -> str:
    return {"--values": "prod.yaml", "--target": "Key/payments", "--spec-set": "payments"}[option]
