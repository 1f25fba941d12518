"""Real PKCS#11 tokens for tests: SoftHSM 2 and NSS's softokn, each in a directory of the test's own.

Guarantees: nothing outside that directory is written; a package that is missing fails the test with its name.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PIN = "user-pin-of-the-tests-51"
SO_PIN = "so-pin-of-the-tests-52"
SOFTHSM = "libsofthsm2.so"
SOFTOKN = "libsoftokn3.so"
_PACKAGES = {
    "softhsm2-util": "softhsm2",
    "pkcs11-tool": "opensc",
    "gcc": "gcc",
    SOFTHSM: "softhsm2",
    SOFTOKN: "libnss3",
}


def need(what: str) -> str:
    """The path of a program or module. Fails the test with the Debian package that has it."""
    from plugins.sdk.pkcs11.places import find

    path = find(what) if what.endswith(".so") else shutil.which(what)
    if path is None or "/" not in path:
        pytest.fail(f"{what} is missing: install the Debian package {_PACKAGES[what]}")
    return path


class SoftToken:
    """A SoftHSM token, and the environment in which its module finds it. Several may share a directory."""

    module = SOFTHSM

    def __init__(self, directory: Path, label: str = "keystead", *, user: bool = True) -> None:
        """``user``: whether its user has a PIN yet."""
        self.directory = directory
        self.label = label
        self.tokens = directory / "tokens"
        self.tokens.mkdir(parents=True, exist_ok=True)
        self.configuration = directory / "softhsm2.conf"
        self.configuration.write_text(
            f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
        )
        present = set(self.tokens.iterdir())
        if user:
            pins = ("--so-pin", SO_PIN, "--pin", PIN)
            run("softhsm2-util", "--init-token", "--free", "--label", label, *pins, environment=self.environment)
        else:
            # It makes a token for whoever has the security officer's PIN, and no user.
            free = ("--module", need(self.module), "--slot-index", "0")
            run(
                *("pkcs11-tool", *free, "--init-token", "--label", label, "--so-pin", SO_PIN),
                environment=self.environment,
            )
        (self.place,) = set(self.tokens.iterdir()) - present

    @property
    def environment(self) -> dict[str, str]:
        return {"SOFTHSM2_CONF": str(self.configuration)}

    def options(self, **more: Any) -> dict[str, Any]:
        """As a key store document has them, without the PIN."""
        return {"module": self.module, "token": self.label, "environment": self.environment, **more}

    def remove(self) -> None:
        """Pull the token out."""
        self.place.rename(self.directory / "pulled-out")

    def bring_back(self) -> None:
        """Plug it in again."""
        (self.directory / "pulled-out").rename(self.place)

    def objects(self) -> str:
        """What ``pkcs11-tool`` says of the secret keys."""
        return self.tool("--list-objects", "--type", "secrkey")

    def tool(self, *arguments: str) -> str:
        """Run ``pkcs11-tool`` on the token as its user."""
        module = need(self.module)
        options = ("--module", module, "--token-label", self.label, "--login", "--pin", PIN)
        return run("pkcs11-tool", *options, *arguments, environment=self.environment)


class NssToken:
    """The user token of NSS's softokn: two SQLite files in a directory, no daemon, no rights."""

    module = SOFTOKN
    label = "NSS Certificate DB"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        program = (
            "import sys\n"
            "from plugins.sdk.pkcs11.module import Module\n"
            "from plugins.sdk.pkcs11.options import Initialize, IvBits\n"
            "library = Module(sys.argv[1], Initialize(reserved=sys.argv[2]), IvBits.SET).library\n"
            "token = library.get_token(token_label=sys.argv[3])\n"
            "with token.open(rw=True, so_pin='') as session: session.init_pin(sys.stdin.read())\n"
        )
        arguments = (need(self.module), self.parameters, self.label)
        environment = {**os.environ, **self.environment}
        subprocess.run(
            [sys.executable, "-c", program, *arguments],
            env=environment,
            input=PIN,
            text=True,
            check=True,
            timeout=60,
        )

    @property
    def environment(self) -> dict[str, str]:
        """Its passwords are stretched for half a second otherwise, at every login."""
        return {"NSS_MAX_MP_PBE_ITERATION_COUNT": "1"}

    @property
    def parameters(self) -> str:
        return f"configdir='sql:{self.directory}'"

    def options(self, **more: Any) -> dict[str, Any]:
        """As a key store document has them, without the PIN."""
        quirks = {"initialize": {"reserved": self.parameters}}
        more.setdefault("environment", self.environment)
        return {"module": self.module, "token": self.label, "quirks": quirks, **more}


def run(program: str, *arguments: str, environment: dict[str, str] | None = None) -> str:
    """Run a tool; its output. Fails the test with what it said."""
    done = subprocess.run(
        [need(program), *arguments],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        pytest.fail(f"{program} {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout


def pin_file(directory: Path, pin: str = PIN) -> dict[str, str]:
    """A file with a PIN that only its owner reads, as a ``SecretSource``."""
    path = directory / f"pin-{secrets.token_hex(4)}"
    path.touch(mode=0o600)
    path.write_text(pin)
    return {"fromFile": str(path)}
