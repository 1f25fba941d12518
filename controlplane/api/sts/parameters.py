"""The input of the query protocol: form parameters, decoded strictly and once.

Who calls it: the STS door. Source: Smithy, "AWS query protocol" (lists as ``Name.member.N``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from controlplane.errors import InvalidInput

MAX_PARAMETERS: Final = 300
_MEMBER: Final = re.compile(r"(?P<list>\w+)\.member\.(?P<number>[1-9][0-9]{0,3})\.(?P<name>\w+)", re.ASCII)


class Parameters:
    """The parameters of one request, by name."""

    def __init__(self, *encoded: bytes) -> None:
        """From the query string and the body. Raises :class:`InvalidInput` for what cannot be read."""
        self._values: dict[str, str] = {}
        for text in encoded:
            try:
                pairs = parse_qsl(
                    text.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS
                )
            except (UnicodeDecodeError, ValueError):
                raise InvalidInput("The request's parameters cannot be read.") from None
            for name, value in pairs:
                if name in self._values:
                    raise InvalidInput(f"The parameter {name[:64]} stands twice.")
                self._values[name] = value

    def get(self, name: str) -> str | None:
        return self._values.get(name)

    def require(self, name: str) -> str:
        """The parameter, or the message of a constraint that it is missing."""
        value = self._values.get(name)
        if value is None:
            raise constraint("null", name, "Member must not be null")
        return value

    def text(self, name: str, pattern: re.Pattern[str], shortest: int, longest: int) -> str | None:
        """A text parameter held to the model's length and pattern."""
        value = self._values.get(name)
        if value is None:
            return None
        if len(value) < shortest:
            raise constraint(value, name, f"Member must have length greater than or equal to {shortest}")
        if len(value) > longest:
            raise constraint(value, name, f"Member must have length less than or equal to {longest}")
        if not pattern.fullmatch(value):
            raise constraint(value, name, f"Member must satisfy regular expression pattern: {pattern.pattern}")
        return value

    def number(self, name: str, lowest: int, highest: int) -> int | None:
        """A number held to the model's range."""
        value = self._values.get(name)
        if value is None:
            return None
        if not (value.isascii() and value.isdigit() and len(value) <= 9):
            raise constraint(value, name, "Member must be a number")
        if int(value) < lowest:
            raise constraint(value, name, f"Member must have value greater than or equal to {lowest}")
        if int(value) > highest:
            raise constraint(value, name, f"Member must have value less than or equal to {highest}")
        return int(value)

    def members(self, name: str) -> list[Mapping[str, str]]:
        """A list of structures, in the order of its numbers."""
        found: dict[int, dict[str, str]] = {}
        for key, value in self._values.items():
            match = _MEMBER.fullmatch(key)
            if match is not None and match["list"] == name:
                found.setdefault(int(match["number"]), {})[match["name"]] = value
        return [found[number] for number in sorted(found)]

    def has(self, prefix: str) -> bool:
        """Whether there is any parameter of this name or under it."""
        return any(name == prefix or name.startswith(prefix + ".") for name in self._values)


def constraint(value: str, name: str, text: str) -> InvalidInput:
    """A broken constraint in AWS's words; members begin with a small letter in them."""
    shown = value if value == "null" else f"'{ascii(value[:64])[1:-1]}'"
    member = name[:1].lower() + name[1:]
    return InvalidInput(
        f"1 validation error detected: Value {shown} at '{member}' failed to satisfy constraint: {text}"
    )
