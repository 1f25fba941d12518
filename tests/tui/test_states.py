"""Every screen while there is nothing, while it is read, when it could not be read, and after the server went away."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import pytest

from controlplane.client import Unreachable
from tests.tui.canned import Canned
from tests.tui.driving import LARGE, MIDDLE, SMALL, Person, golden, person_at
from tests.tui.test_screens import PATH, open_screen, settled
from tui.feed.feed import Feed

SIZES = (SMALL, MIDDLE, LARGE)
SCREENS: dict[str, tuple[tuple[str, ...], str]] = {
    "overview": ((), "/v1/summary"),
    "keys": (("2",), "/v1/search/keys"),
    "stores": (("3",), "/v1/search/keystores"),
    "imports": (("4",), "/v1/search/keys"),
    "deletions": (("5",), "/v1/search/keys"),
    "plan": (("6", PATH, "enter"), "/v1/plans"),
    "audit": (("7",), "/v1/audit"),
    "principals": (("colon", *"principals", "enter"), "/v1/search/principals"),
    "key": (("colon", *"key payments-data", "enter"), "/v1/keys/payments-data"),
}
"""The keys that lead to a screen, and what it asks first."""
EMPTY = {
    "overview": "all",
    "keys": "There is no key yet",
    "stores": "There is no key store",
    "imports": "No key has imported material",
    "deletions": "No key is about to be deleted",
    "plan": "No changes.",
    "audit": "Nothing but looking",
    "principals": "There is no principal",
    "key": "there is no key",
}
LOADING = {
    "overview": "…",
    "audit": "…",
    "plan": "Planning…",
    **dict.fromkeys(("keys", "stores", "imports", "deletions", "principals", "key"), "Reading"),
}
ANSWER = "the server cannot do this now"


@pytest.mark.parametrize("name", SCREENS)
async def test_a_screen_with_nothing_on_it_says_so(canned: Canned, name: str) -> None:
    canned.empty()
    await seen(canned, name, "empty", EMPTY[name])


@pytest.mark.parametrize("name", SCREENS)
async def test_a_screen_whose_answer_is_on_its_way_says_so(canned: Canned, name: str) -> None:
    await seen(canned, name, "loading", LOADING[name], before=lambda: canned.silence(*asked(name)))


@pytest.mark.parametrize("name", SCREENS)
async def test_a_screen_that_could_not_be_read_says_why(canned: Canned, name: str) -> None:
    await seen(canned, name, "failed", ANSWER, before=lambda: canned.fail(*asked(name)))


@pytest.mark.parametrize("name", SCREENS)
async def test_a_screen_whose_server_went_away_stays_and_says_since_when_it_is_stale(
    canned: Canned, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lose(person: Person) -> None:
        async def gone(self: object, client: object) -> None:
            raise unreachable

        monkeypatch.setattr(Feed, "_follow", gone)
        person.app.feed._report_lost("the server does not answer")

    unreachable = Unreachable("the server does not answer")
    await seen(canned, name, "stale", "Stale since 2026", then=lose)


def asked(name: str) -> tuple[str, str]:
    """The path and the method of what a screen asks first."""
    return SCREENS[name][1], "POST" if name == "plan" else "GET"


async def seen(
    canned: Canned,
    name: str,
    state: str,
    shown: str,
    *,
    before: Callable[[], None] | None = None,
    then: Callable[[Person], Awaitable[None]] | None = None,
) -> None:
    """The screen in this state against its golden files, in every size.

    ``before`` it is opened, but after the program is connected, the server changes; ``then`` it is, once it is shown.
    """
    keys = SCREENS[name][0]
    if before is not None and not keys:
        before()  # it is the first screen, which asks as soon as it is connected
    async with person_at(canned.url, size=SMALL, clock=canned.clock) as person:
        if before is not None and keys:
            await settled(person, canned)
            before()
        await open_screen(person, canned, keys, " " if then else shown)
        if then is not None:
            await then(person)
            await person.sees(shown)
        for size in SIZES:
            if size != SMALL:
                await person.pilot.resize_terminal(*size)
            await settled(person, canned)
            text = re.sub(r"(Trying\s+again) (now|in \d+ s)\.", r"\1 soon.", person.text)
            address = canned.url.removeprefix("http://")
            text = text.replace(address, "127.0.0.1:8470".ljust(len(address)))
            golden(f"{name}-{state}-{size[0]}x{size[1]}", text)
