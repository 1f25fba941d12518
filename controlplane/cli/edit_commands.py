"""Commands on one object, a field of it or its key store: names, options and help. What they do is in ``edits``."""

from __future__ import annotations

import rich_click as click

from controlplane.cli import options
from controlplane.cli.options import client_options


@click.command("set")
@click.argument("name", help="A name, key id, alias/NAME or ARN.")
@click.option("--description", metavar="TEXT", help="Its description from now on.")
@click.option("--tag", "tags", multiple=True, metavar="TAG=VALUE", help="Give it this tag. May be given several times.")
@click.option("--untag", "untags", multiple=True, metavar="TAG", help="Take this tag away. May be given several times.")
@client_options
def set_fields(
    *,
    name: str,
    description: str | None,
    tags: tuple[str, ...],
    untags: tuple[str, ...],
    url: str | None,
    as_json: bool,
) -> int:
    """Change description and tags of a key. What a spec set states of them is put back."""
    from controlplane.cli import edits
    from controlplane.cli.output import Output

    return edits.set_fields(name, Output(json=as_json), url=url, description=description, tags=tags, untags=untags)


@click.command()
@click.argument("name", help="The name of a key store.")
@client_options
def connect(name: str, url: str | None, as_json: bool) -> int:
    """Declare a key store connected. The server then keeps it so."""
    from controlplane.cli import edits
    from controlplane.cli.output import Output

    return edits.connect(name, Output(json=as_json), url=url)


@click.command()
@click.argument("name", help="The name of a key store.")
@options.yes
@client_options
def disconnect(name: str, yes: bool, url: str | None, as_json: bool) -> int:
    """Declare a key store disconnected. Its keys cannot be used until it is connected again."""
    from controlplane.cli import edits
    from controlplane.cli.output import Output

    return edits.disconnect(name, Output(json=as_json), url=url, yes=yes)


@click.command()
@click.argument("name", help="The name of a key store.")
@click.option(
    "--external-key", metavar="ID", help="Of a store of external keys: one that may encrypt a message of the probe."
)
@client_options
def probe(name: str, external_key: str | None, url: str | None, as_json: bool) -> int:
    """Try what a key store promises, with keys made for it and destroyed afterwards. Exit code 1 if it breaks one."""
    from controlplane.cli import edits
    from controlplane.cli.output import Output

    return edits.probe(name, Output(json=as_json), url=url, external_key=external_key)
