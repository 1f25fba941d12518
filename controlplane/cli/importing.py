"""The commands of ``keystead import-material``: names, options and help. What they do is in ``cli.imports``.

Called by ``cli.main``, which adds the group to its table.
"""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from controlplane.cli import options
from controlplane.cli.options import client_options


class _ImportMaterial(click.RichGroup):
    """``import-material KEY COMMAND``, and ``import-material wrap``, which is about no key of the server."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the key's name, if one stands first, and leave the rest as the command that it is for."""
        if len(args) > 1 and args[0] not in ("-h", "--help") and args[1] in self.commands and args[1] != "wrap":
            ctx.obj = args[0]
            args = args[1:]
        return super().parse_args(ctx, args)


def _key_of(context: click.Context) -> str:
    if not isinstance(context.obj, str):
        raise click.UsageError("say which key: keystead import-material KEY " + str(context.info_name))
    return context.obj


_parameters_dir = click.option(
    "--parameters", type=click.Path(path_type=Path, file_okay=False), required=True, metavar="DIR", help="As written."
)


@click.group("import-material", cls=_ImportMaterial, subcommand_metavar="[KEY] COMMAND ...")
def import_material() -> None:
    """Bring your own material: parameters, wrap, upload, status, delete.

    KEY is a name, key id, alias/NAME or ARN; `wrap` takes none, because it works without the server.
    """


@import_material.command("parameters")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, metavar="DIR", help="A new one."
)
@click.option("--wrapping-key", type=click.Choice(["RSA_2048", "RSA_3072", "RSA_4096"]), metavar="SPEC")
@click.option(
    "--algorithm",
    type=click.Choice(["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "RSA_AES_KEY_WRAP_SHA_1", "RSA_AES_KEY_WRAP_SHA_256"]),
    metavar="NAME",
    help="Default: RSA_AES_KEY_WRAP_SHA_256, which fits all material.",
)
@client_options
@click.pass_context
def import_parameters(
    context: click.Context,
    *,
    out: Path,
    wrapping_key: str | None,
    algorithm: str | None,
    url: str | None,
    as_json: bool,
) -> int:
    """Get a wrapping key and an import token, valid for 24 hours."""
    from controlplane.cli import imports as commands
    from controlplane.cli.output import Output
    from controlplane.schema.imports import WrappingAlgorithm, WrappingSpec

    return commands.parameters(
        _key_of(context),
        out,
        Output(json=as_json),
        url=url,
        spec=None if wrapping_key is None else WrappingSpec(wrapping_key),
        algorithm=None if algorithm is None else WrappingAlgorithm(algorithm),
    )


@import_material.command("wrap")
@_parameters_dir
@click.option(
    "--in",
    "source",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    required=True,
    metavar="FILE",
    help="The material: octets of a secret key, or a private key in PEM or DER; - reads standard input.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE", help="A new one."
)
@options.as_json
def import_wrap(parameters: Path, source: Path, out: Path, as_json: bool) -> int:
    """Wrap material on this machine, without the server."""
    from controlplane.cli import imports as commands
    from controlplane.cli.output import Output

    return commands.wrap(parameters, None if str(source) == "-" else source, out, Output(json=as_json))


@import_material.command("upload")
@_parameters_dir
@click.option(
    "--in",
    "source",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="What `wrap` made; default: wrapped.bin in DIR.",
)
@click.option("--valid-to", metavar="TIME", help="When it expires, such as 2030-01-31T12:00:00Z.")
@click.option("--valid-days", type=click.IntRange(1, 365), metavar="1..365", help="In how many days it expires.")
@click.option("--new", "kind", flag_value="NEW_KEY_MATERIAL", help="Material to rotate to, not the present one again.")
@click.option("--existing", "kind", flag_value="EXISTING_KEY_MATERIAL", help="Material that the key had before.")
@click.option("--material-id", metavar="ID", help="Which one of those it has to be.")
@click.option("--description", metavar="TEXT")
@client_options
@click.pass_context
def import_upload(
    context: click.Context,
    *,
    parameters: Path,
    source: Path | None,
    valid_to: str | None,
    valid_days: int | None,
    kind: str | None,
    material_id: str | None,
    description: str | None,
    url: str | None,
    as_json: bool,
) -> int:
    """Upload wrapped material. Without an expiry the key's declared one holds, or none."""
    from controlplane.cli import imports as commands
    from controlplane.cli.output import Output
    from controlplane.schema.imports import ImportType

    return commands.upload(
        _key_of(context),
        parameters,
        source or parameters / "wrapped.bin",
        Output(json=as_json),
        url=url,
        valid_to=valid_to,
        valid_days=valid_days,
        kind=None if kind is None else ImportType(kind),
        material_id=material_id,
        description=description,
    )


@import_material.command("status")
@client_options
@click.pass_context
def import_status(context: click.Context, url: str | None, as_json: bool) -> int:
    """Show how far the import of a key is."""
    from controlplane.cli import imports as commands
    from controlplane.cli.output import Output

    return commands.status(_key_of(context), Output(json=as_json), url=url)


@import_material.command("delete")
@click.option("--material-id", metavar="ID", help="Default: the material that encrypts now.")
@options.yes
@client_options
@click.pass_context
def import_delete(context: click.Context, *, material_id: str | None, yes: bool, url: str | None, as_json: bool) -> int:
    """Delete imported material at once. The key waits for the same material again."""
    from controlplane.cli import imports as commands
    from controlplane.cli.output import Output

    return commands.delete(_key_of(context), Output(json=as_json), url=url, material_id=material_id, yes=yes)
