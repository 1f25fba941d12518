"""``examples/xks`` does what the README says: two control planes, a kill switch, and everything again after it."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.harness import ROOT
from tests.hsm import SOFTHSM, need


def test_the_example_encrypts_is_refused_and_restored() -> None:
    need("softhsm2-util")
    need(SOFTHSM)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "KEYSTEAD_"))}
    done = subprocess.run(
        [sys.executable, ROOT / "examples/xks/demo.py"],
        env={**environment, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    told = [line for line in done.stdout.splitlines() if line.startswith("Decrypt   ")]
    outcomes = [line.split(":")[0] for line in told if "for arn:" not in line]
    assert outcomes == ["Decrypt   4111", "Decrypt   refused with KMSInvalidStateException", "Decrypt   4111"]
    assert "allowed by rule the-banks-kms of the proxy; refused, Disabled" in done.stdout
