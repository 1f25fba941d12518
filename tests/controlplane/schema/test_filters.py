"""The filter of lists of keys: what each term means, and what is said of one that means nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.errors import InvalidInput
from controlplane.schema.filters import MAX_TERMS, Term, TermKind, parse_filter
from controlplane.schema.keys import KeyState


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", ()),
        ("  ", ()),
        ("Payments", (Term(TermKind.TEXT, "payments"),)),
        ("pay !Old", (Term(TermKind.TEXT, "pay"), Term(TermKind.TEXT, "old", inverse=True))),
        ("-f pymt", (Term(TermKind.FUZZY, "pymt"),)),
        ("-l team=web", (Term(TermKind.TAG, "team=web"),)),
        ("-l !team", (Term(TermKind.TAG, "team", inverse=True),)),
        ("!-l team=web", (Term(TermKind.TAG, "team=web", inverse=True),)),
        ("!-l !team=web", (Term(TermKind.TAG, "team=web"),)),
        ("@hsm-a", (Term(TermKind.STORE, "hsm-a"),)),
        ("!@standard", (Term(TermKind.STORE, "standard", inverse=True),)),
        ("state:enabled", (Term(TermKind.STATE, "Enabled"),)),
        (
            "state:pendingd",
            (Term(TermKind.STATE, "PendingDeletion"),),
        ),
        ("origin:external", (Term(TermKind.ORIGIN, "EXTERNAL,EXTERNAL_KEY_STORE"),)),
        ("!is:unhealthy", (Term(TermKind.UNHEALTHY, inverse=True),)),
    ],
)
def test_a_filter_is_read_term_by_term(text: str, terms: tuple[Term, ...]) -> None:
    assert parse_filter(text) == terms


def test_the_beginning_of_a_state_stands_for_every_state_that_begins_so() -> None:
    (term,) = parse_filter("state:Pending")
    assert set(term.value.split(",")) == {
        KeyState.PENDING_DELETION,
        KeyState.PENDING_IMPORT,
        KeyState.PENDING_REPLICA_DELETION,
    }


def test_several_states_stand_for_any_of_them() -> None:
    (term,) = parse_filter("state:disabled,Pending")
    assert term.value.split(",")[0] == KeyState.DISABLED
    assert len(term.value.split(",")) == 4
    with pytest.raises(InvalidInput):
        parse_filter("state:disabled,")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("!", "such as !old"),
        ("@", "such as @hsm-a"),
        ("-l", "-l needs a word after it, such as -l team=web"),
        ("a -f", "such as -f pymt"),
        ("state:", "there are Creating, Enabled"),
        ("state:gone", "state:gone fits no key state"),
        ("origin:moon", "fits no origin; there are AWS_KMS, EXTERNAL"),
        ("condition:moon", "fits no reason; there are UpToDate"),
        ("is:ill", "there is is:unhealthy"),
        ("x" * 1001, "at most 1,000 characters"),
        ("a " * (MAX_TERMS + 1), f"at most {MAX_TERMS} terms"),
    ],
)
def test_a_term_that_means_nothing_is_told_with_what_would_be_right(text: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_filter(text)
    assert said in caught.value.message


@given(st.text(max_size=200))
def test_whatever_is_typed_it_is_a_filter_or_invalid_input(text: str) -> None:
    try:
        terms = parse_filter(text)
    except InvalidInput as error:
        assert error.message
    else:
        assert len(terms) <= len(text.split())
