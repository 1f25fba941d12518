"""A server with one XKS proxy in front of keys of the standard store, for the tests of a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import Server, new_server, private_server, pytest_runtest_makereport
from tests.xksclient import ProxyFiles, XksClient
from tests.xksproxied import Proxied, start

__all__ = ["new_server", "private_server", "pytest_runtest_makereport"]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    """One proxy for tests that change nothing."""
    directory = tmp_path_factory.mktemp("xks")
    server = Server(directory / "data")
    try:
        yield start(server, ProxyFiles(directory / "files"))
        server.stop()
    finally:
        server.end()


@pytest.fixture(scope="session")
def client(shared: Proxied) -> XksClient:
    return shared.client()


@pytest.fixture
def proxied(new_server: Callable[..., Server], tmp_path: Path) -> Proxied:
    """A proxy of the test's own."""
    return start(new_server(), ProxyFiles(tmp_path / "files"))
