"""Why a body is not a request of its operation, in AWS's words. Only a request that was refused already comes here.

Who calls it: ``operations``, when the compiled decoder has refused a body. That one stops at the first fault; this
walks the body beside the shape and finds them all. Guarantees: a wrong JSON type is a SerializationException, because
AWS reads a request before it checks it; every broken constraint is named in one ValidationException; no value of a blob
or of a member that the model calls sensitive is shown, and no long value whole.

Source of the words: what AWS answered, in public issues and in tests that were run against AWS. Enumerations:
boto/boto3 issue 3428. ``Value at 'plaintext'``, for a sensitive member: moto, ``tests/test_kms/test_kms_encrypt.py``
(marked ``aws_verified``). ``tags.1.member.tagKey``: moto, ``kms/utils.py``. Several errors, and a list of scalars,
whose rules are told together at the list: reports of ACM's RequestCertificate and Lambda's CreateFunctionUrlConfig. A
mapping: reports of Cognito's ``logins``. AWS tells the values of an enumeration in no order; here it is ours.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import Any, Final, NoReturn

import msgspec
from msgspec import inspect

from controlplane.api.kms.shapes.base import SENSITIVE, Shape, model_pattern
from controlplane.errors import InvalidInput, Undecodable

MOST_CHARACTERS: Final = 256
"""Of a value that a message shows."""
MOST_ERRORS: Final = 20
"""Of those that a message tells; it counts the others."""
MOST_COUNTED: Final = 1000
MOST_ITEMS: Final = 2000
"""Where the walk ends, and where that of a collection does: a body of a mebibyte could hold the event loop for a second
otherwise. A request that works has 50 tags at most."""

_NOT_JSON: Final = "The request body is not valid JSON."
_NO_NULL: Final = "Member must not be null"


def refusal(request: type[Shape], body: bytes) -> InvalidInput:
    """What is wrong with a body that is no ``request``: :class:`Undecodable`, or :class:`InvalidInput` for broken
    constraints."""
    try:
        told = list(islice(_structure(_type_info(request), msgspec.json.decode(body), ""), MOST_COUNTED))
    except Undecodable as wrong:
        return wrong
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Undecodable(_NOT_JSON)
    if not told:
        return InvalidInput(f"A member beyond the first {MOST_ITEMS} of a collection is not what this operation takes.")
    shown = "; ".join(told[:MOST_ERRORS])
    return InvalidInput(f"{len(told)} validation error{'s' if len(told) > 1 else ''} detected: {shown}")


@cache
def _type_info(request: type[Shape]) -> inspect.StructType:
    found = inspect.type_info(request)
    assert isinstance(found, inspect.StructType)
    return found


# ---- one walk beside the shape: each raises Undecodable at a wrong JSON type -----------------------------------------


def _structure(kind: inspect.StructType, given: Any, path: str) -> Iterator[str]:
    for field in kind.fields if isinstance(given, dict) else _wrong_type(path):
        name = field.encode_name[:1].lower() + field.encode_name[1:]
        at = f"{path}.{name}" if path else name
        value = given.get(field.encode_name)
        if value is not None:
            yield from _member(field.type, value, at)
        elif field.required:
            yield _error("null ", at, _NO_NULL)


def _member(declared: inspect.Type, value: Any, path: str) -> Iterator[str]:
    kind, sensitive = _bare(declared)
    match kind:
        case inspect.StructType():
            yield from _structure(kind, value, path)
        case inspect.ListType():
            yield from _list(kind, value if isinstance(value, list) else _wrong_type(path), path)
        case inspect.DictType():
            yield from _mapping(kind, value if isinstance(value, dict) else _wrong_type(path), path)
        case _:
            shown = "" if sensitive or isinstance(kind, inspect.BytesType) else f"'{_short(value)}' "
            for text in _broken(kind, value, path):
                yield _error(shown, path, text)


def _list(kind: inspect.ListType, values: list[Any], path: str) -> Iterator[str]:
    shown = f"'[{_short(', '.join(map(_text, values[:MOST_CHARACTERS])))}]' "
    for text in _length(kind, len(values)):
        yield _error(shown, path, text)
    item, _ = _bare(kind.item_type)
    if isinstance(item, inspect.StructType):
        for number, value in enumerate(values[:MOST_ITEMS], 1):
            if value is None:
                yield _error("null ", f"{path}.{number}.member", _NO_NULL)
            else:
                yield from _structure(item, value, f"{path}.{number}.member")
    elif (rules := _broken_rules(item, values[:MOST_ITEMS], path)) is not None:
        yield _error(shown, path, f"Member must satisfy constraint: [{rules}]")


def _mapping(kind: inspect.DictType, values: dict[str, Any], path: str) -> Iterator[str]:
    """Keys are any text in this API, so only a value can be wrong."""
    item, _ = _bare(kind.value_type)
    if (rules := _broken_rules(item, list(islice(values.values(), MOST_ITEMS)), path)) is not None:
        shown = _short(", ".join(f"{name}={_text(value)}" for name, value in islice(values.items(), MOST_CHARACTERS)))
        yield _error(f"'{{{shown}}}' ", path, f"Map value must satisfy constraint: [{rules}]")


def _broken_rules(kind: inspect.Type, values: list[Any], path: str) -> str | None:
    """Every rule of the items of a collection if one of them breaks one."""
    broken = any(each is None or any(_broken(kind, each, path)) for each in values)
    return ", ".join([*_rules(kind), _NO_NULL]) if broken else None


# ---- the rules of a scalar -------------------------------------------------------------------------------------------


def _broken(kind: inspect.Type, value: Any, path: str) -> Iterator[str]:
    """The rules that a value that is not null breaks."""
    match kind:
        case inspect.StrType():
            text = value if isinstance(value, str) else _wrong_type(path)
            yield from _length(kind, len(text))
            too_long = kind.max_length is not None and len(text) > kind.max_length  # and not worth a search
            if kind.pattern is not None and not too_long and re.search(kind.pattern, text) is None:
                yield _pattern(kind.pattern)
        case inspect.BytesType():
            yield from _length(kind, _octets(value, path))
        case inspect.EnumType():
            if (value if isinstance(value, str) else _wrong_type(path)) not in _values(kind):
                yield _enum(kind)
        case inspect.IntType():
            number = value if _is_number(value) and not value % 1 else _wrong_type(path)
            if kind.ge is not None and number < kind.ge:
                yield f"Member must have value greater than or equal to {kind.ge}"
            if kind.le is not None and number > kind.le:
                yield f"Member must have value less than or equal to {kind.le}"
        case _:
            if not (_is_number(value) if isinstance(kind, inspect.FloatType) else isinstance(value, bool)):
                _wrong_type(path)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _rules(kind: inspect.Type) -> Iterator[str]:
    """All rules of a scalar, in the order in which AWS tells those of an item."""
    if isinstance(kind, inspect.StrType):
        if kind.max_length is not None:
            yield _longest(kind.max_length)
        if kind.min_length is not None:
            yield _shortest(kind.min_length)
        if kind.pattern is not None:
            yield _pattern(kind.pattern)
    elif isinstance(kind, inspect.EnumType):
        yield _enum(kind)


def _length(kind: inspect.StrType | inspect.BytesType | inspect.ListType, length: int) -> Iterator[str]:
    if kind.min_length is not None and length < kind.min_length:
        yield _shortest(kind.min_length)
    if kind.max_length is not None and length > kind.max_length:
        yield _longest(kind.max_length)


def _octets(value: Any, path: str) -> int:
    try:
        return len(base64.b64decode(value, validate=True)) if isinstance(value, str) else _wrong_type(path)
    except (binascii.Error, ValueError):
        return _wrong_type(path)


def _values(kind: inspect.EnumType) -> list[str]:
    return [str(each.value) for each in kind.cls]


# ---- words -----------------------------------------------------------------------------------------------------------


def _error(shown: str, path: str, text: str) -> str:
    return f"Value {shown}at '{path}' failed to satisfy constraint: {text}"


def _shortest(limit: int) -> str:
    return f"Member must have length greater than or equal to {limit}"


def _longest(limit: int) -> str:
    return f"Member must have length less than or equal to {limit}"


def _pattern(pattern: str) -> str:
    return f"Member must satisfy regular expression pattern: {model_pattern(pattern)}"


def _enum(kind: inspect.EnumType) -> str:
    return f"Member must satisfy enum value set: [{', '.join(_values(kind))}]"


def _text(value: Any) -> str:
    return "null" if value is None else str(value)


def _short(value: Any) -> str:
    """A value as a message shows it: its beginning, and nothing that a terminal would act on."""
    text = _text(value)
    shown = text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + "..."
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in shown)


def _wrong_type(path: str) -> NoReturn:
    raise Undecodable(f"The member {path or 'of the request'} has the wrong type.")


def _bare(declared: inspect.Type) -> tuple[inspect.Type, bool]:
    """A type without ``| None`` and metadata, and whether the model calls it sensitive."""
    sensitive = False
    while True:
        if isinstance(declared, inspect.UnionType):
            (declared,) = [each for each in declared.types if not isinstance(each, inspect.NoneType)]
        elif isinstance(declared, inspect.Metadata):
            sensitive = sensitive or bool(declared.extra and declared.extra.get(SENSITIVE))
            declared = declared.type
        else:
            return declared, sensitive
