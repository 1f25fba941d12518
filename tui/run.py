"""What ``keystead tui`` runs: the app on this terminal.

Who calls it: ``controlplane.cli.main``, lazily, by name; it loads Textual, which no other command needs.
"""

from __future__ import annotations

import os

from controlplane.client import Client
from tui.app import KeysteadApp
from tui.themes import DARK, THEMES


def run(url: str | None = None, *, read_only: bool = False, theme: str | None = None) -> int:
    """Run it until the person leaves. Raises :class:`KeysteadError` for an address or token that cannot be used."""
    client = Client.from_environment(url)  # says at once what is wrong with them
    app = KeysteadApp(lambda: Client.from_environment(url), client.url, read_only=read_only, theme=theme or DARK.name)
    app.run()
    return app.return_code or 0


def theme_names() -> list[str]:
    return [theme.name for theme in THEMES]


def is_terminal() -> bool:
    """Whether there is a terminal to run on."""
    return os.isatty(0) and os.isatty(1)
