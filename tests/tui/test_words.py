"""The pure parts: the table of actions, the jump grammar, words, symbols and bars."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.errors import InvalidInput
from controlplane.schema.browse import AttentionReason
from controlplane.schema.conditions import ConditionStatus
from controlplane.schema.keys import KeyState
from controlplane.schema.keystores import ConnectionState
from tui import words
from tui.actions import ACTIONS, BY_ID, EVERYWHERE, SECTIONS, shown_key
from tui.app import KeysteadApp
from tui.jump import Jump, parse_jump
from tui.screens.base import Framed


def below(base: type[Framed]) -> list[type[Framed]]:
    return [base, *(each for sub in base.__subclasses__() for each in below(sub))]


SHARED = ({"delete", "disconnect"}, {"tags-edit", "probe"})
"""One is of keys and the other of key stores, so only one of them is ever shown."""
SCREENS = [each for each in below(Framed) if each.OFFERS]


# ---- actions ---------------------------------------------------------------------------------------------------------


def test_an_action_has_one_name_and_says_what_it_does() -> None:
    assert len(BY_ID) == len(ACTIONS)
    for action in ACTIONS:
        assert action.label, action.id
        assert action.says.endswith("."), action.id
        assert shown_key(action), action.id


def test_whatever_changes_something_has_a_twin_on_the_command_line() -> None:
    assert [action.id for action in ACTIONS if action.writes and not action.cli] == []


@pytest.mark.parametrize("screen", SCREENS, ids=lambda screen: screen.__name__)
def test_a_screen_can_do_what_it_offers_and_no_key_means_two_things(screen: type[Framed]) -> None:
    for each in screen.OFFERS:
        can = hasattr(screen, f"do_{each.replace('-', '_')}")
        assert can is not (each in screen.NOT_HERE), f"{screen.__name__} cannot {each}, or need not say why"
    keys: dict[str, str] = {}
    for each in (*screen.OFFERS, *EVERYWHERE):
        other = keys.setdefault(BY_ID[each].key, each)
        assert other == each or {other, each} in SHARED, f"{other} and {each} share a key"
    assert screen.about, "help has nothing to say about it"


def test_every_section_has_its_screen() -> None:
    assert {section.id for section in SECTIONS} <= KeysteadApp.MODES.keys()
    assert len({section.key for section in SECTIONS}) == len(SECTIONS)


# ---- jumping ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "jump"),
    [
        ("keys", Jump("keys")),
        (":keys", Jump("keys")),
        ("k", Jump("keys")),
        ("del", Jump("deletions")),
        ("sto", Jump("stores")),
        ("keys @hsm-a /payments", Jump("keys", filter="@hsm-a payments")),
        ("keys -l team=web", Jump("keys", filter="-l team=web")),
        ("@hsm-a", Jump("keys", filter="@hsm-a")),
        ("/pay", Jump("keys", filter="pay")),
        ("key payments-data", Jump("keys", name="payments-data")),
        ("key state:pending", Jump("keys", filter="state:pending")),
        ("store hsm-a", Jump("stores", name="hsm-a")),
        ("principals /ci", Jump("principals", filter="ci")),
        ("q", Jump(command="quit")),
        ("help", Jump(command="help")),
    ],
)
def test_a_jump_is_read(text: str, jump: Jump) -> None:
    assert parse_jump(text) == jump


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "type where to go: "),
        ("kyes", "did you mean"),
        ("xyzzy", "there are "),
        ("keys state:gone", "fits no key state"),
    ],
)
def test_a_jump_to_nowhere_says_what_would_be_right(text: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_jump(text)
    assert said in caught.value.message


@given(st.text(alphabet=string.printable, max_size=60))
def test_whatever_is_typed_it_is_a_jump_or_invalid_input(text: str) -> None:
    try:
        jump = parse_jump(text)
    except InvalidInput as error:
        assert error.message
    else:
        assert jump.section in KeysteadApp.MODES or jump.command


# ---- words and symbols -----------------------------------------------------------------------------------------------


def test_every_state_has_a_word_and_a_symbol() -> None:
    for table, members in (
        (words.STATES, KeyState),
        (words.CONNECTIONS, ConnectionState),
        (words.ATTENTION, AttentionReason),
    ):
        assert set(table) == set(members)  # type: ignore[arg-type]
        for text, _ in table.values():  # type: ignore[attr-defined]
            symbol, _, word = text.partition(" ")
            assert len(symbol) == 1, text
            assert word, text
    assert set(words.CONDITIONS) == set(ConditionStatus)
    assert len({text for text, _ in words.STATES.values()}) == len(KeyState)


@given(share=st.floats(-1, 2), width=st.integers(1, 60))
def test_a_bar_has_its_width_and_something_is_never_nothing(share: float, width: int) -> None:
    shown = words.bar(share, width)
    assert len(shown) == width
    assert (shown.strip() == "") is (share <= 0)
    assert words.countdown(share, width).count("░") == shown.count(" ")


@given(values=st.lists(st.integers(0, 10_000), max_size=80).map(tuple), width=st.integers(0, 60))
def test_a_sparkline_has_its_width(values: tuple[int, ...], width: int) -> None:
    assert len(words.sparkline(values, width)) == (width if values and width > 0 else 0)


def test_a_sparkline_shows_what_is_most() -> None:
    assert words.sparkline((0, 1, 2, 4, 8), 5) == "▁▂▃▅█"
    assert words.sparkline((0, 0), 4) == "  ▁▁"
    assert words.sparkline((1, 1, 4, 4), 2) == "▃█", "neighbours are summed"
