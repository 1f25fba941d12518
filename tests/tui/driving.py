"""Drives the app as a person does: keys in, the text of the screen out; waits for what is on it, never for a time."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from textual._context import visible_screen_stack
from textual.keys import _character_to_key
from textual.pilot import Pilot

from controlplane.client import Client
from controlplane.clock import Clock
from tests.harness import TOKEN
from tui.app import KeysteadApp

T = TypeVar("T")

GOLDEN = Path(__file__).parent / "golden"
SECONDS = 30.0
SMALL, MIDDLE, LARGE = (80, 24), (120, 40), (200, 60)


class Person:
    """Somebody in front of the screen."""

    def __init__(self, app: KeysteadApp, pilot: Pilot[None]) -> None:
        self.app, self.pilot = app, pilot

    @property
    def lines(self) -> list[str]:
        """What is on the screen, that below a dialog included."""
        visible_screen_stack.set(self.app._background_screens)  # as when it is drawn
        return [strip.text.rstrip() for strip in self.app.screen._compositor.render_strips()]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def told(self) -> str:
        """What the notifications on the screen say."""
        return "\n".join(each.message for each in self.app._notifications)

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def type(self, text: str) -> None:
        """Type a text, key by key."""
        await self.pilot.press(*(_character_to_key(each) for each in text))

    async def sees(self, *wanted: str, seconds: float = SECONDS) -> str:
        """Wait until all of this is on the screen; the screen then."""
        return await self.until(lambda: self.text if all(each in self.text for each in wanted) else "", wanted, seconds)

    async def sees_not(self, unwanted: str, *, seconds: float = SECONDS) -> str:
        return await self.until(lambda: self.text if unwanted not in self.text else "", f"not {unwanted}", seconds)

    async def hears(self, wanted: str, *, seconds: float = SECONDS) -> None:
        """Wait until a notification says this."""
        await self.until(lambda: wanted in self.told, f"told: {wanted}", seconds)

    async def until(self, condition: Callable[[], T], what: object, seconds: float = SECONDS) -> T:
        deadline = time.monotonic() + seconds
        while True:
            await self.pilot.pause()
            answer = condition()
            if answer:
                return answer
            if time.monotonic() > deadline:
                pytest.fail(
                    f"not within {seconds:g} seconds: {what}\nfocus: {self.app.focused}\ntold: {self.told}\n{self.text}"
                )
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def person_at(
    url: str,
    *,
    size: tuple[int, int] = MIDDLE,
    token: str | None = TOKEN,
    clock: Clock | None = None,
    live: bool = True,
    **options: Any,
) -> AsyncIterator[Person]:
    """The app on a terminal of this size, connected to the server at ``url``."""
    app = KeysteadApp(lambda: Client(url, token, timeout=30), url, clock=clock, **options)
    async with app.run_test(size=size) as pilot:
        person = Person(app, pilot)
        if live:
            await person.until(lambda: app.link.live, "the server is connected")
        yield person


def golden(name: str, text: str) -> None:
    """Compare with the golden file. ``KEYSTEAD_UPDATE_GOLDEN=1`` writes it anew, to be read in review."""
    path = GOLDEN / f"{name}.txt"
    text = text.rstrip("\n") + "\n"
    if os.environ.get("KEYSTEAD_UPDATE_GOLDEN") == "1":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"there is no {path}; KEYSTEAD_UPDATE_GOLDEN=1 writes it"
    before = path.read_text("utf-8")
    if text != before:
        differs = difflib.unified_diff(before.splitlines(), text.splitlines(), "golden", "seen", lineterm="", n=0)
        pytest.fail("\n".join([f"{path.name} is otherwise", *differs]))
