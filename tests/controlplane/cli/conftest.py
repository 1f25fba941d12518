"""The servers of ``tests.harness``, and the command against an API of canned answers, as fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.cli import main as cli
from tests.controlplane.cli.running import SPEC, Ran, Run
from tests.controlplane.fakeapi import FakeApi, serving
from tests.harness import new_server, private_server, pytest_runtest_makereport, shared_server

__all__ = ["api", "new_server", "private_server", "pytest_runtest_makereport", "run", "shared_server", "spec"]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    with serving() as fake:
        monkeypatch.setenv("KEYSTEAD_URL", fake.url)
        monkeypatch.setenv("KEYSTEAD_TOKEN", "a-token-that-nobody-prints")
        yield fake


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.delenv("KEYSTEAD_DEBUG", raising=False)

    def run(*arguments: object) -> Ran:
        code = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert "a-token-that-nobody-prints" not in captured.out + captured.err
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """A directory ``quickstart`` with one document."""
    directory = tmp_path / "quickstart"
    directory.mkdir()
    (directory / "keys.yaml").write_text(SPEC)
    return directory
