"""What references in spec files stand for: values files and the environment of whoever runs the command.

Who calls it: the commands that read spec files, before ``specfiles.load``. Guarantees: a later file wins, field by
field; a spec file can name only variables that begin with :data:`PREFIX`, because spec files are often other people's,
and what they name is sent to a server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from controlplane.errors import InvalidSpec, Problem
from controlplane.schema import reading
from controlplane.schema.mistakes import path_text
from controlplane.schema.reading import Format
from controlplane.schema.references import Scalar, Unknown

PREFIX: Final = "KEYSTEAD_VAR_"
MAX_BYTES: Final = 1024 * 1024
_FORMATS: Final[dict[str, Format]] = {".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".json": "json"}


class Values:
    """Looks names up; a :data:`controlplane.schema.references.Look`."""

    def __init__(self, values: Mapping[str, Any], environment: Mapping[str, str], files: Sequence[Path] = ()) -> None:
        self._values = values
        self._environment = environment
        self._files = files

    def __call__(self, source: str, name: str) -> Scalar:
        return self._variable(name) if source == "env" else self._value(name)

    def _variable(self, name: str) -> str:
        held = self._environment.get(PREFIX + name)
        if held is None:
            raise Unknown(f"the environment variable {PREFIX}{name} is not set", f"export {PREFIX}{name}=...")
        return held

    def _value(self, name: str) -> Scalar:
        if not self._files:
            raise Unknown(f"no values file is given, and `{name}` is asked for", "give one with --values FILE")
        given = ", ".join(str(path) for path in self._files)
        held: object = self._values
        for part in name.split("."):
            if not isinstance(held, Mapping) or part not in held:
                raise Unknown(f"no value `{name}` stands in {given}", "add it there, or correct the name")
            held = held[part]
        if not isinstance(held, str | int | float | bool):
            raise Unknown(f"the value `{name}` of {given} is no single text, number or boolean", "name one inside it")
        return held


def read(files: Sequence[Path], environment: Mapping[str, str]) -> Values:
    """The values of these files. Raises :class:`InvalidSpec` with every mistake in them."""
    merged: dict[str, Any] = {}
    problems: list[Problem] = []
    for path in files:
        found = _file(path, problems)
        if found is not None:
            merged = _over(merged, found)
    if problems:
        raise InvalidSpec(problems)
    return Values(merged, environment, files)


def _file(path: Path, problems: list[Problem]) -> dict[str, Any] | None:
    shown, format = str(path), _FORMATS.get(path.suffix.lower())
    if format is None:
        hint = f"let its name end in {', '.join(_FORMATS)}"
        problems.append(Problem("the format of this values file is not known", file=shown, hint=hint))
        return None
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        problems.append(Problem(f"this values file cannot be read: {why}", file=shown))
        return None
    if len(content) > MAX_BYTES:
        problems.append(Problem("this values file is larger than 1 MiB", file=shown))
        return None
    documents = reading.read(text, format)
    for raw in documents:
        problems += [
            Problem(each.message, file=shown, line=each.line, path=path_text(each.path), hint=each.hint)
            for each in raw.mistakes
        ]
    if any(raw.mistakes for raw in documents):
        return None
    if len(documents) != 1 or not isinstance(documents[0].value, dict):
        hint = "write one mapping, such as `stage: production`"
        problems.append(Problem("a values file holds one mapping", file=shown, hint=hint))
        return None
    return documents[0].value


def _over(lower: dict[str, Any], upper: dict[str, Any]) -> dict[str, Any]:
    """``upper`` over ``lower``, mappings field by field."""
    merged = dict(lower)
    for name, value in upper.items():
        held = merged.get(name)
        merged[name] = _over(held, value) if isinstance(held, dict) and isinstance(value, dict) else value
    return merged
