"""TOML text to raw documents: one document, or an array of tables ``[[documents]]``. Guarantees: as the package."""

from __future__ import annotations

import re
import tomllib

from controlplane.schema.mistakes import Path
from controlplane.schema.reading.raw import Lines, Passage, RawDocument, broken, line_of, not_a_set, too_deep, unfit

_TOML_DOCUMENT = re.compile(r"^[ \t]*\[\[[ \t]*documents[ \t]*\]\]", re.MULTILINE)
_TOML_BLANK = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\r?\n)*")
_TOML_TABLE = re.compile(r"[ \t]*\[{1,2}([^\[\]\n]+)\]")
_TOML_FIELD = re.compile(
    r"""[ \t]*((?:[\w-]+|"[^"\n]*"|'[^'\n]*')(?:[ \t]*\.[ \t]*(?:[\w-]+|"[^"\n]*"|'[^'\n]*'))*)[ \t]*="""
)
_TOML_STEP = re.compile(r"""[\w-]+|"[^"\n]*"|'[^'\n]*'""")
_TOML_WHERE = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)
_TOML_WORDS: tuple[tuple[str, str, str], ...] = (
    ("Expected '='", "a field needs `=` after its name", "write `name = value`"),
    ("Invalid value", "this is not a TOML value", "put text in quotes; write `true` or `false`"),
    ("Cannot overwrite", "this field or table stands twice", "keep one of them"),
    ("Cannot declare", "this table stands twice", "keep one of them"),
    ("Cannot mutate", "this table is complete already", "write its fields in one place"),
    ("Duplicate inline table key", "this field stands twice", "keep one of them"),
    ("Unterminated string", "a text is not closed", "write the same quote at its end"),
    (
        "Expected newline or end of document",
        "something stands after the value",
        "one field on one line; put text in quotes",
    ),
    ("Unclosed array", "a list is not closed", "write `,` between its items and `]` at its end"),
    (
        "Unclosed inline table",
        "an inline table is not closed",
        "write `,` between its fields and `}` at its end, on one line",
    ),
    ("Invalid initial character for a key part", "a name cannot begin like this", "put the name in quotes"),
    ("Unescaped '\\'", "this escape is not known in double quotes", "use single quotes, or write `\\\\`"),
    ("Illegal character '\\n'", "a text goes beyond its line", "use three quotes for text of several lines"),
    (
        "at the end of a table declaration",
        "a table header is not closed",
        "write `[name]`, or `[[documents]]` to begin a document",
    ),
)


def read_toml(text: str) -> list[RawDocument]:
    try:
        table = tomllib.loads(text)
    except RecursionError:
        return [too_deep(text)]
    except ValueError as error:  # TOMLDecodeError, and int() for more than 4,300 digits
        return [_toml_mistake(str(error), text)]
    if not table:
        return []
    if "documents" not in table:
        heading = _TOML_BLANK.match(text)
        start = heading.end() if heading else 0
        passage = Passage(text, start, len(text), line_of(text, start), _toml_lines)
        return [RawDocument(1, table, passage, tuple(unfit(table)))]
    starts = [match.start() for match in _TOML_DOCUMENT.finditer(text)]
    documents = table.pop("documents")
    if table or not isinstance(documents, list):
        return [not_a_set(text, documents, table)]
    if len(starts) != len(documents):  # `documents = [...]`, or a header inside a text
        starts = [max(text.find("documents"), 0)] * len(documents)
    ends = [*starts[1:], len(text)]
    found: list[RawDocument] = []
    line = 1
    counted = 0
    for number, (value, start, end) in enumerate(zip(documents, starts, ends, strict=True), 1):
        line += text.count("\n", counted, start)
        counted = start
        passage = Passage(text, start, max(start, end), line, _toml_lines)
        found.append(RawDocument(number, value, passage, tuple(unfit(value))))
    return found


def _toml_mistake(message: str, text: str) -> RawDocument:
    line, column = line_of(text, len(text.rstrip())), None
    if where := _TOML_WHERE.fullmatch(message):
        message = where[1]
        if where[2]:
            line, column = int(where[2]), where[3]
    known = ((ours, right) for theirs, ours, right in _TOML_WORDS if theirs in message)
    if "integer string conversion" in message:
        ours, hint = "this number does not fit into 64 bits", "put text in quotes"
    else:
        ours, hint = next(known, (f"this is not TOML: {message}", "put text in quotes"))
    shown = f"{ours} (column {column})" if column else ours
    return broken(text, line, shown, hint)


def _toml_lines(text: str) -> Lines:
    """By searching for headers and fields line by line: good for how TOML is written, silent about the rest."""
    lines: Lines = []
    table: Path = ()
    for offset, line in enumerate(text.split("\n")):
        if header := _TOML_TABLE.match(line):
            table = _toml_steps(header[1])
            table = table[1:] if table[:1] == ("documents",) else table
            lines.append((table, offset))
        elif field := _TOML_FIELD.match(line):
            steps = _toml_steps(field[1])
            lines += [((*table, *steps[:length]), offset) for length in range(1, len(steps) + 1)]
    return lines


def _toml_steps(dotted: str) -> Path:
    return tuple(step[1:-1] if step[0] in "\"'" else step for step in _TOML_STEP.findall(dotted))
