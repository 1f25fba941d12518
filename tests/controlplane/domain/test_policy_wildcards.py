"""Wildcards match as their definition says, and never slowly."""

from __future__ import annotations

import re
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.domain.policy import wildcards


def oracle(pattern: str, text: str) -> bool:
    """The definition, by Python's regular expressions."""
    translated = "".join({"*": ".*", "?": "."}.get(c) or re.escape(c) for c in pattern)
    return re.fullmatch(translated, text, re.DOTALL) is not None


@given(st.text("ab*?", max_size=10), st.text("ab", max_size=12))
def test_matches_as_a_regular_expression_says(pattern: str, text: str) -> None:
    assert wildcards.like(pattern)(text) is oracle(pattern, text)


@given(st.text(st.characters(codec="utf-8"), max_size=20), st.text(st.characters(codec="utf-8"), max_size=20))
def test_matches_any_characters_as_a_regular_expression_says(pattern: str, text: str) -> None:
    assert wildcards.like(pattern)(text) is oracle(pattern, text)


@given(st.text("ab*?", max_size=12), st.data())
def test_a_pattern_matches_what_is_made_from_it(pattern: str, data: st.DataObject) -> None:
    run = st.text("ab*?\n", max_size=3)
    one = st.text("ab*?\n", min_size=1, max_size=1)
    text = "".join(data.draw(run) if c == "*" else data.draw(one) if c == "?" else c for c in pattern)
    assert wildcards.like(pattern)(text)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("*a" * 900 + "b", "a" * 8000),
        ("*" + "a?" * 900 + "b*", "a" * 8000),
        ("*" + "?a" * 500 + "*" + "?b" * 400 + "*", "ab" * 4000),
        ("?*" * 1000, "a" * 900),
        ("*" * 2000 + "b", "a" * 8000),
    ],
)
def test_a_hostile_pattern_is_matched_in_milliseconds(pattern: str, text: str) -> None:
    matches = wildcards.like(pattern)
    started = process_time()
    matches(text)
    assert process_time() - started < 0.25
