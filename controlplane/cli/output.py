"""The only place that writes to standard output and standard error.

Called by every command. Text goes to standard output as lines, or with ``--json`` one JSON document; notes (progress,
questions) and errors in text go to standard error, so that ``keystead ... --json | jq`` and ``> plan.txt`` get the
answer and nothing else.

Guarantees: no control character that came from a server or a file reaches a terminal, in JSON neither. Colour only on
a terminal, and not with ``NO_COLOR`` or ``TERM=dumb``. With ``--json`` an error, too, is JSON on standard output.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from typing import Any, Final, TextIO

import msgspec

from controlplane.errors import InvalidSpec, KeysteadError, Problem
from controlplane.report import Line, Style

_COLOURS: Final = {
    Style.HEADING: "1",
    Style.CREATE: "32",
    Style.UPDATE: "33",
    Style.DELETE: "31",
    Style.BLOCKED: "1;31",
    Style.MUTED: "2",
    Style.GOOD: "32",
    Style.WARNING: "33",
    Style.BAD: "1;31",
}
_NOT_ASCII_TEXT: Final = re.compile(r"[^\n -~]")


class Output:
    """Where one command's words go."""

    def __init__(self, *, json: bool = False, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self.json = json
        self._out = out or sys.stdout
        self._err = err or sys.stderr

    def answer(self, value: object, lines: Iterable[Line]) -> None:
        """The answer of a command: ``value`` as JSON, or else the lines."""
        if self.json:
            self._out.write(_json_text(value))
        else:
            self.lines(lines)

    def lines(self, lines: Iterable[Line]) -> None:
        """Lines to standard output. With ``--json`` they are left out: :meth:`answer` says all."""
        if not self.json:
            _write(self._out, lines)

    def flush(self) -> None:
        """Have everything seen that was said so far: somebody may be following."""
        self._out.flush()

    def text(self, text: str) -> None:
        """A text of our own as it is: a JSON Schema, a completion script."""
        self._out.write(text if text.endswith("\n") else text + "\n")

    def note(self, *lines: Line) -> None:
        """Beside the answer: to standard error, at once, after everything that was said before."""
        self._out.flush()
        _write(self._err, lines)
        self._err.flush()

    def error(self, error: KeysteadError) -> None:
        """One error, or a list of problems."""
        if self.json:
            self._out.write(_json_text({"error": error_body(error)}))
        else:
            self.note(*error_lines(error))

    def ask(self, question: str) -> bool:
        """Whether the person at the terminal answers exactly ``yes``. The end of the input is a no."""
        self._out.flush()
        self._err.write(Line(question).text + " ")
        self._err.flush()
        return sys.stdin.readline().strip() == "yes"


def write(lines: Iterable[str]) -> None:
    """Plain lines to standard output at once: a server that is ready has readers who wait for just that."""
    _write(sys.stdout, map(Line, lines))
    sys.stdout.flush()


def write_json_line(value: object) -> None:
    """One JSON document on one line, at once: for readers that wait for the line of a server that goes on running."""
    text = msgspec.json.encode(value).decode()
    sys.stdout.write(_NOT_ASCII_TEXT.sub(_json_escape, text) + "\n")
    sys.stdout.flush()


def interactive() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def error_lines(error: KeysteadError) -> list[Line]:
    """``error: ...``; each problem of a spec file on a line of its own."""
    if isinstance(error, InvalidSpec):
        count = len(error.problems)
        lines = [Line(str(problem), Style.BAD) for problem in error.problems]
        return [*lines, Line(f"{count} problem{'' if count == 1 else 's'} found; nothing was changed.", Style.HEADING)]
    first, *rest = error.message.split("\n")
    return [Line(f"error: {first}", Style.BAD), *(Line(each) for each in rest)]


def error_body(error: KeysteadError) -> dict[str, Any]:
    """``{"code", "message", "problems"}``, the same with every command."""
    problems: list[Problem] = error.problems if isinstance(error, InvalidSpec) else []
    return {"code": error.code, "message": error.message, "problems": problems}


def _write(stream: TextIO, lines: Iterable[Line]) -> None:
    coloured = _coloured(stream)
    for line in lines:
        colour = _COLOURS.get(line.style) if coloured and line.text else None
        stream.write(f"\x1b[{colour}m{line.text}\x1b[0m\n" if colour else f"{line.text}\n")


def _coloured(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _json_text(value: object) -> str:
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    return _NOT_ASCII_TEXT.sub(_json_escape, text) + "\n"


def _json_escape(match: re.Match[str]) -> str:
    """What JSON allows inside strings and a terminal obeys: C1 controls, direction marks, line separators."""
    character = match[0]
    if character.isprintable():
        return character
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
