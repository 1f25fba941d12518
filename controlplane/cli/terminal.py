"""``keystead tui``: checks that there is a terminal, then hands over to :mod:`tui`.

The one place where the command line names the other face; it imports it inside, because Textual takes a second to load.
"""

from __future__ import annotations

import os

from controlplane.errors import InvalidInput


def terminal(url: str | None, *, read_only: bool, theme: str) -> int:
    """Run the terminal UI until the person leaves."""
    if not (os.isatty(0) and os.isatty(1)):
        raise InvalidInput("the terminal UI needs a terminal; in a script use keystead get, describe, plan and apply")
    from tui.run import run

    return run(url, read_only=read_only, theme=f"keystead-{theme}")
