"""The example of an HSM does what it says, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.harness import ROOT
from tests.hsm import need


def test_the_hsm_demo_makes_uses_and_shows_a_key_that_never_leaves_its_token() -> None:
    for program in ("softhsm2-util", "pkcs11-tool"):
        need(program)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "KEYSTEAD_"))}
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "hsm" / "demo.py"],
        env={**environment, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "sensitive, always sensitive, never extractable, local" in done.stdout
    assert "Decrypt     refused:" in done.stdout
    assert "Decrypt     works again" in done.stdout
