"""Commands about what is true of declared objects: names, options and help. What they do is in ``state``."""

from __future__ import annotations

import rich_click as click

from controlplane.cli.options import client_options


@click.command()
@click.option("--spec-set", metavar="NAME", help="Only what this set states.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 0: no drift, 1: error, 2: drift.")
@client_options
def drift(spec_set: str | None, detailed_exitcode: bool, url: str | None, as_json: bool) -> int:
    """Show what is not as it is declared. Changes nothing."""
    from controlplane.cli import state
    from controlplane.cli.output import Output

    return state.drift(Output(json=as_json), url=url, spec_set=spec_set, detailed_exitcode=detailed_exitcode)
