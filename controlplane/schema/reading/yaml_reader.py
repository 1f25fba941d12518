"""YAML text to raw documents.

Read from libyaml's events rather than through ``yaml.load``: half the time, no recursion in C (a file of ten thousand
``[`` ends a process), duplicate keys, aliases and tags are seen, and scalars follow the core schema of YAML 1.2 (``NO``
is text, ``010`` is ten, a date is text). Guarantees: as the package. After a syntax error reading goes on at the next
``---``, so one slip in one document does not hide the mistakes of the others.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
import yaml
from yaml import events

from controlplane.schema.mistakes import Mistake, Path
from controlplane.schema.reading.raw import MAX_DEPTH, Lines, Passage, RawDocument, line_of, unfit_number

MAX_ALIASED_NODES = 1_000_000
"""Nodes that the aliases of one file may stand for: ten lines of aliases to aliases stand for ten billion."""
MAX_SYNTAX_MISTAKES = 20
"""Per file: each one costs a parser of its own on the rest of the text."""

_Parser: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the pure parser gives the same events, more slowly
_CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_MAY_BE_OTHER_THAN_TEXT = frozenset(["", *"~nNtTfF0123456789+-."])  # by the first character
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_NEXT_DOCUMENT = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_NO_KEY: Final = object()
_TWICE = "this field stands twice"
_Anchored = tuple[object, int, int]  # the value, its nodes, its height

_YAML_WORDS: tuple[tuple[str, str, str], ...] = (
    # libyaml's problem, ours, what would be right
    (
        "mapping values are not allowed",
        "a `:` stands where no field can begin",
        "check the indentation; put text that holds `: ` in quotes",
    ),
    (
        "did not find expected key",
        "this line does not fit the lines above it",
        "align it with the fields it belongs to; a quote must end its text",
    ),
    ("did not find expected '-'", "this line does not fit the list above it", "begin it with `- `, or indent it less"),
    (
        "expected ',' or ']'",
        "the list that begins here is not closed",
        "write `,` between its items and `]` at its end",
    ),
    (
        "expected ',' or '}'",
        "the mapping that begins here is not closed",
        "write `,` between its fields and `}` at its end",
    ),
    ("block sequence entries", "a list item cannot stand here", "write it on a line of its own"),
    ("could not find expected ':'", "a field without `:`", "write `name: value`"),
    (
        "unknown escape",
        "this escape is not known in double quotes",
        "write `\\\\` for a backslash, or use single quotes",
    ),
    (
        "<document start>",
        "something stands after the end of the document",
        "begin the next document with a line of `---`",
    ),
    ("incompatible YAML", "this version of YAML is not known", "leave the `%YAML` line out"),
    ("tag handle", "tags are not used in spec files", "leave the word with `!` out; put text in quotes"),
    ("alphabetic or numeric", "an anchor or alias has no name", "put text that begins with `&` or `*` in quotes"),
    ("expected node content", "a value is missing here", "write one, or put the text in quotes"),
    ("comment or line break", "nothing but a comment can stand after `|` or `>`", "write the text on the next line"),
)


_TOO_DEEP: Final = (f"this is nested more than {MAX_DEPTH} deep", (), "no document needs that")


class _Stop(Exception):
    """The rest of this document cannot be read."""

    def __init__(self, message: str, hint: str, line: int) -> None:
        super().__init__(message)
        self.mistake = Mistake(message, (), hint, line + 1)


class _Frame(msgspec.Struct):
    """A collection that is still open. ``height`` is that of its tallest member so far."""

    container: Any
    key: Any = _NO_KEY
    height: int = 0
    anchor: str | None = None
    nodes_before: int = 0


def read_yaml(text: str) -> list[RawDocument]:
    return _YamlReader(text).read()


class _YamlReader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.documents: list[RawDocument] = []
        self.number = 0  # of the document being read, empty ones counted
        self.begins: tuple[int, int] = (0, 0)  # index and line of its first node
        self.aliased = 0
        self.index = self.line = 0  # of the text that the parser was given
        self.mistakes: list[Mistake] = []  # of this document
        self.stack: list[_Frame] = []  # its open collections, but the innermost; the outermost holds the root

    def read(self) -> list[RawDocument]:
        for _ in range(MAX_SYNTAX_MISTAKES):
            parser = _Parser(self.text[self.index :])
            try:
                self._stream(parser)
                break
            except _Stop as stop:
                mistake = stop.mistake
            except yaml.MarkedYAMLError as error:
                mistake = _yaml_mistake(error, self.text[self.index :], self.line)
            except yaml.YAMLError as error:
                mistake = Mistake(f"this is not YAML: {error}", (), None, self.line + 1)
            finally:
                parser.dispose()
            self._add(None, (mistake,), len(self.text))
            # A line of `---` ends a document whatever is open in it, so what follows can be judged on its own.
            resume = _line_start(self.text, max(mistake.line or 1, self.begins[1] + 2))
            following = _NEXT_DOCUMENT.search(self.text, resume)
            if following is None:
                break
            self.index = following.start()
            self.line = line_of(self.text, self.index) - 1
        else:
            self._add(None, (Mistake("the rest of this file is not read", (), "repair these first", self.line + 1),), 0)
        return self.documents

    def _stream(self, parser: Any) -> None:
        while (event := parser.get_event()) is not None:
            if event.__class__ is not events.DocumentStartEvent:
                self.begins = self._place(event.start_mark)
                continue
            self.number += 1
            self.begins = self._place(event.end_mark)
            self.mistakes = []
            self.stack = []
            value, end = self._document(parser.get_event)
            if value is not None or self.mistakes:
                self._add(value, tuple(self.mistakes), end)

    def _place(self, mark: Any) -> tuple[int, int]:
        return self.index + mark.index, self.line + mark.line

    def _passage(self, end: int) -> Passage:
        index, line = self.begins
        start = self.text.rfind("\n", 0, index) + 1  # a whole line, so that indentation keeps its meaning
        return Passage(self.text, start, end, line + 1, yaml_lines)

    def _add(self, value: object, mistakes: tuple[Mistake, ...], end: int) -> None:
        self.documents.append(RawDocument(self.number or None, value, self._passage(end), mistakes))

    def _document(self, get_event: Callable[[], Any]) -> tuple[object, int]:  # noqa: PLR0912, PLR0915 - calls cost
        """One document and where it ends, built without recursion; 50 rounds for a common key."""
        anchors: dict[str, _Anchored] = {}
        stack = self.stack
        frame = _Frame([])
        nodes = 0
        while True:
            event = get_event()
            kind = event.__class__
            nodes += 1
            value: Any
            if kind is events.ScalarEvent:
                value = event.value
                if event.tag is not None or nodes == 1:
                    self._unusual(event, frame, nodes)
                if event.implicit[0]:
                    if value[:1] in _MAY_BE_OTHER_THAN_TEXT:
                        value = self._resolve(value, event, frame)
                elif "\0" in value:
                    self._mistake(event, frame, "this holds a NUL character", "remove it")
                if event.anchor is not None:
                    anchors[event.anchor] = (value, 1, 0)
            elif kind is events.MappingStartEvent or kind is events.SequenceStartEvent:
                if event.tag is not None or nodes == 1:
                    self._unusual(event, frame, nodes)
                if len(stack) >= MAX_DEPTH:
                    raise self._too_deep(event)
                stack.append(frame)
                empty: Any = {} if kind is events.MappingStartEvent else []
                frame = _Frame(empty, anchor=event.anchor, nodes_before=nodes - 1)
                continue
            elif kind is events.MappingEndEvent or kind is events.SequenceEndEvent:
                closed = frame
                value = closed.container
                if closed.anchor is not None:
                    anchors[closed.anchor] = (value, nodes - closed.nodes_before, closed.height + 1)
                frame = stack.pop()
                frame.height = max(frame.height, closed.height + 1)
            elif kind is events.AliasEvent:
                value, size, height = self._alias(event, anchors)
                if len(stack) + height > MAX_DEPTH:
                    raise self._too_deep(event)
                nodes += size
                frame.height = max(frame.height, height)
            else:
                end = self.index + event.start_mark.index
                self._first_lines(end)
                return frame.container[0], end
            container = frame.container
            if container.__class__ is list:
                container.append(value)
            elif frame.key is not _NO_KEY:
                container[frame.key] = value
                frame.key = _NO_KEY
            elif value.__class__ is not str or value in container or value == "<<":
                frame.key = self._refuse_key(value, event, frame)
            else:
                frame.key = value

    def _mistake(self, event: Any, frame: _Frame, message: str, hint: str, *below: str) -> None:
        path = (*_path([*self.stack, frame]), *below)
        self.mistakes.append(Mistake(message, path, hint, self.line + event.start_mark.line + 1))

    def _unusual(self, event: Any, frame: _Frame, nodes: int) -> None:
        if nodes == 1:
            self.begins = self._place(event.start_mark)
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")[:60]
            hint = f"leave `{tag}` out; put text in quotes"
            self._mistake(event, frame, "tags are not used in spec files", hint)

    def _alias(self, event: Any, anchors: dict[str, _Anchored]) -> _Anchored:
        found = anchors.get(event.anchor)
        name = event.anchor[:60]
        line = self.line + event.start_mark.line
        if found is None:
            hint = f"mark the value with `&{name}` before it, and not around it"
            raise _Stop(f"`*{name}` has no anchor before it in this document", hint, line)
        self.aliased += found[1]
        if self.aliased > MAX_ALIASED_NODES:
            message = f"the aliases of this file stand for more than {MAX_ALIASED_NODES:,} values"
            raise _Stop(message, "write the values out, or split the file", line)
        return found

    def _too_deep(self, event: Any) -> _Stop:
        message, _, hint = _TOO_DEEP
        return _Stop(message, hint, self.line + event.start_mark.line)

    def _resolve(self, text: str, event: Any, frame: _Frame) -> Any:
        """A plain scalar by the core schema of YAML 1.2 (section 10.3.2)."""
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        number: int | float
        if _INTEGER.fullmatch(text):
            base = {"0x": 16, "0o": 8}.get(text[:2], 10)
            # int() refuses more than 4,300 digits, with an exception
            number = int(text, base) if len(text) <= 64 else 2**64
        elif _FLOAT.fullmatch(text):
            number = math.inf if text[-1] in "fFnN" else float(text)  # `.inf` and `.nan`: refused below
        else:
            return text
        for unfit in unfit_number(number, ()):
            self._mistake(event, frame, unfit.message, "put text in quotes")
        return number

    def _refuse_key(self, key: Any, event: Any, frame: _Frame) -> str:
        if key == "<<":
            hint = "YAML 1.2 has none: write the fields out, or reuse a whole value with an anchor"
            self._mistake(event, frame, "`<<` is a merge key", hint)
        elif isinstance(key, str):
            self._mistake(event, frame, _TWICE, "keep one of them", key)
            return key
        elif isinstance(key, dict | list):
            hint = "put text that begins with `{` or `[` in quotes"
            self._mistake(event, frame, "a mapping or list stands where a key is expected", hint)
        else:
            shown = "an empty key" if key is None else f"the key `{str(key).lower()}`"
            self._mistake(event, frame, f"{shown} is not text", "put it in quotes")
        return f"\0{len(frame.container)}"  # not a key that text can hold: it hides no other

    def _first_lines(self, end: int) -> None:
        """Say of equal fields where the first one stands."""
        lines: dict[Path, int] | None = None
        for position, mistake in enumerate(self.mistakes):
            if mistake.message == _TWICE:
                if lines is None:
                    lines = self._passage(end).lines()
                if first := lines.get(mistake.path):
                    hint = f"the first one is on line {first}: keep one of them"
                    self.mistakes[position] = msgspec.structs.replace(mistake, hint=hint)


def _path(frames: list[_Frame]) -> Path:
    """The key or index of every open collection."""
    steps: list[str | int] = []
    for frame in frames[1:]:
        if frame.container.__class__ is list:
            steps.append(len(frame.container))
        elif frame.key is not _NO_KEY:
            steps.append(frame.key)
    return tuple(steps)


def _yaml_mistake(error: yaml.MarkedYAMLError, text: str, base: int) -> Mistake:
    """A syntax error in our words. For something left open the place is where it begins."""
    problem = error.problem or "it cannot be read"
    if "nesting depth" in problem:  # newer libyaml stops a flow collection by itself, before it tells us of it
        return Mistake(*_TOO_DEEP, base + (error.problem_mark.line if error.problem_mark else 0) + 1)
    mark, opened = error.problem_mark, error.context_mark
    character = text[mark.index : mark.index + 1] if mark is not None else ""
    if "quoted scalar" in (error.context or "") and ("end of stream" in problem or "document indicator" in problem):
        message, hint = "the quote that begins here is not closed", "write the same quote at the end of the text"
    elif "tab character" in problem or ("start any token" in problem and character == "\t"):
        message, hint = "a tab stands in the indentation", "indent with spaces"
    elif "node content" in problem and not character:
        message, hint = "the text ends, and a list or mapping is not closed", "write `]` or `}` at its end"
    elif "start any token" in problem:
        message, hint = f"a value cannot begin with `{character}`", "put it in quotes"
    else:
        known = ((ours, right) for theirs, ours, right in _YAML_WORDS if theirs in problem)
        message, hint = next(known, (f"this is not YAML: {problem}", "check the indentation and the quotes"))
    place = opened if opened is not None and "begins here" in message else mark or opened
    if place is None:
        return Mistake(message, (), hint, base + 1)
    return Mistake(f"{message} (column {place.column + 1})", (), hint, base + place.line + 1)


def yaml_lines(text: str) -> Lines:
    """Where the fields of one YAML (or JSON) document stand, up to the first syntax error."""
    lines: Lines = []
    parser = _Parser(text)
    try:
        lines.extend(_places(parser))
    except yaml.YAMLError:
        pass  # what was found so far; the caller takes the nearest line
    finally:
        parser.dispose()
    return lines


def _places(parser: Any) -> Iterator[tuple[Path, int]]:
    """The path of every key and item with its line, counted from 0."""
    path: list[str | int] = []
    open_: list[bool | None] = []  # per collection: None in a list, else whether a key comes next
    while (event := parser.get_event()) is not None:
        line: int = event.start_mark.line
        if isinstance(event, events.CollectionEndEvent):
            open_.pop()
            path.pop()
            continue
        if not isinstance(event, events.NodeEvent):
            continue
        if open_ and open_[-1]:
            if not isinstance(event, events.ScalarEvent):
                return  # a key that is a mapping: an error of its own
            path[-1] = event.value
            yield tuple(path), line
            open_[-1] = False
            continue
        if open_ and open_[-1] is None:
            path[-1] = int(path[-1]) + 1
            yield tuple(path), line
        elif open_:
            open_[-1] = True
        if isinstance(event, events.MappingStartEvent):
            open_.append(True)
            path.append("")
        elif isinstance(event, events.SequenceStartEvent):
            open_.append(None)
            path.append(-1)


def _line_start(text: str, line: int) -> int:
    index = 0
    for _ in range(line - 1):
        index = text.find("\n", index) + 1
        if index == 0:
            return len(text)
    return index
