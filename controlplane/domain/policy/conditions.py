"""The Condition element: every operator of IAM, compiled once.

Who calls it: ``document`` compiles; ``evaluation`` asks :meth:`Condition.holds` per request. Values of one key are
joined by OR (by AND under a negated operator), keys and operators by AND: a statement holds one :class:`Condition` per
operator and key, and applies if all hold.

What happens when a key is absent (IAM User Guide, "Condition operators" and "Single-valued vs. multivalued context
keys"):

===========================  =======================  ==============================
operator                     matching                 negated (``...Not...``)
===========================  =======================  ==============================
plain                        false                    true
``...IfExists``              true                     true
``ForAllValues:``            true                     true
``ForAnyValue:``             false                    false
``Null``                     true for ``"true"``      no such form
===========================  =======================  ==============================

An empty tuple is an absent key. Where the sources are silent or a request's value cannot be read as the operator's
type, the answer is the safe one: the condition holds in a Deny and does not in an Allow (``unsure`` below). That is so
for a key with several values under an operator without ``ForAllValues:`` or ``ForAnyValue:`` and for an absent key
under ``ForAnyValue:...IfExists``, whose two documented rules contradict each other.
"""

from __future__ import annotations

import base64
import ipaddress
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any, TypeVar, cast

import msgspec

from controlplane.domain.policy import templates, wildcards
from controlplane.domain.policy.templates import Folded, Part
from controlplane.domain.policy.wildcards import Pattern, Wild
from controlplane.errors import InvalidPolicy

T = TypeVar("T")

Match = Callable[[str], bool | None]
"""Whether a request's value matches one of the policy's values; None if it cannot be read as the operator's type."""

Bind = Callable[[Folded], Match]
"""Puts the values of variables in, once per request."""

MAX_VALUES = 2_000
"""Values of one key in a request; no operation has more. A longer list is not compared, and counts as unreadable."""
MAX_UNQUANTIFIED = 16
"""The same for an operator without ``ForAllValues:`` and ``ForAnyValue:``."""


class Quantifier(Enum):
    """Which of a key's values must satisfy the operator."""

    NONE = ""
    ALL = "ForAllValues"
    ANY = "ForAnyValue"


class Condition(msgspec.Struct, frozen=True):
    """One operator on one key (in lower case)."""

    key: str
    match: Match | Bind
    bound: bool = True
    """Whether ``match`` is a Match already; a Bind if values of the policy hold variables."""
    quantifier: Quantifier = Quantifier.NONE
    negated: bool = False
    if_exists: bool = False
    null: frozenset[bool] | None = None
    """For the operator Null: the answers to "is the key absent?" that the policy accepts."""

    def holds(self, context: Folded, *, unsure: bool) -> bool:
        """Whether it holds. ``unsure`` is the answer where the request cannot be read: True in a Deny."""
        value = context.get(self.key)
        if self.null is not None:
            return (value is None or value == ()) in self.null
        if value is None or value == ():
            return self._absent(unsure)
        match = cast(Match, self.match) if self.bound else cast(Bind, self.match)(context)
        if isinstance(value, str) or len(value) == 1:
            found = match(value if isinstance(value, str) else value[0])
            return unsure if found is None else found != self.negated
        return self._several(value, match, unsure)

    def _several(self, values: tuple[str, ...], match: Match, unsure: bool) -> bool:
        if len(values) > (MAX_UNQUANTIFIED if self.quantifier is Quantifier.NONE else MAX_VALUES):
            return unsure
        answers = (unsure if (found := match(value)) is None else found != self.negated for value in values)
        if self.quantifier is Quantifier.ALL:
            return all(answers)
        if self.quantifier is Quantifier.ANY:
            return any(answers)
        return unsure and any(answers)

    def _absent(self, unsure: bool) -> bool:
        if self.quantifier is Quantifier.ALL:
            return True
        if self.quantifier is Quantifier.ANY:
            return unsure if self.if_exists else False
        return self.if_exists or self.negated


class Compiled(msgspec.Struct, frozen=True):
    """The values of one key, compiled, and how many are tried one by one, and how many hold variables."""

    match: Match | Bind
    searched: int = 0
    variable: int = 0


def compile_condition(name: str, key: str, values: Sequence[str], *, variables: bool) -> tuple[Condition, Compiled]:
    """Compile one operator on one key; the second tells what it costs.

    ``values`` are the policy's, as text. Raises :class:`InvalidPolicy` for an operator that is none and for a value
    that is none of its type.
    """
    prefix, colon, rest = name.rpartition(":")
    if prefix not in _QUANTIFIERS or bool(prefix) != bool(colon):
        raise InvalidPolicy(f"there is no condition operator {quoted(name)}")
    quantifier = _QUANTIFIERS[prefix]
    if rest == "Null":  # a quantifier changes nothing: the key is there or not; IfExists does not exist for Null
        nothing = Compiled(_never)
        return Condition(key.lower(), _never, null=frozenset(_bool(value) == "true" for value in values)), nothing
    base = rest.removesuffix("IfExists")
    found = _OPERATORS.get(base)
    if found is None:
        raise InvalidPolicy(f"there is no condition operator {quoted(name)}")
    compiler, negated = found
    compiled = compiler(values, variables)
    condition = Condition(
        key=key.lower(),
        match=compiled.match,
        bound=not compiled.variable,
        quantifier=quantifier,
        negated=negated,
        if_exists=rest != base,
    )
    return condition, compiled


def quoted(text: str) -> str:
    """A name from a policy in a message: short, and safe to print."""
    return ascii(text if len(text) <= 64 else f"{text[:61]}...")


def _never(_value: str) -> bool:
    return False


# ---- strings ---------------------------------------------------------------------------------------------------------

Compiler = Callable[[Sequence[str], bool], Compiled]


def _equals(values: Sequence[str], variables: bool) -> Compiled:
    return _compared(values, variables, str)


def _equals_ignoring_case(values: Sequence[str], variables: bool) -> Compiled:
    return _compared(values, variables, str.lower)


def _compared(values: Sequence[str], variables: bool, fold: Callable[[str], str]) -> Compiled:
    """Equality after ``fold``: all values in one set."""
    fixed, changing = _templates(values, variables, wild=False)
    exact = frozenset(fold(_text(parts)) for parts in fixed)
    if not changing:
        if fold is str:
            return Compiled(exact.__contains__)
        return Compiled(lambda value: fold(value) in exact)

    def bind(context: Folded) -> Match:
        texts = (templates.text_of(parts, context) for parts in changing)
        every = exact | {fold(text) for text in texts if text is not None}
        return lambda value: fold(value) in every

    return Compiled(bind, variable=len(changing))


def _like(values: Sequence[str], variables: bool) -> Compiled:
    fixed, changing = _templates(values, variables, wild=True)
    exact = frozenset(_text(parts) for parts in fixed if _is_exact(parts))
    patterns = [wildcards.pattern(_fixed(parts)) for parts in fixed if not _is_exact(parts)]
    searched = len(patterns) + len(changing)
    if not changing:
        return Compiled(_any_of(exact, patterns), searched)

    def bind(context: Folded) -> Match:
        found = (templates.pattern_of(parts, context) for parts in changing)
        return _any_of(exact, [*patterns, *(pattern for pattern in found if pattern is not None)])

    return Compiled(bind, searched, len(changing))


def _any_of(exact: frozenset[str], patterns: Sequence[Pattern]) -> Match:
    def match(value: str) -> bool:
        if value in exact:
            return True
        for pattern in patterns:  # noqa: SIM110 - half the time of any() over a generator, and this runs per request
            if pattern(value):
                return True
        return False

    return match


def _arn(values: Sequence[str], variables: bool) -> Compiled:
    """Each segment of an ARN is matched on its own; only the last may hold colons (ArnEquals and ArnLike are one)."""
    fixed: list[Sequence[Pattern]] = []
    changing: list[tuple[tuple[Part, ...], ...]] = []
    for value in values:
        segments = templates.arn_segments(templates.read(value, variables=variables, wild=True))
        if all(templates.is_static(segment) for segment in segments):
            fixed.append(tuple(wildcards.pattern(_fixed(segment)) for segment in segments))
        else:
            changing.append(segments)
    if not changing:
        return Compiled(_any_arn(fixed), len(values))

    def bind(context: Folded) -> Match:
        every = list(fixed)
        for segments in changing:
            found = [templates.pattern_of(segment, context) for segment in segments]
            patterns = [pattern for pattern in found if pattern is not None]
            if len(patterns) == len(found):
                every.append(patterns)
        return _any_arn(every)

    return Compiled(bind, len(values), len(changing))


def _any_arn(arns: Sequence[Sequence[Pattern]]) -> Match:
    def match(value: str) -> bool | None:
        segments = value.split(":", 5)
        if len(segments) != 6 or segments[0] != "arn":
            return None
        for patterns in arns:
            for pattern, segment in zip(patterns, segments, strict=True):
                if not pattern(segment):
                    break
            else:
                return True
        return False

    return match


def _templates(
    values: Sequence[str], variables: bool, *, wild: bool
) -> tuple[list[tuple[Part, ...]], list[tuple[Part, ...]]]:
    """Values without and with variables."""
    read = [templates.read(value, variables=variables, wild=wild) for value in values]
    return [r for r in read if templates.is_static(r)], [r for r in read if not templates.is_static(r)]


def _is_exact(parts: Sequence[Part]) -> bool:
    return not any(isinstance(part, Wild) for part in parts)


def _text(parts: Sequence[Part]) -> str:
    return "".join(part for part in parts if isinstance(part, str))


def _fixed(parts: Sequence[Part]) -> Iterable[str | Wild]:
    return (part for part in parts if isinstance(part, str | Wild))


# ---- numbers, times, truth, bytes, addresses -------------------------------------------------------------------------


def _ordered(read: Callable[[str], T | None], compare: Callable[[Any, Any], bool], what: str) -> Compiler:
    """An operator that reads both sides with ``read`` and compares request to policy."""

    def compiler(values: Sequence[str], _variables: bool) -> Compiled:
        bounds = tuple(_must(read(value), value, what) for value in values)

        def match(value: str) -> bool | None:
            found = read(value)
            if found is None:
                return None
            for bound in bounds:  # noqa: SIM110 - as above
                if compare(found, bound):
                    return True
            return False

        return Compiled(match, len(bounds))

    return compiler


def _must(value: T | None, text: str, what: str) -> T:
    if value is None:
        raise InvalidPolicy(f"{quoted(text)} is not {what}")
    return value


_NUMBER = re.compile(r"[+-]?[0-9]{1,40}(?:\.[0-9]{1,40})?", re.ASCII)


def _number(text: str) -> Decimal | None:
    return Decimal(text) if _NUMBER.fullmatch(text) else None


_TIME = re.compile(
    r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})(?:-(?P<day>[0-9]{2})"
    r"(?:T(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]{1,9}))?)?"
    r"(?P<zone>Z|[+-][01][0-9]:[0-5][0-9])?)?)?",
    re.ASCII,
)
_EPOCH = re.compile(r"[0-9]{5,12}", re.ASCII)
_BEGIN = datetime(1970, 1, 1, tzinfo=UTC)


_LONGEST = 64
"""Times and addresses are shorter: keeps junk out of the caches."""


def _time(text: str) -> int | None:
    return _read_time(text) if len(text) <= _LONGEST else None


@lru_cache(maxsize=1024)
def _read_time(text: str) -> int | None:
    """Microseconds since 1970 of an ISO 8601 time (W3C profile; without a zone, UTC) or of seconds since 1970.

    Four digits are refused: they could be a year or seconds.
    """
    if _EPOCH.fullmatch(text):
        return int(text) * 1_000_000
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        moment = datetime(
            int(year), int(month), int(day or 1), int(hour or 0), int(minute or 0), int(second or 0),
            int((fraction or "0")[:6].ljust(6, "0")), UTC,
        )  # fmt: skip
    except ValueError:
        return None
    return (moment - _BEGIN) // timedelta(microseconds=1) - _offset(zone) * 60_000_000


def _offset(zone: str | None) -> int:
    """Minutes east of Greenwich."""
    if zone is None or zone == "Z":
        return 0
    minutes = int(zone[1:3]) * 60 + int(zone[4:6])
    return -minutes if zone[0] == "-" else minutes


def _truth(values: Sequence[str], variables: bool) -> Compiled:
    fixed, changing = _templates(values, variables, wild=False)
    exact = frozenset(_bool(_text(parts)) for parts in fixed)

    def bind(context: Folded) -> Match:
        texts = (templates.text_of(parts, context) for parts in changing)
        every = exact | {text.lower() for text in texts if text is not None}

        def match(value: str) -> bool | None:
            folded = value.lower()
            return folded in every if folded in ("true", "false") else None

        return match

    return Compiled(bind, variable=len(changing)) if changing else Compiled(bind({}))


def _bool(text: str) -> str:
    if text.lower() not in ("true", "false"):
        raise InvalidPolicy(f"{quoted(text)} is not true or false")
    return text.lower()


def _bytes(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return None


def _addresses(values: Sequence[str], _variables: bool) -> Compiled:
    ranges = tuple(_must(_range(value), value, "an IP address or range such as 203.0.113.0/24") for value in values)

    def match(value: str) -> bool | None:
        found = _address(value)
        if found is None:
            return None
        version, number = found
        for other, first, mask in ranges:  # noqa: SIM110 - as above
            if version == other and number & mask == first:
                return True
        return False

    return Compiled(match, len(ranges))


def _address(text: str) -> tuple[int, int] | None:
    return _read_address(text) if len(text) <= _LONGEST else None


@lru_cache(maxsize=1024)
def _read_address(text: str) -> tuple[int, int] | None:
    """Version and number. An IPv4 address that a dual-stack socket shows as IPv6 is the IPv4 address."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return 4, int(address.ipv4_mapped)
    return address.version, int(address)


def _range(text: str) -> tuple[int, int, int] | None:
    """Version, first address and mask of an address or a CIDR range."""
    address, slash, length = text.partition("/")
    if slash and not (length.isascii() and length.isdigit()):
        return None
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    if "%" in address:
        return None
    version, first, mask = network.version, int(network.network_address), int(network.netmask)
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped and network.prefixlen >= 96:
        version, first, mask = 4, first & 0xFFFF_FFFF, mask & 0xFFFF_FFFF
    return version, first, mask


# ---- the table -------------------------------------------------------------------------------------------------------


def _comparisons(family: str, read: Callable[[str], T | None], what: str) -> dict[str, tuple[Compiler, bool]]:
    return {
        f"{family}Equals": (_ordered(read, operator.eq, what), False),
        f"{family}NotEquals": (_ordered(read, operator.eq, what), True),
        f"{family}LessThan": (_ordered(read, operator.lt, what), False),
        f"{family}LessThanEquals": (_ordered(read, operator.le, what), False),
        f"{family}GreaterThan": (_ordered(read, operator.gt, what), False),
        f"{family}GreaterThanEquals": (_ordered(read, operator.ge, what), False),
    }


_OPERATORS: dict[str, tuple[Compiler, bool]] = {
    "StringEquals": (_equals, False),
    "StringNotEquals": (_equals, True),
    "StringEqualsIgnoreCase": (_equals_ignoring_case, False),
    "StringNotEqualsIgnoreCase": (_equals_ignoring_case, True),
    "StringLike": (_like, False),
    "StringNotLike": (_like, True),
    **_comparisons("Numeric", _number, "a number"),
    **_comparisons("Date", _time, "a time such as 2030-01-31T12:00:00Z"),
    "Bool": (_truth, False),
    "BinaryEquals": (_ordered(_bytes, operator.eq, "base64"), False),
    "IpAddress": (_addresses, False),
    "NotIpAddress": (_addresses, True),
    "ArnEquals": (_arn, False),
    "ArnLike": (_arn, False),
    "ArnNotEquals": (_arn, True),
    "ArnNotLike": (_arn, True),
}
"""Every operator without its prefix and its ``IfExists``, and whether it is negated. Null stands apart."""

OPERATORS = frozenset(_OPERATORS) | {"Null"}

_QUANTIFIERS = {quantifier.value: quantifier for quantifier in Quantifier}
