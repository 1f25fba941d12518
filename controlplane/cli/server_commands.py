"""``keystead dev``, ``init``, ``serve`` and ``migrate-root-key``: names, options, help. What they do is in ``serve``.

Called by ``cli.main``.
"""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from controlplane.cli import options


@click.command()
@click.option("--port", type=click.IntRange(0, 65_535), default=8470, show_default=True, help="0 takes a free one.")
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), metavar="D", help="Where data is kept.")
@click.option("--json", "as_json", is_flag=True, help="Say that it is ready as one line of JSON.")
def dev(port: int, data_dir: Path | None, as_json: bool) -> None:
    """Run a server for a laptop or a CI job: loopback, known credentials."""
    from controlplane.cli import serve as servers

    servers.dev(port, data_dir, as_json=as_json)


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
@click.option("--account", metavar="ID", help="Twelve digits.")
@click.option(
    "--region", "regions", multiple=True, metavar="R", help="May be given several times; the first is the default."
)
@click.option("--root-key", type=click.Choice(["file", "passphrase", "pkcs11"]), default="file", show_default=True)
@click.option("--passphrase-file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE")
@click.option("--module", metavar="M", help="For a root key in an HSM: its PKCS#11 module.")
@click.option("--token", metavar="LABEL", help="For a root key in an HSM: the token.")
@click.option("--pin-file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Its user's PIN.")
@click.option("--listen", metavar="HOST:PORT", help="Default: 127.0.0.1:8470.")
@options.as_json
def init(
    *,
    directory: Path,
    account: str | None,
    regions: tuple[str, ...],
    root_key: str,
    passphrase_file: Path | None,
    module: str | None,
    token: str | None,
    pin_file: Path | None,
    listen: str | None,
    as_json: bool,
) -> None:
    """Make a new server in DIR. Its administrator's credentials are shown once."""
    from controlplane.cli import serve as servers
    from controlplane.cli.output import Output
    from controlplane.report import Line

    made = servers.init(
        directory,
        account=account,
        regions=regions,
        root_key=servers.RootKeyChoice(root_key, passphrase_file, module, token, pin_file),
        listen=listen,
    )
    lines = [
        f"A new Keystead is in {directory}. Start it with: keystead serve --config {made['settings']}",
        "Its administrator's credentials, shown this once:",
        "",
        f"export KEYSTEAD_URL={made['url']}",
        f"export KEYSTEAD_TOKEN={made['token']}",
        f"export AWS_ENDPOINT_URL_KMS={made['url']}",
        f"export AWS_ENDPOINT_URL_STS={made['url']}",
        f"export AWS_REGION={made['regions'][0]}",
        f"export AWS_ACCESS_KEY_ID={made['accessKeyId']}",
        f"export AWS_SECRET_ACCESS_KEY={made['secretAccessKey']}",
    ]
    Output(json=as_json).answer(made, map(Line, lines))


@click.command()
@click.option("--config", type=click.Path(path_type=Path), required=True, metavar="FILE", help="As `init` made it.")
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    metavar="N",
    help="Server processes that share the port, one core each; in place of the setting `workers`.",
)
@click.option("--json", "as_json", is_flag=True, help="Say that it is ready as one line of JSON.")
def serve(config: Path, workers: int | None, as_json: bool) -> None:
    """Run a server."""
    from controlplane.cli import serve as servers

    servers.serve(config, workers=workers, as_json=as_json)


@click.command("migrate-root-key")
@click.option("--config", type=click.Path(path_type=Path), required=True, metavar="FILE", help="As `init` made it.")
@options.as_json
def migrate_root_key(config: Path, as_json: bool) -> None:
    """Move a stopped server to the root key that its settings name.

    Write the new root key as [standard.rootKey], and where it came from until now as [standard.previousRootKey]. It
    goes on where it was interrupted.
    """
    from controlplane.cli import serve as servers
    from controlplane.cli.output import Output
    from controlplane.report import Line

    done = servers.migrate_root_key(config)
    last = f"Remove [standard.previousRootKey] from {config}. Backups made before this need the old root key."
    Output(json=as_json).answer({"done": done}, map(Line, [*done, last]))
