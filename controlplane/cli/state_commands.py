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


_kind = click.option(
    "--kind",
    type=click.Choice(["key", "keystore", "principal", "xksproxy"]),
    default="key",
    show_default=True,
    help="What it is.",
)
_name = click.argument("name", help="Its name; a key also by key id, alias/NAME or ARN.")


@click.command()
@click.argument("name", help="An object, or with --key-store what the store calls the material.")
@_kind
@click.option("--spec-set", metavar="SET", help="The set that it is to belong to.")
@click.option("--as", "renamed", metavar="NAME", help="The name that the key gets.")
@click.option("--key-store", metavar="STORE", help="Take over material of this key store, which no key names yet.")
@click.option("--key-spec", metavar="SPEC", help="Of the material; default: SYMMETRIC_DEFAULT.")
@client_options
def adopt(
    *,
    name: str,
    kind: str,
    spec_set: str | None,
    renamed: str | None,
    key_store: str | None,
    key_spec: str | None,
    url: str | None,
    as_json: bool,
) -> int:
    """Give an object that no spec set owns to one, or make a key of material that is in a key store."""
    from controlplane.cli import state
    from controlplane.cli.output import Output

    output = Output(json=as_json)
    if key_store is None:
        return state.adopt(kind, name, output, url=url, spec_set=spec_set, renamed=renamed)
    return state.adopt_material(key_store, name, output, url=url, spec_set=spec_set, renamed=renamed, key_spec=key_spec)


@click.command()
@_name
@_kind
@client_options
def forget(name: str, kind: str, url: str | None, as_json: bool) -> int:
    """Stop managing an object without destroying it; a key that is still being made is taken out."""
    from controlplane.cli import state
    from controlplane.cli.output import Output

    return state.manage("forget", kind, name, Output(json=as_json), url=url)


@click.command()
@_name
@_kind
@client_options
def pause(name: str, kind: str, url: str | None, as_json: bool) -> int:
    """Leave an object alone: nothing is made, corrected or destroyed until it is resumed."""
    from controlplane.cli import state
    from controlplane.cli.output import Output

    return state.manage("pause", kind, name, Output(json=as_json), url=url)


@click.command()
@_name
@_kind
@client_options
def resume(name: str, kind: str, url: str | None, as_json: bool) -> int:
    """Manage a paused object again."""
    from controlplane.cli import state
    from controlplane.cli.output import Output

    return state.manage("resume", kind, name, Output(json=as_json), url=url)


@click.command()
@_name
@_kind
@client_options
def reconcile(name: str, kind: str, url: str | None, as_json: bool) -> int:
    """Have the server look at an object now: compare a key with its key store, a key store with its declaration."""
    from controlplane.cli import state
    from controlplane.cli.output import Output

    return state.manage("reconcile", kind, name, Output(json=as_json), url=url)


@click.command()
@_name
@client_options
def protect(name: str, url: str | None, as_json: bool) -> int:
    """Keep a key from deletion. Only an apply of its own lifts that."""
    from controlplane.cli import state
    from controlplane.cli.output import Output

    return state.manage("protect", "key", name, Output(json=as_json), url=url)


@click.command()
@_name
@click.option("--adopt", "finding", flag_value="adopt", help="The key store made the material: it is taken over.")
@click.option("--abandon", "finding", flag_value="abandon", help="It did not: it is made anew.")
@client_options
def resolve(name: str, finding: str | None, url: str | None, as_json: bool) -> int:
    """Say what became of a call to a key store that cannot be asked."""
    from controlplane.cli import state
    from controlplane.cli.output import Output

    if finding is None:
        raise click.UsageError("say what was found in the key store: --adopt or --abandon")
    return state.resolve(name, finding, Output(json=as_json), url=url)
