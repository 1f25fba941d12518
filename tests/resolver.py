"""Names that resolve, and stop resolving: for servers that a test starts.

``resolver.c`` stands in front of the C library's getaddrinfo in the server's process; a file says what each name is and
can change while the server runs. Only names below ``.test`` are looked at.
"""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

from tests.hsm import need


@cache
def _built() -> Path:
    """The library, compiled once for each process of the test run, and removed when that ends."""
    directory = Path(tempfile.mkdtemp(prefix="keystead-resolver-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    library = directory / "resolver.so"
    source = Path(__file__).with_name("resolver.c")
    command = [need("gcc"), "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    done = subprocess.run(
        [*command, "-o", library, source, "-ldl"], capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        pytest.fail(f"the resolver does not compile: {done.stderr}")
    return library


class Names:
    """What servers that are started from now on hear of names."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._path = directory / "names"
        self.say()
        monkeypatch.setenv("LD_PRELOAD", str(_built()))
        monkeypatch.setenv("RESOLVER_FILE", str(self._path))

    def say(self, **addresses: str) -> None:
        """These names (without ``.test``) have addresses from now on, and no others."""
        fresh = self._path.with_suffix(".new")
        fresh.write_text("".join(f"{name}.test {address}\n" for name, address in addresses.items()))
        fresh.replace(self._path)
