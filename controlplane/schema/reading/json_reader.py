"""JSON text to raw documents: one, a list, or ``{"documents": [...]}``. Guarantees: as the package."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

from controlplane.schema.mistakes import Mistake
from controlplane.schema.reading.raw import Passage, RawDocument, broken, line_of, not_a_set, too_deep, unfit
from controlplane.schema.reading.yaml_reader import yaml_lines

_SPACE = re.compile(r"[ \t\r\n]*")
_JSON_SET = re.compile(r'[ \t\r\n]*(?:\{[ \t\r\n]*"documents"[ \t\r\n]*:[ \t\r\n]*)?\[')
_JSON_WORDS: tuple[tuple[str, str, str], ...] = (
    ("Expecting property name", "a field name in double quotes is expected", "leave out a comma after the last field"),
    ("Illegal trailing comma", "a comma stands after the last item", "leave it out"),
    ("Expecting ':'", "a field needs `:` after its name", 'write `"name": value`'),
    (
        "Expecting ','",
        "a comma is missing, or something is not closed",
        "write `,` between two and `}` or `]` at the end",
    ),
    ("Expecting value", "a value is expected", "put text in double quotes; leave out a comma after the last item"),
    ("Extra data", "something stands after the end of the document", "put several documents into one list"),
    ("Unterminated string", "the text that begins here is not closed", 'write `"` at its end'),
    ("Invalid control character", "a line break or tab stands inside a text", "write `\\n` or `\\t`"),
    ("Invalid \\", "this escape is not known", "write `\\\\` for a backslash"),
)


def read_json(text: str) -> list[RawDocument]:
    twice: list[str] = []  # names that stand twice in an object of the document being read

    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            twice.extend(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        return result

    def constant(name: str) -> Any:
        raise json.JSONDecodeError(f"`{name}` is not a number in JSON", text, max(text.find(name), 0))

    decoder = json.JSONDecoder(object_pairs_hook=distinct, parse_constant=constant)
    try:
        if not text.strip(" \t\r\n"):
            return []
        found = _json_documents(text, decoder, twice)
    except RecursionError:
        return [too_deep(text)]
    except json.JSONDecodeError as error:
        ours, hint = json_words(error.msg)
        return [broken(text, error.lineno, f"{ours} (column {error.colno})", hint)]
    except ValueError:  # int() refuses more than 4,300 digits
        return [broken(text, 1, "a number does not fit into 64 bits", "put text in double quotes")]
    return found


def json_words(theirs: str) -> tuple[str, str]:
    """What is wrong and what would be right, for a message of ``json.JSONDecodeError``."""
    known = ((ours, right) for part, ours, right in _JSON_WORDS if part in theirs)
    return next(known, (theirs, "put text in double quotes"))


def _json_documents(text: str, decoder: json.JSONDecoder, twice: list[str]) -> list[RawDocument]:
    """Item by item, because only so it is known where each document begins."""
    opening = _JSON_SET.match(text)
    if opening is None:
        return _json_whole(text, decoder, twice)
    documents: list[RawDocument] = []
    counted = 0
    line = 1
    position = _skip(text, opening.end())
    more = text[position : position + 1] != "]"
    while more:
        value, end = decoder.raw_decode(text, position)
        line += text.count("\n", counted, position)
        counted = position
        documents.append(
            _json_document(len(documents) + 1, value, Passage(text, position, end, line, yaml_lines), twice)
        )
        position = _skip(text, end)
        if more := text[position : position + 1] == ",":
            position = _skip(text, position + 1)
            if text[position : position + 1] == "]":
                raise json.JSONDecodeError("Illegal trailing comma", text, position)
    if text[position : position + 1] != "]":
        raise json.JSONDecodeError("Expecting ',' delimiter", text, position)
    position = _skip(text, position + 1)
    if "{" in opening[0]:
        if text[position : position + 1] != "}":
            return _json_whole(text, decoder, twice)
        position += 1
    _json_end(text, position)
    return documents


def _json_whole(text: str, decoder: json.JSONDecoder, twice: list[str]) -> list[RawDocument]:
    start = _skip(text, 0)
    value, end = decoder.raw_decode(text, start)
    _json_end(text, end)
    passage = Passage(text, start, end, line_of(text, start), yaml_lines)
    if value is None:
        return []
    if not isinstance(value, dict) or "documents" not in value:
        return [_json_document(1, value, passage, twice)]
    documents = value.pop("documents")
    if value or not isinstance(documents, list):
        return [not_a_set(text, documents, value)]
    if twice:
        return [_json_document(None, None, passage, twice)]
    return [_json_document(number, each, passage, twice) for number, each in enumerate(documents, 1)]


def _json_document(number: int | None, value: object, passage: Passage, twice: list[str]) -> RawDocument:
    mistakes = unfit(value)
    if twice:
        hint = "keep one of them"
        located = [Mistake("this field stands twice", path, hint, line) for path, line in passage.repeated()]
        mistakes += located or [Mistake(f"`{name[:60]}` stands twice", (), hint) for name in twice]
        twice.clear()
    return RawDocument(number, value, passage, tuple(mistakes))


def _json_end(text: str, position: int) -> None:
    if (rest := _skip(text, position)) != len(text):
        raise json.JSONDecodeError("Extra data", text, rest)


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position
