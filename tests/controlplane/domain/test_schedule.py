"""Due times: never early, and nothing because of a clock that jumped."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.domain.schedule import deletion_due, deletion_request
from controlplane.errors import InvalidInput

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize("days", [-1, 0, 1, 6, 31, 10_000])
def test_a_window_outside_7_to_30_days_is_refused_with_what_would_be_right(days: int) -> None:
    with pytest.raises(InvalidInput, match="7 to 30 days"):
        deletion_request(NOW, days, "somebody")


@pytest.mark.parametrize("days", [7, 8, 29, 30])
def test_a_deletion_is_due_at_the_end_of_its_window_and_not_a_microsecond_before(days: int) -> None:
    request = deletion_request(NOW, days, "somebody")
    end = NOW + timedelta(days=days)
    assert (request.requested_at, request.due_at, request.window_days) == (NOW, end, days)
    assert not deletion_due(request, end - timedelta(microseconds=1))
    assert deletion_due(request, end)
    assert deletion_due(request, end + timedelta(days=1000))


@given(days=st.integers(7, 30), seconds=st.integers(-(10**9), 10**9))
def test_nothing_is_due_before_its_window_wherever_the_clock_stands(days: int, seconds: int) -> None:
    now = NOW + timedelta(seconds=seconds)
    assert deletion_due(deletion_request(NOW, days, "somebody"), now) == (now - NOW >= timedelta(days=days))


def test_a_clock_before_the_request_makes_nothing_due() -> None:
    request = deletion_request(NOW, 7, "somebody")
    assert not deletion_due(request, NOW - timedelta(days=3650))


def test_no_request_is_never_due() -> None:
    assert not deletion_due(None, datetime.max.replace(tzinfo=UTC))
