"""Where PKCS#11 modules are: a name without a directory is looked for where Debian and vendors put them. Loads nothing.

Called by ``module`` in workers, and by the host to judge a name before any worker sees it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

DIRECTORIES: Final = (
    "/usr/lib/softhsm",
    "/usr/lib/pkcs11",
    "/usr/lib/x86_64-linux-gnu/softhsm",
    "/usr/lib/x86_64-linux-gnu/pkcs11",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu/softhsm",
    "/usr/lib/aarch64-linux-gnu/pkcs11",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64/pkcs11",
    "/usr/lib64",
    "/usr/local/lib/softhsm",
    "/usr/local/lib",
    "/opt/cloudhsm/lib",
    "/opt/nfast/toolkits/pkcs11",
)
"""Where a module that is given by its name is looked for, before the dynamic linker is asked."""


def find(name: str) -> str:
    """The file of a module: a path as it is, a bare name from where modules usually are."""
    if "/" not in name:
        for directory in DIRECTORIES:
            path = Path(directory, name)
            if path.is_file():
                return str(path)
    return name


def in_well_known_place(name: str) -> bool:
    """Whether a module is in a directory where modules usually are: only the system's administrator writes there.

    The path is compared as it is written, so that no link elsewhere can be turned round after this.
    """
    file = Path(find(name))
    return str(file.parent) in DIRECTORIES and file.is_file()
