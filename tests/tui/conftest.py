"""A real server for the journeys; a canned one, with a clock that stands still, for the golden screens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness import new_server, private_server, pytest_runtest_makereport, shared_server
from tests.tui.canned import Canned, serving

__all__ = ["new_server", "private_server", "pytest_runtest_makereport", "shared_server"]


@pytest.fixture
def canned() -> Iterator[Canned]:
    with serving() as canned:
        yield canned
