"""A real server for the journeys; a canned one, with a clock that stands still, for the golden screens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.client.connection import Connection
from tests.harness import new_server, private_server, pytest_runtest_makereport, shared_server
from tests.tui.canned import Canned, serving
from tui.screens import keys

__all__ = ["new_server", "private_server", "pytest_runtest_makereport", "shared_server"]

SPEC = "apiVersion: keystead/v1\nkind: Key\nmetadata: {name: payments-eu}\nspec: {}\n"


@pytest.fixture
def canned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Canned]:
    """In a directory of its own, where there is a spec set ``quickstart``. It counts what the app waits for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(keys, "HIGHLIGHT_SECONDS", 0.001)
    asks = Connection._ask

    async def counted(self: Connection, *arguments: Any, **options: Any) -> Any:
        canned.under_way += 1
        try:
            return await asks(self, *arguments, **options)
        finally:
            canned.under_way -= 1

    monkeypatch.setattr(Connection, "_ask", counted)
    with serving() as canned:
        canned.files = Path("quickstart")
        canned.files.mkdir()
        (canned.files / "keys.yaml").write_text(SPEC)
        yield canned
