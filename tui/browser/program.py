"""What textual-serve starts for a visitor: ``python -m tui.browser.program``. Settings come in the environment.

Nothing is on the command line, where every user of the machine could read it.
"""

from __future__ import annotations

import os
import sys

from controlplane.errors import KeysteadError
from tui.run import run

READ_ONLY = "KEYSTEAD_TUI_READ_ONLY"
THEME = "KEYSTEAD_TUI_THEME"


def main() -> int:
    """Run it until the visitor leaves."""
    try:
        return run(read_only=os.environ.get(READ_ONLY) != "0", theme=os.environ.get(THEME))
    except KeysteadError as error:
        print(error.message, file=sys.stderr)  # noqa: T201 - textual-serve shows it
        return 1


if __name__ == "__main__":
    sys.exit(main())
