"""What README says about permissions is what the code asks for: the condition keys, and the actions of our own."""

from __future__ import annotations

import re

from controlplane.api.sts.operations import OPERATIONS
from controlplane.domain.policy import CONDITION_KEYS
from tests.controlplane.access.test_context import NEVER
from tests.harness import ROOT

README = (ROOT / "controlplane" / "README.md").read_text("utf-8")
ACCESS = README[README.index("## Access") : README.index("## The ciphertext envelope")]
SOURCES = [
    path.read_text("utf-8")
    for folder in ("api", "access", "usage")
    for path in (ROOT / "controlplane" / folder).rglob("*.py")
]


def test_readme_lists_every_condition_key_that_a_request_can_have() -> None:
    table = ACCESS[ACCESS.index("**Condition keys**") :]
    told = re.findall(r"`((?:aws|kms|sts):[A-Za-z0-9:/*]+)`", table)
    assert len(told) - len(set(told)) == 0, "each once, besides what a row says about one of its own"
    assert set(told) == set(CONDITION_KEYS) - NEVER


def test_readme_lists_every_action_of_our_own() -> None:
    told = set(re.findall(r"`keystead:([A-Za-z]+)`", ACCESS))
    asked = {action for text in SOURCES for action in re.findall(r'"keystead:([A-Z][A-Za-z]+)"', text)}
    credentials = (ROOT / "controlplane/api/reconciliation/credentials.py").read_text("utf-8")
    asked |= set(re.findall(r'operation_id="([A-Za-z]+)"', credentials))
    assert told == asked


def test_readme_lists_what_sts_does() -> None:
    assert set(OPERATIONS) <= set(re.findall(r"`sts:([A-Za-z]+)`", ACCESS))
