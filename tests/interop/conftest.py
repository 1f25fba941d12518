"""The servers of ``tests.harness``, as fixtures, and keys to share."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness import Server, new_server, private_server, pytest_runtest_makereport, shared_server
from tests.interop.keyring import Keyring

__all__ = ["new_server", "private_server", "pytest_runtest_makereport", "shared_server"]


@pytest.fixture(scope="session")
def kms(shared_server: Server) -> Any:
    return shared_server.kms()


@pytest.fixture(scope="session")
def keyring(shared_server: Server) -> Keyring:
    return Keyring(shared_server)
