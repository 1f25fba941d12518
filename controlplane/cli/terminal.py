"""``keystead tui``: checks that there is a terminal, or a browser to serve, then hands over to :mod:`tui`.

The one place where the command line names the other face; it imports it inside, because Textual takes a second to load.
"""

from __future__ import annotations

import os

from controlplane.cli import output
from controlplane.errors import InvalidInput


def terminal(url: str | None, *, read_only: bool, theme: str) -> int:
    """Run the terminal UI until the person leaves."""
    if not (os.isatty(0) and os.isatty(1)):
        raise InvalidInput("the terminal UI needs a terminal; in a script use keystead get, describe, plan and apply")
    from tui.run import run

    return run(url, read_only=read_only, theme=f"keystead-{theme}")


def browser(url: str | None, port: int, *, read_only: bool, theme: str, as_json: bool) -> int:
    """Serve it to one browser of this machine until the process is stopped."""
    from controlplane.client import Client
    from tui.browser.server import serve

    where = Client.from_environment(url).url  # says at once what is wrong with address or token
    os.environ["KEYSTEAD_URL"] = where  # the visitor's process asks the same server

    def ready(address: str) -> None:
        if as_json:
            output.write_json_line({"url": address, "readOnly": read_only})
            return
        mode = "read-only" if read_only else "it can change things"
        output.write(
            [
                f"The terminal UI of {where}, in one browser of this machine ({mode}):",
                f"  {address}",
                "The address works once. Who opens it acts with your token. Stop it with ctrl+c.",
            ]
        )

    serve(port, read_only=read_only, theme=f"keystead-{theme}", ready=ready)
    return 0
