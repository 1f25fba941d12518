"""Where journals are kept, and a disk that a test can slow down."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.controlplane.audit.journals import Disk


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "audit"


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)
