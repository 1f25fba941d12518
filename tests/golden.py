"""Golden files: what people see, kept as files that are read in review.

``KEYSTEAD_UPDATE_GOLDEN=1`` in the environment of a test run writes them anew; ``make golden`` runs the tests that have
some that way. Then read the difference: ``git diff tests``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

RULES: Final = Path(__file__).parent / "rules" / "golden"
"""Plans, tables and descriptions."""


def compare(path: Path, text: str) -> None:
    """Compare with a golden file, or write it."""
    if os.environ.get("KEYSTEAD_UPDATE_GOLDEN") == "1":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    assert path.exists(), f"there is no {path}; make golden writes it"
    assert text == path.read_text("utf-8")
