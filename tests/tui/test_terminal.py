"""``keystead tui`` from its first line to its last in a real terminal: tmux, a real server, a SoftHSM key store."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import ROOT, TOKEN, Server, document, eventually
from tests.hsm import SoftToken, pin_file

SECONDS = 60.0
WIDTH, HEIGHT = 120, 40


class Terminal:
    """A terminal with a program in it. Its size is ``WIDTH`` x ``HEIGHT``."""

    def __init__(self, directory: Path) -> None:
        self._program = shutil.which("tmux") or pytest.fail("tmux is missing: install the Debian package tmux")
        self._socket, self._code = directory / "s", directory / "code"

    def _tmux(self, *arguments: str, environment: dict[str, str] | None = None) -> str:
        command = [self._program, "-u", "-S", str(self._socket), "-f", os.devnull, *arguments]
        ran = subprocess.run(command, capture_output=True, timeout=SECONDS, check=True, env=environment)
        return ran.stdout.decode()

    def start(self, *command: str, directory: Path, environment: dict[str, str]) -> None:
        """What is secret goes into the environment: a command line is for everybody to read."""
        size = ("-x", str(WIDTH), "-y", str(HEIGHT))
        keep = ("set-option", "-g", "remain-on-exit", "on")
        big = ("set-option", "-g", "default-size", f"{WIDTH}x{HEIGHT}")
        # A shell notes the exit code: tmux forgets it when the terminal is closed before the program is reaped.
        noting = ("sh", "-c", '"$@"; echo $? > "$0"', str(self._code), *command)
        session = ("new-session", "-d", *size, "-c", str(directory), *noting)
        self._tmux("start-server", ";", *keep, ";", *big, ";", *session, environment=environment)

    @property
    def screen(self) -> str:
        return self._tmux("capture-pane", "-p")

    @property
    def ended(self) -> int | None:
        """The exit code of the program, once it has ended."""
        told = self._code.read_text().split() if self._code.exists() else []
        return int(told[0]) if told else None

    def press(self, *keys: str) -> None:
        """Keys as tmux names them: ``Enter``, ``Escape``, ``5``."""
        self._tmux("send-keys", *keys)

    def type(self, text: str) -> None:
        self._tmux("send-keys", "-l", text)

    def sees(self, *wanted: str) -> str:
        """Wait until all of this is on the screen; the screen then."""
        seen = ""

        def found() -> bool:
            nonlocal seen
            seen = self.screen
            return all(each in seen for each in wanted)

        try:
            eventually(found, "", seconds=SECONDS, pause=0.1)
        except pytest.fail.Exception:
            pytest.fail(f"not within {SECONDS:g} seconds: {wanted}\n{seen}")
        return seen

    def end(self) -> None:
        subprocess.run([self._program, "-S", str(self._socket), "kill-server"], capture_output=True, timeout=SECONDS)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    directory = Path(tempfile.mkdtemp(prefix="ks-"))  # a socket's path is at most 107 octets, so not in tmp_path
    terminal = Terminal(directory)
    try:
        yield terminal
    finally:
        terminal.end()
        shutil.rmtree(directory, ignore_errors=True)


def test_an_operator_sees_the_hsm_keeps_a_key_and_imports_material(
    new_server: Callable[..., Server], terminal: Terminal, tmp_path: Path
) -> None:
    server = new_server().start()
    hsm = {**SoftToken(tmp_path / "hsm").options(workers=1), "pin": pin_file(tmp_path)}
    kept, brought = f"kept-{uuid.uuid4().hex[:6]}", f"brought-{uuid.uuid4().hex[:6]}"
    server.apply(
        "terminal",
        [
            document("KeyStore", "hsm-a", type="pkcs11", pkcs11=hsm),
            document("Key", kept, keyStore="hsm-a"),
            document("Key", brought, origin="EXTERNAL"),
        ],
    )
    server.ok("POST", f"/v1/keys/{kept}/actions/schedule-deletion", {"windowDays": 7})
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("KEYSTEAD_", "TMUX"))},
        **{"KEYSTEAD_URL": server.url, "KEYSTEAD_TOKEN": TOKEN, "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"},
    }
    here = tmp_path / "operator"
    here.mkdir()
    keystead = (sys.executable, "-m", "controlplane")
    terminal.start(*keystead, "tui", directory=here, environment=environment)
    terminal.sees("● live", "Needs a person")

    terminal.press("3")
    terminal.sees("hsm-a", "pkcs11", "● Connected")

    terminal.press("5")
    terminal.sees(f"› {kept}", "6d 23h", "u cancel deletion")
    terminal.press("u")
    terminal.sees(f"The deletion of key {kept} is cancelled", "No key is about to be deleted")
    assert "deletion" not in server.ok("GET", f"/v1/keys/{kept}")["metadata"]
    terminal.press("2")
    terminal.sees(kept, "○ Disabled", "hsm-a")
    terminal.press("/")
    terminal.type(kept)
    terminal.press("Enter")
    terminal.sees("1 of ", f"› {kept}")
    terminal.press("x")
    terminal.sees("● Enabled")
    blob = server.kms().encrypt(KeyId=server.ok("GET", f"/v1/keys/{kept}")["status"]["keyId"], Plaintext=b"4111")
    assert server.kms().decrypt(CiphertextBlob=blob["CiphertextBlob"])["Plaintext"] == b"4111"

    terminal.press(":")
    terminal.type(f"import {brought}")
    terminal.press("Enter")
    terminal.sees("1 Parameters ●", "Get parameters")
    terminal.press("Enter")
    folder = f"{brought}.import"
    wrap = f"keystead import-material wrap --parameters {folder} --in key.bin --out {folder}/wrapped.bin"
    terminal.sees("2 Wrap ●", "Fingerprint")
    assert wrap in " ".join(terminal.screen.split())
    terminal.press("Enter")
    terminal.sees("3 Upload ●", "there is no file")
    material = os.urandom(32)
    (here / "key.bin").write_bytes(material)
    command = [*keystead, *wrap.split()[1:]]  # as in a second terminal
    subprocess.run(command, check=True, cwd=here, env=environment, capture_output=True, timeout=SECONDS)
    terminal.sees("octets: the length is right")
    terminal.press("Enter")
    terminal.sees("4 Expiry ●", "it does not expire")
    terminal.press("Tab", "Tab", "Tab", "Enter")
    terminal.sees("5 Review ●", "Nothing was uploaded yet")
    terminal.press("Enter")
    terminal.sees(f"✓ Imported into {brought}. The key is ● Enabled")
    server.kms().encrypt(KeyId=server.ok("GET", f"/v1/keys/{brought}")["status"]["keyId"], Plaintext=b"4111")
    terminal.press("q")
    assert eventually(lambda: terminal.ended is not None, "the program has left", seconds=SECONDS)
    assert terminal.ended == 0
    everything = b"".join(path.read_bytes() for path in server.directory.rglob("*") if path.is_file())
    assert material not in everything
