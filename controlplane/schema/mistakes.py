"""What is wrong with a raw document, in words that its author understands.

Called by ``documents`` only after msgspec has refused a value, so the good case pays nothing. msgspec stops at the
first error and names types, regular expressions and ``[...]``; this walks the same types (``msgspec.inspect``) over the
value and names every mistake with its exact path, the rule in words and what would be right.

Guarantees: no I/O, never raises, and ends for every value that ``reading`` lets through (bounded depth, JSON types).
Values are quoted only where the vocabulary is closed or a pattern applies, never an option of a key store: a secret
that someone wrote into a spec file by accident is not repeated in an error.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from controlplane.schema.base import ALIAS_PATTERN, EXTERNAL_KEY_ID_PATTERN, NAME_PATTERN, REGION_PATTERN
from controlplane.schema.meta import Metadata
from controlplane.schema.xksproxies import ACCESS_KEY_ID_PATTERN, PATH_PREFIX_PATTERN

Path = tuple[str | int, ...]

MAX_MISTAKES = 20
"""Per document: enough to repair it, few enough to read."""

_QUOTE_LIMIT = 60
_PATTERNS = {
    NAME_PATTERN: "use lower-case letters, digits, `.`, `_` and `-`, at most 127, beginning and ending with a letter "
    "or digit",
    ALIAS_PATTERN: "use 1 to 250 letters, digits, `/`, `_` and `-`, without the `alias/` prefix",
    REGION_PATTERN: "write an AWS Region name such as `eu-central-1`",
    ACCESS_KEY_ID_PATTERN: "use 20 to 30 characters `A` to `Z` and `2` to `7`",
    EXTERNAL_KEY_ID_PATTERN: "use 1 to 128 letters, digits, `.`, `_` and `-`",
    PATH_PREFIX_PATTERN: "leave it out, or write `/` and letters, digits, `_` and `-`, as often as needed",
}
_UNQUOTED = {ACCESS_KEY_ID_PATTERN}
"""Whoever mixes up the two halves of a credential must not find the secret in an error."""
_NOUNS = {"Management": "management mode", "XksEffect": "effect"}
_SERVER_FIELDS = {"status", *(field.encode_name for field in msgspec.structs.fields(Metadata) if field.name != "name")}
_POLICY_FIELDS = {"Version", "Id", "Statement"}
_YAML_1_1_BOOLEANS = {"yes", "no", "on", "off", "y", "n", "true", "false"}
_EXAMPLES = {
    "apiVersion": "add `apiVersion: keystead/v1`",
    "metadata": "add `metadata: {name: ...}`",
    "name": "add a name in lower-case letters and digits",
    "spec": "add `spec: {...}`",
    "type": "add the type of the key store, such as `type: pkcs11`",
}


class Mistake(msgspec.Struct, frozen=True):
    """One thing wrong in one document. ``line`` counts from 1 in the file; None means: the line of ``path``."""

    message: str
    path: Path = ()
    hint: str | None = None
    line: int | None = None


def path_text(path: Path) -> str | None:
    """``spec.aliases[1]``, ``spec.tags["a b"]``; None for the document itself."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif re.fullmatch(r"[\w-]+", step):
            text += f".{step}" if text else step
        else:
            text += f'["{_clip(step)}"]'
    return text or None


def diagnose(value: object, kinds: dict[str, type[msgspec.Struct]]) -> list[Mistake]:
    """Every mistake of one document, at most ``MAX_MISTAKES``; ``kinds`` has the document's Struct for each kind."""
    found: list[Mistake] = []
    for mistake in _document(value, kinds):
        if len(found) == MAX_MISTAKES:
            found.append(Mistake("more mistakes follow in this document", hint="repair these first"))
            break
        found.append(mistake)
    return found


def nearest(word: str, candidates: Collection[str]) -> str | None:
    """The candidate that was probably meant, whatever its case and separators."""
    if len(word) > _QUOTE_LIMIT:
        return None  # difflib takes quadratic time
    plain = {_plain(candidate): candidate for candidate in candidates}
    matches = difflib.get_close_matches(_plain(word), plain, n=1, cutoff=0.65)
    if not matches and len(word) > 1:  # `SIGN` for `SIGN_VERIFY`
        matches = [candidate for candidate in plain if candidate.startswith(_plain(word))]
    return plain[matches[0]] if len(matches) == 1 else None


def suggestion(word: str, candidates: Collection[str]) -> str:
    """``did you mean `x`?``, or all that is allowed."""
    near = nearest(word, candidates)
    return f"did you mean `{near}`?" if near is not None else f"use one of {listed(candidates)}"


def listed(words: Iterable[str]) -> str:
    """``a``, ``b``, ``c`` in code quotes."""
    return ", ".join(f"`{word}`" for word in words)


def _document(value: object, kinds: dict[str, type[msgspec.Struct]]) -> Iterator[Mistake]:
    if not isinstance(value, dict):
        hint = "begin with `apiVersion: keystead/v1`"
        if isinstance(value, list):
            hint = "give each document its own `apiVersion` and `kind`, with a line of `---` between two"
        yield Mistake(f"a document is a mapping, and this is {_article(value)}", hint=hint)
        return
    kind = value.get("kind")
    if "kind" not in value:
        yield Mistake("a field is missing", ("kind",), f"add one of {listed(f'kind: {name}' for name in kinds)}")
    elif not isinstance(kind, str):
        yield Mistake(f"text is expected, and this is {_article(kind)}", ("kind",), f"use one of {listed(kinds)}")
    elif kind not in kinds:
        yield Mistake(f"`{_clip(kind)}` is not a known kind", ("kind",), suggestion(kind, kinds))
    else:
        yield from _struct(value, _info(kinds[kind]), (), judged=("kind",))
        return
    # Without a kind the spec means nothing yet, but what stands around it does.
    yield from _struct(value, _info(next(iter(kinds.values()))), (), judged=("kind", "spec"))


@cache  # type_info walks the whole type: 2 ms
def _info(struct: type[msgspec.Struct]) -> inspect.StructType:
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    return info


def _struct(
    value: dict[Any, Any], struct: inspect.StructType, path: Path, judged: tuple[str, ...] = ()
) -> Iterator[Mistake]:
    """``judged`` fields are known, and the caller speaks of them."""
    fields = {field.encode_name: field for field in struct.fields}
    for name, item in value.items():
        if name in judged:
            continue
        if name in fields:
            yield from _value(item, fields[name].type, (*path, name))
        else:
            hint = _unknown(
                str(name), fields, dict.fromkeys((*[each for each in judged if each not in fields], *fields))
            )
            yield Mistake("there is no such field", (*path, str(name)), hint)
    for name, field in fields.items():
        if field.required and name not in value and name not in judged:
            yield Mistake("a field is missing", (*path, name), _EXAMPLES.get(name, f"add `{name}`"))


def _unknown(name: str, fields: dict[str, inspect.Field], allowed: Collection[str]) -> str:
    if "fromFile" in fields and name in _POLICY_FIELDS:
        return "give the policy as text under `document: |`, or name its file with `fromFile`"
    if near := nearest(name, allowed):
        return f"did you mean `{near}`?"
    if name in _SERVER_FIELDS:
        return "the server writes it: leave it out"
    for outer, field in fields.items():  # `windowDays` belongs into `deletion`
        inner = _bare(field.type)
        if isinstance(inner, inspect.StructType) and name in {inside.encode_name for inside in inner.fields}:
            return f"did you mean `{outer}.{name}`?"
    return f"use one of {listed(allowed)}"


def _bare(kind: inspect.Type) -> inspect.Type:
    """Without descriptions and without ``| None``."""
    while isinstance(kind, inspect.Metadata):
        kind = kind.type
    if isinstance(kind, inspect.UnionType):
        return next((_bare(member) for member in kind.types if not isinstance(member, inspect.NoneType)), kind)
    return kind


def _optional(kind: inspect.Type) -> bool:
    return isinstance(kind, inspect.UnionType) and any(isinstance(member, inspect.NoneType) for member in kind.types)


def _value(value: object, kind: inspect.Type, path: Path) -> Iterator[Mistake]:
    if value is None and _optional(kind):
        return iter(())
    match _bare(kind):
        case inspect.StrType() as text:
            return _text(value, text, path)
        case inspect.IntType() as number:
            return _integer(value, number, path)
        case inspect.BoolType():
            return _boolean(value, path)
        case inspect.EnumType(cls=members):
            return _word(value, _noun(members), [str(member.value) for member in members], path)
        case inspect.LiteralType(values=words):
            return _word(value, "value", [str(word) for word in words], path)
        case inspect.VarTupleType(item_type=item) | inspect.ListType(item_type=item):
            return _list(value, item, path)
        case inspect.DictType() as mapping:
            return _mapping(value, mapping, path)
        case inspect.StructType() as struct:
            if isinstance(value, dict):
                return _struct(value, struct, path)
            names = listed(field.encode_name for field in struct.fields)
            return iter([_wrong("a mapping", value, path, f"its fields are {names}")])
    return iter(())


def _boolean(value: object, path: Path) -> Iterator[Mistake]:
    if isinstance(value, str) and value.lower() in _YAML_1_1_BOOLEANS:
        yield Mistake(f"`{value}` is text", path, "write `true` or `false`, without quotes")
    elif not isinstance(value, bool):
        yield _wrong("`true` or `false`", value, path, "write one of them")


def _word(value: object, noun: str, words: Collection[str], path: Path) -> Iterator[Mistake]:
    if not isinstance(value, str):
        yield _wrong("text", value, path, f"use one of {listed(words)}" if len(words) > 1 else f"write {listed(words)}")
    elif value not in words:
        hint = suggestion(value, words) if len(words) > 1 else f"write {listed(words)}"
        yield Mistake(f"`{_clip(value)}` is not a known {noun}", path, hint)


def _list(value: object, item: inspect.Type, path: Path) -> Iterator[Mistake]:
    if isinstance(value, list):
        for index, element in enumerate(value):
            yield from _value(element, item, (*path, index))
    else:
        yield _wrong("a list", value, path, f"write `{path[-1]}: [...]`")


def _mapping(value: object, mapping: inspect.DictType, path: Path) -> Iterator[Mistake]:
    if isinstance(value, dict):
        for name, element in value.items():
            for wrong in _value(name, mapping.key_type, (*path, str(name))):
                yield Mistake(f"in the key: {wrong.message}", wrong.path, wrong.hint)
            yield from _value(element, mapping.value_type, (*path, str(name)))
    else:
        yield _wrong("a mapping", value, path, "write `name: value` pairs below it")


def _text(value: object, text: inspect.StrType, path: Path) -> Iterator[Mistake]:
    if not isinstance(value, str):
        hint = "put it in quotes"
        if isinstance(value, dict | list):
            hint = "write text"
            if path[-1] == "document":  # parsed and written again, a policy would not come back byte for byte
                hint = "give the policy as text under `document: |`, or name its file with `fromFile`"
        yield _wrong("text", value, path, hint)
    elif text.pattern is not None and not re.search(text.pattern, value):
        rule = _PATTERNS.get(text.pattern, f"it must match {text.pattern}")
        shown = "this" if text.pattern in _UNQUOTED else f"`{_clip(value)}`"
        yield Mistake(f"{shown} is not allowed here", path, rule)
    elif text.min_length is not None and len(value) < text.min_length:
        yield Mistake("it is empty", path, "write something, or leave the field out")
    elif text.max_length is not None and len(value) > text.max_length:
        yield Mistake(f"it has {len(value):,} characters", path, f"at most {text.max_length:,} are allowed")


def _integer(value: object, number: inspect.IntType, path: Path) -> Iterator[Mistake]:
    if not isinstance(value, int) or isinstance(value, bool):
        plain = isinstance(value, str) and value.isdecimal()
        yield _wrong("a whole number", value, path, "write it without quotes" if plain else "write digits only")
    elif (number.ge is not None and value < number.ge) or (number.le is not None and value > number.le):
        yield Mistake(f"{_number(value)} is out of range", path, f"allowed is {number.ge} to {number.le}")


def _wrong(expected: str, value: object, path: Path, hint: str) -> Mistake:
    if value is None:
        return Mistake(f"{expected} is expected, and this is empty", path, "give a value, or leave the field out")
    return Mistake(f"{expected} is expected, and this is {_article(value)}", path, hint)


def _article(value: object) -> str:
    match value:
        case None:
            return "empty"
        case bool():
            return f"`{str(value).lower()}`"
        case int() | float():
            return f"the number {_number(value)}"
        case str():
            return "text"
        case list() | tuple():
            return "a list"
        case _:
            return "a mapping"


def _number(value: float) -> str:
    """Never all of it: Python refuses to write out an integer of more than 4,300 digits."""
    return str(value) if abs(value) < 2**64 else "beyond 64 bits"


def _noun(members: type) -> str:
    return _NOUNS.get(members.__name__, re.sub(r"(?<=[a-z])(?=[A-Z])", " ", members.__name__).lower())


def _plain(word: str) -> str:
    return re.sub(r"[\W_]+", "", word).lower() or word


def _clip(word: str) -> str:
    shown = word if word.isprintable() else repr(word)[1:-1]
    return shown if len(shown) <= _QUOTE_LIMIT else f"{shown[:_QUOTE_LIMIT]}…"
