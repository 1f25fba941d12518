"""Options that several commands share. Used by ``cli.main`` and the modules of its groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import rich_click as click

F = TypeVar("F", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="Answer one JSON document.")
url = click.option(
    "--url",
    envvar="KEYSTEAD_URL",
    show_envvar=True,
    help="The server. Its token is in KEYSTEAD_TOKEN or the credentials file.",
    metavar="URL",
)
yes = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


def client_options(command: F) -> F:
    """Of every command that talks to a server."""
    return url(as_json(command))
