"""The commands of ``keystead xks``: names, options and help. What they do is in ``xks``."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from controlplane.cli import options
from controlplane.cli.options import client_options

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def xks() -> None:
    """External key stores: configure a KMS for a proxy of ours, and examine any proxy."""


@xks.command("config")
@click.argument("name", help="The name of an XksProxy.")
@click.option("--access-key-id", metavar="ID", help="Which of its credentials; default: the last that is declared.")
@client_options
def xks_config(name: str, access_key_id: str | None, url: str | None, as_json: bool) -> int:
    """Print the JSON file that the AWS KMS console imports. It holds the secret."""
    from controlplane.cli import xks as commands
    from controlplane.cli.output import Output

    return commands.config(name, Output(json=as_json), url=url, access_key_id=access_key_id)


@xks.command("check")
@click.argument("url", help="https://HOST[:PORT][/PREFIX]/kms/xks/v1; with --config the path may be left out.")
@click.option("--config", "config_file", type=_FILE, metavar="FILE", help="What `keystead xks config` printed.")
@click.option("--access-key-id", metavar="ID", help="Instead of --config.")
@click.option("--secret-file", type=_FILE, metavar="FILE", help="Instead of --config; or set KEYSTEAD_XKS_SECRET.")
@click.option("--key", metavar="ID", help="An external key to encrypt and decrypt with. Nothing of it is changed.")
@click.option("--region", default="us-east-1", show_default=True, metavar="R", help="The Region that is signed for.")
@click.option("--authority", type=_FILE, metavar="FILE", help="Certificates of a private authority, in PEM.")
@click.option(
    "--client-certificate", type=(_FILE, _FILE), default=None, metavar="CRT KEY", help="For a proxy with mutual TLS."
)
@click.option("--address", metavar="IP", help="Where the host of the URL really is.")
@click.option("--samples", type=click.IntRange(0, 100_000), default=100, show_default=True, help="Requests to time.")
@options.as_json
def xks_check(
    *,
    url: str,
    config_file: Path | None,
    access_key_id: str | None,
    secret_file: Path | None,
    key: str | None,
    region: str,
    authority: Path | None,
    client_certificate: tuple[Path, Path] | None,
    address: str | None,
    samples: int,
    as_json: bool,
) -> int:
    """Exercise a proxy, ours or a vendor's: what passed, what failed, how long it takes."""
    from controlplane.cli import xks as commands
    from controlplane.cli.output import Output

    return commands.check(
        url,
        Output(json=as_json),
        config_file=config_file,
        access_key_id=access_key_id,
        secret_file=secret_file,
        key=key,
        region=region,
        authority=authority,
        certificate=client_certificate,
        address=address,
        samples=samples,
    )
