"""``keystead tui --serve``: one browser of this machine gets in, once, and sees the same program."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from controlplane.cli import main as cli
from tests.harness import ROOT, TOKEN, Server, document
from tests.tui.chromium import SECONDS, page


class Served(NamedTuple):
    """A running ``keystead tui --serve``."""

    url: str
    port: int
    process: subprocess.Popen[str]

    def get(self, path: str, **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.putrequest("GET", path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        response.read()
        connection.close()
        return response

    @property
    def path(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.path}?{parts.query}"

    def cookie(self) -> str:
        """Let somebody in: the cookie of the session."""
        given = self.get(self.path).headers["Set-Cookie"]
        assert given
        return str(given).partition(";")[0]


@contextlib.contextmanager
def serving(server: Server, *options: str) -> Iterator[Served]:
    process = subprocess.Popen(
        [sys.executable, "-m", "controlplane", "tui", "--serve", "--json", *options],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "KEYSTEAD_URL": server.url, "KEYSTEAD_TOKEN": TOKEN},
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        assert said["readOnly"] is ("--read-write" not in options)
        yield Served(said["url"], urlsplit(said["url"]).port or 0, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


def keep(picture: bytes) -> None:
    """Where ``KEYSTEAD_SCREENSHOT`` says, for somebody to look at."""
    if name := os.environ.get("KEYSTEAD_SCREENSHOT"):
        Path(name).write_bytes(picture)


@pytest.fixture(scope="module")
def served(shared_server: Server) -> Iterator[Served]:
    with serving(shared_server) as served:
        yield served


@pytest.mark.parametrize("path", ["/", "/?token=", "/?token=wrong", "/ws", "/static/js/textual.js", "/page/page.css"])
def test_nobody_gets_in_without_the_address(served: Served, path: str) -> None:
    answer = served.get(path)
    assert answer.status == 403
    assert "Set-Cookie" not in answer.headers


def test_a_name_that_was_bound_to_this_machine_does_not_get_in(served: Served) -> None:
    """DNS rebinding: the page of another site, under a name that resolves here."""
    for host in ("evil.example", f"evil.example:{served.port}", f"localhost:{served.port}"):
        assert served.get(served.path, Host=host).status == 403


def test_it_listens_on_loopback_only(served: Served) -> None:
    others = {each[4][0] for each in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
    others |= {"127.0.0.2"}
    for address in others:
        with pytest.raises(OSError), socket.create_connection((str(address), served.port), timeout=5):
            pytest.fail(f"it answers on {address}")


def test_the_token_opens_one_session_and_leaves_the_address(shared_server: Server) -> None:
    with serving(shared_server) as served:
        first = served.get(served.path)
        assert (first.status, first.headers["Location"]) == (303, "/")
        cookie = str(first.headers["Set-Cookie"])
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert served.get(served.path).status == 403, "the token was used"
        session = cookie.partition(";")[0]
        page = served.get("/", Cookie=session)
        assert page.status == 200
        assert "frame-ancestors 'none'" in str(page.headers["Content-Security-Policy"])
        assert "default-src 'self'" in str(page.headers["Content-Security-Policy"])
        assert served.get("/", Cookie="keystead_tui=guess").status == 403
        for origin in ({}, {"Origin": "http://evil.example"}, {"Origin": f"http://localhost:{served.port}"}):
            assert served.get("/ws", Cookie=session, **origin).status == 403
        token = served.path.partition("token=")[2]
        line = Path(f"/proc/{served.process.pid}/cmdline").read_bytes()
        assert TOKEN.encode() not in line
        assert token.encode() not in line


async def test_a_browser_shows_it_read_only_and_loads_nothing_from_elsewhere(
    private_server: Server, tmp_path: Path
) -> None:
    def asked(operation: str) -> int:
        return len(private_server.ok("GET", f"/v1/audit?operation={operation}&limit=50")["items"])

    async def until(condition: Callable[[], bool], what: str, press: str = "") -> None:
        """``press`` again and again: a page takes keys only once its terminal has the focus."""
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"not within {SECONDS:g} seconds: {what}; console: {tab.complaints}"
            await tab.evaluate("document.querySelector('.xterm-helper-textarea')?.focus()")
            await tab.press(press)
            await asyncio.sleep(0.3)

    private_server.apply("seen", [document("Key", "seen")])
    with serving(private_server) as served:
        async with page(tmp_path) as tab:
            await tab.ask("Page.navigate", url=served.url)
            await tab.until("document.body.classList.contains('-first-byte')", "the terminal draws")
            await until(lambda: asked("GetSummary") > 0, "it asks the server for the overview")
            assert await tab.evaluate("location.search") == "", "the token is not in the address any more"
            await until(lambda: asked("SearchKeys") > 1, "the section of keys asks for them", press="2")
            await until(lambda: asked("GetObject") > 0 or asked("GetKey") > 0, "the key is looked at", press="y")
            await tab.press("x")  # disable: not in a read-only program
            picture = await tab.screenshot()
            assert picture.startswith(b"\x89PNG")
            assert len(picture) > 20_000, "there is text on it"
            keep(picture)
            own = (f"http://127.0.0.1:{served.port}/", f"ws://127.0.0.1:{served.port}/", "about:", "data:")
            assert [url for url in tab.requested if not url.startswith(own)] == []
            assert [said for said in tab.complaints if "Content Security Policy" in said] == []
            await tab.press("q")
            await tab.until("document.body.classList.contains('-closed')", "q ends it")
    assert private_server.ok("GET", "/v1/keys/seen")["spec"].get("enabled", True) is True


def test_read_write_has_to_be_said_and_goes_with_serve_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tui", "--read-write"]) != 0
    assert "--read-write goes with --serve" in capsys.readouterr().err
