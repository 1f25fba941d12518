"""From the text of a spec file to raw documents: YAML, TOML and JSON, each with where its documents stand.

Called by ``schema.documents`` only. Guarantees: no I/O; bad text gives mistakes with their line and never an exception;
every value that comes out satisfies :func:`raw.unfit`. Lines of fields are found only when something is wrong.
"""

from __future__ import annotations

import re
from typing import Literal

from controlplane.schema.reading.json_reader import json_words, read_json
from controlplane.schema.reading.raw import Passage, RawDocument, broken, line_of, unfit
from controlplane.schema.reading.toml_reader import read_toml
from controlplane.schema.reading.yaml_reader import read_yaml

__all__ = ["Format", "Passage", "RawDocument", "json_words", "read", "unfit"]

Format = Literal["yaml", "toml", "json"]

_UNREADABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")
_UNREADABLE_YAML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
_READERS = {"yaml": read_yaml, "toml": read_toml, "json": read_json}


def read(text: str, format: Format) -> list[RawDocument]:
    """The documents of a file in their order, empty ones left out."""
    text = text.removeprefix("\ufeff")
    if unreadable := (_UNREADABLE_YAML if format == "yaml" else _UNREADABLE).search(text):
        where = unreadable.start()
        column = where - text.rfind("\n", 0, where)
        name = "a NUL character" if unreadable[0] == "\0" else f"the control character U+{ord(unreadable[0]):04X}"
        return [
            broken(text, line_of(text, where), f"{name} cannot stand in a spec file (column {column})", "remove it")
        ]
    return _READERS[format](text)
