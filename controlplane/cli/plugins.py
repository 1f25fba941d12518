"""``keystead plugin``: examine a key store plugin. Called by ``cli.main``; the work is done by ``plugincheck``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import rich_click as click

from controlplane.cli import options

if TYPE_CHECKING:
    from controlplane.schema.reading import Format

_FORMATS: Final[dict[str, Format]] = {".toml": "toml", ".json": "json"}
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def plugin() -> None:
    """Key store plugins: examine one, ours or your own."""


@plugin.command("check")
@click.argument("name", help="The type of key store that the plugin is installed for.")
@click.option("--config", type=_FILE, required=True, metavar="FILE", help="A KeyStore document, or its options alone.")
@click.option("--external-key", metavar="ID", help="For stores of external keys: one to encrypt and decrypt with.")
@click.option(
    "--foreign-key", metavar="NAME", help="For stores with adoption: a key to take over, DESTROYED at the end."
)
@options.as_json
def plugin_check(name: str, config: Path, external_key: str | None, foreign_key: str | None, as_json: bool) -> int:
    """Run the conformance suite on a plugin with a configuration.

    It makes keys in the store, uses them, and destroys them again; others' keys are not touched. Give it a store that
    can spare the time and the room.
    """
    from controlplane.cli.output import Output
    from controlplane.plugincheck import check
    from controlplane.report.plugins import checked_lines

    checked = check(name, read_options(name, config), external_key=external_key, foreign_key=foreign_key)
    Output(json=as_json).answer(checked, checked_lines(checked))
    return 0 if checked.conforms else 1


def read_options(name: str, path: Path) -> dict[str, Any]:
    """The options of a file: those of its one KeyStore document of that type, or the file itself.

    Files that they name are relative to it. Raises :class:`InvalidInput`, or :class:`InvalidSpec` for a document.
    """
    from controlplane.errors import InvalidInput, InvalidSpec
    from controlplane.schema.documents import KeyStoreDocument, parse
    from controlplane.schema.reading import read
    from controlplane.settings import with_absolute_files

    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidInput(f"--config: {path} cannot be read: {why}") from None
    format = _FORMATS.get(path.suffix.lower(), "yaml")
    documents = read(text, format)
    first = documents[0].value if documents else {}
    if isinstance(first, dict) and "apiVersion" not in first and not any(each.mistakes for each in documents):
        return with_absolute_files(first, path.resolve().parent)
    located, problems = parse(text, file=str(path), format=format)
    if problems:
        raise InvalidSpec(tuple(problems))
    found = [each.document for each in located if isinstance(each.document, KeyStoreDocument)]
    fitting = [document.spec for document in found if document.spec.type == name]
    if len(fitting) != 1:
        raise InvalidInput(
            f"--config: {path} has {len(fitting)} KeyStore documents of type {name}, and one is needed; or give the "
            "options alone"
        )
    return with_absolute_files(fitting[0].plugin_options(), path.resolve().parent)
