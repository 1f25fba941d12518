"""The command ``keystead tui``: names, options and help. What it does is in ``terminal``."""

from __future__ import annotations

import rich_click as click

from controlplane.cli import options


@click.command()
@options.url
@click.option("--read-only", is_flag=True, help="Show, and change nothing.")
@click.option(
    "--theme",
    type=click.Choice(["dark", "light", "contrast"]),
    default="dark",
    envvar="KEYSTEAD_THEME",
    show_default=True,
    show_envvar=True,
)
@click.option("--serve", is_flag=True, help="In one browser of this machine instead; read-only without --read-write.")
@click.option("--read-write", is_flag=True, help="With --serve: let the browser change things.")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, metavar="P", help="With --serve; default: any.")
@click.option("--json", "as_json", is_flag=True, hidden=True)
def tui(
    *, url: str | None, read_only: bool, theme: str, serve: bool, read_write: bool, port: int, as_json: bool
) -> int:
    """See every key live, import material, cancel a deletion in time."""
    from controlplane.cli import terminal

    if read_write and (read_only or not serve):
        raise click.UsageError("--read-write goes with --serve and without --read-only")
    if serve:
        return terminal.browser(url, port, read_only=not read_write, theme=theme, as_json=as_json)
    return terminal.terminal(url, read_only=read_only, theme=theme)
