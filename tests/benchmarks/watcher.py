"""The terminal UI without a terminal, as the benchmark ``terminal`` starts it: what a person waits for, as JSON lines.

``python -m tests.benchmarks.watcher URL first|changes``; the token is in ``KEYSTEAD_TOKEN``. Keys go in where those of
a terminal do, and a time ends when the text is on the screen that a terminal would show.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from textual import events
from textual.keys import _character_to_key

from controlplane.client import Client
from controlplane.schema.plans import ServerInfo
from tui.app import KeysteadApp
from tui.screens.keys import KeysScreen

SIZE = (120, 40)
LETTERS = "0123456789ab"
SECONDS = 60.0


class Noting(Client):
    """Notes when the server answered for the first time."""

    answered = 0.0

    async def server(self) -> ServerInfo:
        info = await super().server()
        Noting.answered = Noting.answered or time.monotonic()
        return info


class Watcher:
    """Somebody in front of the screen with a stopwatch."""

    def __init__(self, url: str) -> None:
        self.app = KeysteadApp(lambda: Noting(url, os.environ["KEYSTEAD_TOKEN"], timeout=60), url)

    @property
    def text(self) -> str:
        return "\n".join(strip.text for strip in self.app.screen._compositor.render_strips())

    def send(self, key: str) -> float:
        """Press a key; when."""
        name = _character_to_key(key) if len(key) == 1 else key
        self.app.post_message(events.Key(name, key if len(key) == 1 else None))
        return time.monotonic()

    async def until(self, condition: Callable[[], object], what: str) -> float:
        deadline = time.monotonic() + SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise SystemExit(f"not within {SECONDS:g} seconds: {what}\n{self.text}")
            await asyncio.sleep(0.002)
        return time.monotonic()

    async def first(self) -> dict[str, Any]:
        """The overview, the list of keys, and a filter as it is typed, letter by letter."""
        shown = await self.until(lambda: "Needs a person" in self.text and "Enabled" in self.text, "the overview")
        began = self.send("2")
        listed = await self.until(lambda: self._page() is not None and "● Enabled" in self.text, "the keys")
        screen = self.app.screen
        assert isinstance(screen, KeysScreen)
        self.send("/")
        await self.until(lambda: screen.prompt.is_open, "the prompt")
        echoes, rows = [], []
        for letter in LETTERS:
            before = screen.page
            pressed = self.send(letter)
            echoes.append(await self.until(lambda letter=letter: f"/{letter} " in self.text, "the letter") - pressed)  # type: ignore[misc]
            rows.append(await self.until(lambda before=before: screen.page is not before, "the rows") - pressed)  # type: ignore[misc]
            page = screen.page
            assert page is not None
            assert all(letter in f"{row.name} {row.aliases} {row.tags}" for row in page.items[:3])
            self.send("backspace")
            await self.until(lambda page=page: screen.page is not page, "the rows without it")  # type: ignore[misc]
        return {
            "first": shown - Noting.answered,
            "listed": listed - began,
            "echo": echoes,
            "rows": rows,
            "keys": screen.page.total if screen.page is not None else 0,
        }

    async def changes(self) -> dict[str, Any]:
        """Keys pressed while changes stream in; then how long until the last change is on the screen."""
        await self.until(lambda: "Needs a person" in self.text, "the overview")
        self.send("2")
        await self.until(lambda: "v0 " in self.text, "the keys")
        loop = asyncio.get_running_loop()
        last = loop.run_in_executor(None, sys.stdin.readline)
        print(json.dumps("ready"), flush=True)
        echoes: list[float] = []
        used, began = time.process_time(), time.monotonic()
        at = 0
        while not last.done():
            at += 1
            pressed = self.send("down")
            echoes.append(await self.until(lambda at=at: f"› key-{at:06d}" in self._rows(), "the cursor") - pressed)  # type: ignore[misc]
            if at == 25:
                self.send("home")
                await self.until(lambda: "› key-000000" in self._rows(), "the first row")
                at = 0
            await asyncio.sleep(0.05)
        told = time.monotonic()
        cpu = (time.process_time() - used) / (told - began)
        seen = await self.until(lambda: f"v{(last.result()).strip()} " in self.text, "the last change")
        return {"lag": seen - told, "echo": echoes, "cpu": cpu}

    def _rows(self) -> str:
        return self.text.replace("›  ", "› ")

    def _page(self) -> object:
        return getattr(self.app.screen, "page", None)


async def main(url: str, phase: str) -> None:
    watcher = Watcher(url)
    async with watcher.app.run_test(size=SIZE):
        said = await (watcher.first() if phase == "first" else watcher.changes())
        print(json.dumps(said), flush=True)
        await asyncio.to_thread(sys.stdin.readline)  # until its memory has been looked at


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
