"""``keystead copies verify`` and ``repair``, ``keystead backup`` and ``restore``.

Called by ``cli.main``. All but ``restore`` ask a running server; ``restore`` works on files, where no server runs.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import rich_click as click

from controlplane.cli import options
from controlplane.cli.options import client_options


@click.group()
def copies() -> None:
    """Copies of key tokens: compare them, make them good."""


@copies.command("verify")
@client_options
def verify(url: str | None, as_json: bool) -> int:
    """Compare the database and every directory of copies. Exit 1 if something is missing or damaged."""
    return _look(url, as_json, repair=False)


@copies.command("repair")
@client_options
def repair(url: str | None, as_json: bool) -> int:
    """Make missing and damaged copies good from good ones. Exit 1 if one is lost everywhere."""
    return _look(url, as_json, repair=True)


def _look(url: str | None, as_json: bool, *, repair: bool) -> int:
    from controlplane.cli.output import Output
    from controlplane.client import Client
    from controlplane.report import copies_lines
    from controlplane.schema.copies import CopiesReport

    async def ask() -> CopiesReport:
        async with Client.from_environment(url) as client:
            return await client.repair_copies() if repair else await client.verify_copies()

    report = asyncio.run(ask())
    Output(json=as_json).answer(report, copies_lines(report))
    return int(bool(report.lost) or (not repair and not report.sound))


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="A new one.")
@client_options
def backup(file: Path, url: str | None, as_json: bool) -> int:
    """Back up a running server into FILE. The root key is not in it: keep that apart."""
    from controlplane import backups
    from controlplane.cli.output import Output
    from controlplane.client import Client
    from controlplane.errors import InvalidInput
    from controlplane.report import Line, moment

    draft = file.with_name(f".{file.name}.{os.getpid()}")

    async def download() -> None:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as out:
            async with Client.from_environment(url) as client:
                async for chunk in client.backup():
                    out.write(chunk)
            out.flush()
            os.fsync(out.fileno())

    try:
        if file.exists():
            raise InvalidInput(f"{file} exists already and is not overwritten")
        asyncio.run(download())
        manifest = backups.check(draft)
        draft.rename(file)
    except OSError as error:
        raise InvalidInput(f"{file}: cannot be written: {error.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)
    size = file.stat().st_size
    answer = {
        "file": str(file),
        "octets": size,
        "serverId": manifest.server_id,
        "createdAt": manifest.created_at,
        "files": len(manifest.files),
    }
    lines = [
        Line(f"{file}: server {manifest.server_id} as of {moment(manifest.created_at)} ({size:,} octets)."),
        Line("The root key is not in it, and without it nothing in it opens: back that up apart from this file."),
    ]
    Output(json=as_json).answer(answer, lines)
    return 0


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True), metavar="FILE")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Data directory.")
@options.as_json
def restore(file: Path, directory: Path, as_json: bool) -> int:
    """Put a backup into DIR, the data directory of a server that does not run and holds nothing yet."""
    from controlplane import backups
    from controlplane.cli.output import Output
    from controlplane.report import Line, moment

    manifest = backups.unpack(file, directory)
    lines = [
        Line(f"Server {manifest.server_id} (account {manifest.account}) is restored in {directory}, as it was at "
             f"{moment(manifest.created_at)}."),
        Line("Put its root key where its settings say (standard.rootKey), then start it with: keystead serve"),
    ]  # fmt: skip
    answer = {"directory": str(directory), "serverId": manifest.server_id, "account": manifest.account}
    Output(json=as_json).answer({**answer, "createdAt": manifest.created_at}, lines)
    return 0
