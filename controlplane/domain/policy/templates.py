"""Policy strings with variables: ``${aws:username}``, ``${aws:PrincipalTag/team, 'none'}``, ``${*}``, ``${?}``,
``${$}``.

Who calls it: ``document`` for resources, ``conditions`` for condition values. Guarantees: what a variable stands for is
literal text, so a user named ``*`` is no wildcard; a variable without value and without default makes its string match
nothing; without ``variables`` (policies of version 2008-10-17) ``${`` has no meaning.

A string is read once into parts; what needs no context is compiled then and costs nothing per request.

Source: IAM User Guide, "IAM policy elements: Variables and tags": variables came with version 2012-10-17, key names are
case-insensitive, only single-valued keys are variables, a default follows a comma and stands in single quotes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from controlplane.domain.policy import wildcards
from controlplane.domain.policy.wildcards import MAX_PATTERN_CHARACTERS, Pattern, Wild
from controlplane.errors import InvalidPolicy

Folded = Mapping[str, str | tuple[str, ...]]
"""A request's context with its keys in lower case."""

MAX_RESOLVED_CHARACTERS = 65_536
"""A string that variables make longer matches nothing: no value of a request is that long."""

_VARIABLE = re.compile(r"\$\{([^{},']*)(?:,\s*'([^']*)'\s*)?\}")
_LITERALS = {"*": "*", "?": "?", "$": "$"}
_ARN_SEGMENTS = 6


class Variable(msgspec.Struct, frozen=True):
    """A context key in lower case, and what stands for it when it has no value."""

    key: str
    default: str | None

    def value(self, context: Folded) -> str | None:
        found = context.get(self.key)
        return found if isinstance(found, str) else self.default


Part = str | Wild | Variable


def read(text: str, *, variables: bool, wild: bool) -> tuple[Part, ...]:
    """The parts of a policy string. Raises :class:`InvalidPolicy` for a variable that is none."""
    parts: list[Part] = []
    begin = 0
    while variables and (start := text.find("${", begin)) >= 0:
        match = _VARIABLE.match(text, start)
        name = match.group(1).strip() if match is not None else ""
        if match is None or not name:
            raise InvalidPolicy("a policy variable is written ${key} or ${key, 'default'}")
        parts += wildcards.split(text[begin:start]) if wild else [text[begin:start]]
        literal = _LITERALS.get(name)
        parts.append(literal if literal is not None else Variable(name.lower(), match.group(2)))
        begin = match.end()
    parts += wildcards.split(text[begin:]) if wild else [text[begin:]]
    if len(text) > MAX_PATTERN_CHARACTERS and any(isinstance(part, Wild) for part in parts):
        raise InvalidPolicy(f"a string with wildcards has at most {MAX_PATTERN_CHARACTERS} characters")
    return tuple(part for part in parts if part != "")


def is_static(parts: Sequence[Part]) -> bool:
    """Whether the string is the same in every request."""
    return not any(isinstance(part, Variable) for part in parts)


def resolve(parts: Sequence[Part], context: Folded) -> list[str | Wild] | None:
    """The parts with the values of this request; None if a variable has none."""
    resolved: list[str | Wild] = []
    length = 0
    for part in parts:
        if isinstance(part, Variable):
            value = part.value(context)
            if value is None:
                return None
            resolved.append(value)
            length += len(value)
            if length > MAX_RESOLVED_CHARACTERS:
                return None
        else:
            resolved.append(part)
    return resolved


def text_of(parts: Sequence[Part], context: Folded) -> str | None:
    """The string of this request, for comparisons without wildcards; None if a variable has no value."""
    resolved = resolve(parts, context)
    return None if resolved is None else "".join(part for part in resolved if isinstance(part, str))


def pattern_of(parts: Sequence[Part], context: Folded) -> Pattern | None:
    """The pattern of this request; None if a variable has no value."""
    resolved = resolve(parts, context)
    return None if resolved is None else wildcards.pattern(resolved)


def arn_segments(parts: Sequence[Part]) -> tuple[tuple[Part, ...], ...]:
    """The six segments of an ARN pattern. A colon inside a variable's value does not begin a segment.

    Raises :class:`InvalidPolicy` for what has not six.
    """
    segments: list[list[Part]] = [[]]
    for part in parts:
        if not isinstance(part, str):
            segments[-1].append(part)
            continue
        first, *rest = part.split(":", _ARN_SEGMENTS - len(segments))
        segments[-1].append(first)
        segments.extend([piece] for piece in rest)
    if len(segments) != _ARN_SEGMENTS:
        raise InvalidPolicy(
            "an ARN has six parts with colons between them: arn:partition:service:region:account:resource"
        )
    return tuple(tuple(part for part in segment if part != "") for segment in segments)
