"""The servers of ``tests.harness``, as fixtures."""

from tests.harness import new_server, private_server, pytest_runtest_makereport, shared_server

__all__ = ["new_server", "private_server", "pytest_runtest_makereport", "shared_server"]
