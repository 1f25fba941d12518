"""The servers of ``tests.harness``, as fixtures, and a key."""

from __future__ import annotations

import pytest

from tests.controlplane.api.asking import name, ready
from tests.harness import Server, document, new_server, private_server, pytest_runtest_makereport, shared_server

__all__ = ["new_server", "private_server", "pytest_runtest_makereport", "shared_server"]


@pytest.fixture
def key(shared_server: Server) -> str:
    """Name of a key that no spec set owns."""
    fresh = name()
    shared_server.ok("PUT", f"/v1/keys/{fresh}", document("Key", fresh))
    ready(shared_server, fresh)
    return fresh
