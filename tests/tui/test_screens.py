"""Every screen as a person sees it, against golden files that are read in review: states and sizes.

``KEYSTEAD_UPDATE_GOLDEN=1`` writes them anew. The server is canned and time stands still, so nothing in them moves.
"""

from __future__ import annotations

import asyncio
import re
import time

import pytest
from textual.color import Color
from textual.theme import Theme

from tests.tui.canned import Canned
from tests.tui.driving import LARGE, MIDDLE, SECONDS, SMALL, Person, golden, person_at
from tui.actions import PROMPTS
from tui.themes import THEMES
from tui.widgets.lines import Lines

CALM = 8
"""Looks at a screen that stands still before it counts as settled."""
PATH = "the path of a directory of spec files"
SCREENS: dict[str, tuple[tuple[str, ...], str]] = {
    "overview": ((), "Needs a person: 4"),
    "keys": (("2",), "✓ Synced"),
    "stores": (("3",), "hsm-b"),
    "deletions": (("5", "down"), "role/billing"),
    "imports": (("4",), "not begun|[x] parameters"),
    "import-parameters": (("4", "i"), "Get parameters"),
    "plans": (("6",), "A plan says what"),
    "plan": (("6", PATH, "enter"), "Plan: 1 to create"),
    "plan-apply": (("6", PATH, "enter", "a"), "Apply exactly this plan?"),
    "plan-applied": (("6", PATH, "enter", "a", "tab", "enter"), "as declared."),
    "audit": (("7",), "role/billing"),
    "audit-record": (("7", "enter"), "Record 88120 of chain-0"),
    "audit-verified": (("7", "v"), "The journal is whole"),
    "principals": (("colon", *"principals", "enter"), "ADMINISTRATOR"),
    "key": (("2", "down", "down", "enter"), "Spec set:"),
    "key-end": (("2", "down", "down", "enter", "end"), "role/billing"),
    "store": (("3", "d", "end"), "certificate ! 12 days"),
    "key-yaml": (("2", "down", "down", "y"), "metadata:"),
    "key-events": (("5", "down", "l"), "DeletionScheduled"),
    "probe": (("3", "t"), "No key of anybody is used"),
    "probe-report": (("3", "t", "tab", "enter"), "1 failed, 6 passed"),
    "help": (("5", "question_mark"), "The usual things"),
    "schedule": (("2", "down", "down", "ctrl+d"), "Schedule deletion"),
    "description": (("2", "down", "down", "e"), "Description of key"),
    "tags": (("2", "down", "down", "t"), "Tags of key"),
    "jump": (("2", "colon"), "a section, @store"),
    "filter": (("2", "slash", *"pay"), "2 of 8"),
}


async def settled(person: Person, canned: Canned) -> None:
    """Everything that was asked is answered and drawn: nothing is under way, and the screen stands still."""
    seen: tuple[str, int] | None = None
    calm = 0
    deadline = time.monotonic() + SECONDS
    while calm < CALM:
        assert time.monotonic() < deadline, f"the screen does not stand still\n{person.text}"
        await asyncio.sleep(0.02)  # together longer than a screen below a dialog takes to be drawn again
        now = person.text, len(canned.api.asked)
        calm = calm + 1 if now == seen and canned.under_way == canned.silent else 0
        seen = now


@pytest.mark.parametrize("name", SCREENS)
async def test_a_screen_reads_as_its_golden_files_in_every_size(canned: Canned, name: str) -> None:
    keys, shown = SCREENS[name]
    async with person_at(canned.url, size=SMALL, clock=canned.clock) as person:
        await open_screen(person, canned, keys, shown)
        looks(person, canned, name, SMALL)
        for size in (MIDDLE, LARGE):
            await person.pilot.resize_terminal(*size)
            await settled(person, canned)
            looks(person, canned, name, size)


async def open_screen(person: Person, canned: Canned, keys: tuple[str, ...], shown: str) -> None:
    typing = False
    for key in keys:
        if not typing:
            await settled(person, canned)
        typing = key != "enter" and (typing or key in PROMPTS)
        await (person.type(str(canned.files)) if key == PATH else person.press(key))
    await person.until(lambda: any(each in person.text for each in shown.split("|")), shown)
    await settled(person, canned)


def looks(person: Person, canned: Canned, name: str, size: tuple[int, int]) -> None:
    address = canned.url.removeprefix("http://")
    golden(f"{name}-{size[0]}x{size[1]}", person.text.replace(address, "127.0.0.1:8470".ljust(len(address))))


# ---- states ----------------------------------------------------------------------------------------------------------


async def test_a_filter_that_nothing_matches_says_how_to_leave_it(canned: Canned) -> None:
    async with person_at(canned.url, size=SMALL, clock=canned.clock) as person:
        await open_screen(person, canned, ("2", "slash", *"zzz", "enter"), "None of 8 keys matches zzz")
        looks(person, canned, "keys-no-match", SMALL)


async def test_every_number_of_what_needs_a_person_leads_to_its_list(canned: Canned) -> None:
    lists = ("deletions", "keys  /condition:createoutcomeunknown", "key stores  /is:unhealthy", "keys  /is:unhealthy")
    async with person_at(canned.url, size=SMALL, clock=canned.clock) as person:
        for at, crumbs in enumerate(lists):
            await person.press("1")
            await person.sees("Needs a person: 4", "release-signing")
            await person.press(*["down"] * (2 if at else 0), "enter")
            await person.sees(f" {crumbs}")


async def test_what_a_policy_denies_is_marked_and_told(canned: Canned) -> None:
    why = "User: user/ana is not authorized to perform: kms:DisableKey on resource: payments-data"
    canned.denied = {"disable": why}
    async with person_at(canned.url, size=SMALL, clock=canned.clock) as person:
        await open_screen(person, canned, ("2", "down", "down"), "(x disable)")
        looks(person, canned, "keys-denied", SMALL)
        await person.press("x")
        await person.hears("is not authorized to perform: kms:DisableKey")
        await person.press("question_mark")
        await person.sees("Help: keys")
        assert why in " ".join(person.app.screen.query_one("#help", Lines).text.split())


async def test_without_colour_everything_is_still_said(canned: Canned, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR: the same words and symbols, and no colour in any cell."""
    monkeypatch.setenv("NO_COLOR", "1")
    async with person_at(canned.url, size=SMALL, clock=canned.clock) as person:
        await open_screen(person, canned, ("2",), "✓ Synced")
        looks(person, canned, "keys", SMALL)
        svg = person.app.export_screenshot()
        colours = set(re.findall(r"#[0-9a-f]{6}\b", svg))
        shades = {colour for colour in colours if len({colour[1:3], colour[3:5], colour[5:7]}) == 1}
        window = {"#ff5f57", "#febc2e", "#28c840", "#c5c8c6"}  # of the picture, not of the terminal
        assert colours - window == shades, "there is a colour"


async def test_the_themes_follow_one_another(canned: Canned) -> None:
    async with person_at(canned.url, size=SMALL, clock=canned.clock) as person:
        seen = []
        for _ in THEMES:
            seen.append(person.app.theme)
            await person.press("ctrl+t")
        assert seen == [theme.name for theme in THEMES]
        assert person.app.theme == seen[0]


async def test_the_palette_lists_what_can_be_done_here(canned: Canned) -> None:
    async with person_at(canned.url, size=MIDDLE, clock=canned.clock) as person:
        await open_screen(person, canned, ("5",), "payments-old")
        await person.press("ctrl+p")
        await person.type("cancel del")
        await person.sees("cancel deletion  (u)", "Keep a key that is about to be deleted")
        await person.press("escape")


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_text_can_be_read_on_every_theme(theme: Theme) -> None:
    """WCAG 2: a contrast of 4.5 to 1 for text; 7 to 1 in the theme of high contrast."""
    least = 7.0 if theme.name.endswith("contrast") else 4.5
    assert theme.background is not None
    assert theme.panel is not None
    texts = (theme.foreground, theme.success, theme.warning, theme.error, theme.primary, theme.variables["muted"])
    for text in texts:
        assert text is not None
        for ground in (theme.background, theme.panel, theme.variables["cursor"]):
            if text == theme.variables["muted"] and ground == theme.variables["cursor"]:
                continue
            ratio = contrast(Color.parse(text), Color.parse(ground))
            assert ratio >= (least if ground == theme.background else 3.0), f"{text} on {ground}: {ratio:.1f}"


def contrast(one: Color, other: Color) -> float:
    def luminance(color: Color) -> float:
        def part(value: int) -> float:
            share = value / 255
            return share / 12.92 if share <= 0.03928 else float(((share + 0.055) / 1.055) ** 2.4)

        return 0.2126 * part(color.r) + 0.7152 * part(color.g) + 0.0722 * part(color.b)

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
