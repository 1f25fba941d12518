"""The commands of ``keystead audit``: names, options and help. What they do is in ``audit``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from controlplane.cli import options
from controlplane.cli.options import F, client_options


@click.group()
def audit() -> None:
    """Who did what: query, export and check the audit journal."""


def _which_records(command: F) -> F:
    """The options that choose records."""
    for option in (
        click.option(
            "--directory",
            type=click.Path(path_type=Path, file_okay=False),
            metavar="DIR",
            help="Read the journal's files instead of asking a server; keys and principals are ARNs then.",
        ),
        click.option("--until", metavar="TIME", help="Exclusive."),
        click.option("--since", metavar="TIME", help="Such as 2026-01-31T12:00:00Z, or 90m or 7d ago."),
        click.option("--decision", type=click.Choice(["allowed", "denied", "failed"])),
        click.option("--operation", "operations", multiple=True, metavar="O", help="May be given several times."),
        click.option("--principal", metavar="P", help="A name or ARN."),
        click.option("--key", metavar="K", help="A name, key id, alias/NAME or ARN."),
    ):
        command = option(command)
    return command


@audit.command("query")
@_which_records
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, metavar="N")
@client_options
def audit_query(limit: int, as_json: bool, **wanted: Any) -> int:
    """The newest records that are like this."""
    from controlplane.cli import audit as commands
    from controlplane.cli.output import Output

    return commands.query(commands.Wanted(**wanted), Output(json=as_json), limit=limit)


@audit.command("export")
@_which_records
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="A new file.")
@click.option(
    "--format",
    "shape",
    type=click.Choice(["cloudtrail", "keystead"]),
    default="cloudtrail",
    show_default=True,
    help="The shape of each line.",
)
@client_options
def audit_export(out: Path | None, shape: str, as_json: bool, **wanted: Any) -> int:
    """Every record that is like this as JSON lines, oldest first."""
    from controlplane.cli import audit as commands
    from controlplane.cli.output import Output

    return commands.export(commands.Wanted(**wanted), Output(json=as_json), out=out, shape=shape)


@audit.command("verify")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
@click.option(
    "--public-key",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE",
    help="What must have signed the checkpoints. Without it the key that the first one names is believed.",
)
@click.option(
    "--checkpoint",
    "saved",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    multiple=True,
    metavar="FILE",
    help="What `audit checkpoint` saved: its records must still be there. May be given several times.",
)
@click.option(
    "--archive",
    "archives",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    multiple=True,
    metavar="DIR",
    help="Where `audit archive` moved segments to.",
)
@options.as_json
def audit_verify(
    directory: Path, public_key: Path | None, saved: tuple[Path, ...], archives: tuple[Path, ...], as_json: bool
) -> int:
    """Check the files of a journal: nothing edited, removed, reordered or cut off, and every checkpoint signed."""
    from controlplane.cli import audit as commands
    from controlplane.cli.output import Output

    return commands.verify(directory, Output(json=as_json), public_key=public_key, saved=saved, archives=archives)


@audit.command("checkpoint")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="A new file.")
@client_options
def audit_checkpoint(url: str | None, out: Path | None, as_json: bool) -> int:
    """Have it signed where the journal stands. Kept elsewhere, it shows what was taken from the journal's end."""
    from controlplane.cli import audit as commands
    from controlplane.cli.output import Output

    return commands.checkpoint(url, Output(json=as_json), out=out)


@audit.command("archive")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
@click.option("--to", "target", type=click.Path(path_type=Path, file_okay=False), required=True, metavar="DIR")
@click.option(
    "--keep",
    type=click.IntRange(0, 100_000),
    default=1,
    show_default=True,
    metavar="N",
    help="Full segments of each chain that stay.",
)
@options.as_json
def audit_archive(directory: Path, target: Path, keep: int, as_json: bool) -> int:
    """Move full segments of a journal elsewhere, also while a server writes it."""
    from controlplane.cli import audit as commands
    from controlplane.cli.output import Output

    return commands.archive(directory, target, Output(json=as_json), keep=keep)
