"""A headless Chromium that a test drives over the DevTools protocol: pages, keys, screenshots, what was requested."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or "chromium"
SECONDS = 60.0


class Page:
    """One tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._next = 0
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.requested: list[str] = []
        """Every URL that the page asked for."""
        self.complaints: list[str] = []
        """What the browser said on its console: errors, and what the policy of the page forbids."""

    async def read(self) -> None:
        async for message in self._socket:
            said = message.json()
            if (future := self._answers.pop(said.get("id", -1), None)) is not None:
                future.set_result(said)
            elif said.get("method") == "Network.requestWillBeSent":
                self.requested.append(said["params"]["request"]["url"])
            elif said.get("method") == "Network.webSocketCreated":
                self.requested.append(said["params"]["url"])
            elif said.get("method") == "Log.entryAdded":
                self.complaints.append(said["params"]["entry"]["text"])

    async def ask(self, method: str, **params: Any) -> Any:
        self._next += 1
        future = self._answers[self._next] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": self._next, "method": method, "params": params})
        async with asyncio.timeout(SECONDS):
            answer = await future
        assert "error" not in answer, answer
        return answer["result"]

    async def evaluate(self, script: str) -> Any:
        answer = await self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        return answer["result"].get("value")

    async def until(self, script: str, what: str) -> Any:
        """Wait until the script's value is true."""
        try:
            async with asyncio.timeout(SECONDS):
                while not (value := await self.evaluate(script)):  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.1)
                return value
        except TimeoutError:
            raise AssertionError(f"not within {SECONDS:g} seconds: {what}; console: {self.complaints}") from None

    async def press(self, text: str) -> None:
        for character in text:
            await self.ask("Input.dispatchKeyEvent", type="keyDown", text=character, key=character)
            await self.ask("Input.dispatchKeyEvent", type="keyUp", key=character)

    async def screenshot(self) -> bytes:
        """A PNG of the page."""
        return base64.b64decode((await self.ask("Page.captureScreenshot", format="png"))["data"])


@contextlib.asynccontextmanager
async def page(directory: Path, *, width: int = 1200, height: int = 700) -> AsyncIterator[Page]:
    """A new browser with a profile of its own."""
    profile = directory / "profile"
    command = [
        PROGRAM,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-quic",
        "--remote-debugging-port=0",
        "--remote-allow-origins=*",
        f"--user-data-dir={profile}",
        f"--window-size={width},{height}",
        "about:blank",
    ]
    process = subprocess.Popen(  # noqa: ASYNC220
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        port = await _port(profile / "DevToolsActivePort")
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as response:
                tab = next(each for each in await response.json() if each["type"] == "page")
            async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                shown = Page(socket)
                reader = asyncio.create_task(shown.read())
                for domain in ("Page", "Runtime", "Network", "Log"):
                    await shown.ask(f"{domain}.enable")
                yield shown
                reader.cancel()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


async def _port(file: Path) -> int:
    async with asyncio.timeout(SECONDS):
        while not (file.exists() and file.read_text().strip()):  # noqa: ASYNC110, ASYNC240 - nothing tells it
            await asyncio.sleep(0.05)
    return int(file.read_text().splitlines()[0])  # noqa: ASYNC240
