"""Entity tags and the conditions of a request: ``ETag``, ``If-Match``, ``If-None-Match`` (RFC 9110, 8.8.3 and 13).

Who calls it: the routes of single objects. The entity tag of an object is its resource version in quotes; it is strong,
because every write gives another version.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from controlplane.errors import InvalidInput, PreconditionFailed
from controlplane.schema.meta import AnyObject

_TAG: Final = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_ANY: Final = "*"


class Conditions(msgspec.Struct, frozen=True):
    """What a request wants of the object before anything happens. None: the header is absent; ``*`` is ``("*",)``."""

    if_match: tuple[str, ...] | None = None
    if_none_match: tuple[str, ...] | None = None

    def check(self, present: AnyObject | None, what: str) -> None:
        """Raise :class:`PreconditionFailed` unless the object is as a request that writes wants it."""
        if self.if_match is not None and not _matches(self.if_match, present):
            state = f"at version {present.metadata.resource_version}" if present else "not there"
            raise PreconditionFailed(f"{what} is {state}, which If-Match does not name: read it again")
        if self.if_none_match is not None and _matches(self.if_none_match, present):
            raise PreconditionFailed(f"{what} is there already, and If-None-Match wants that it is not")

    def unchanged(self, present: AnyObject) -> bool:
        """Whether a reader has this version already, so that 304 is the answer."""
        return self.if_none_match is not None and _matches(self.if_none_match, present)


def conditions_of(headers: Mapping[str, str]) -> Conditions:
    """The conditions of a request. Raises :class:`InvalidInput` for headers that RFC 9110 does not allow."""
    return Conditions(
        _tags(headers.get("if-match"), "If-Match", weak=False),
        _tags(headers.get("if-none-match"), "If-None-Match", weak=True),
    )


def entity_tag(present: AnyObject) -> str:
    """The ``ETag`` of an object."""
    return f'"{present.metadata.resource_version}"'


def _matches(tags: tuple[str, ...], present: AnyObject | None) -> bool:
    return present is not None and (tags == (_ANY,) or str(present.metadata.resource_version) in tags)


def _tags(value: str | None, header: str, *, weak: bool) -> tuple[str, ...] | None:
    """The opaque tags of a header. A weak one never matches in ``If-Match``, which compares strongly."""
    if value is None:
        return None
    if value.strip() == _ANY:
        return (_ANY,)
    found: list[str] = []
    rest = value.strip()
    while rest:
        match = _TAG.match(rest)
        if match is None:
            raise InvalidInput(f'{header} takes entity tags in quotes as the ETag header shows them, such as "7", or *')
        if weak or not match[1]:
            found.append(match[2])
        rest = rest[match.end() :].lstrip()
        if rest and not rest.startswith(","):
            raise InvalidInput(f"{header} takes entity tags with commas between them")
        rest = rest.lstrip(", \t")
    return tuple(found)
