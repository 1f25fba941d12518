"""``keystead tui --serve``: textual-serve behind a guard.

Who calls it: ``controlplane.cli.terminal``. Guarantees: it listens on 127.0.0.1 and nowhere else; a request is answered
only if its ``Host`` is this address (no rebound name reaches it) and, for the terminal itself, its ``Origin`` too (no
page of another site does); the one-time token of the printed address opens one session, whose cookie no script and no
other site can use; after that the token is worth nothing. Nothing is loaded from elsewhere.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import secrets
import shlex
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import aiohttp_jinja2
import jinja2
from aiohttp import web
from textual_serve.server import Server

from controlplane.errors import StartupRefused
from tui.browser.program import READ_ONLY, THEME

HOST: Final = "127.0.0.1"
COOKIE: Final = "keystead_tui"
HERE: Final = Path(__file__).parent

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class GuardedServer(Server):
    """One visitor's terminal UI in a browser. ``port`` is that of a socket that listens already."""

    def __init__(self, port: int, *, token: str) -> None:
        command = f"{shlex.quote(sys.executable)} -m tui.browser.program"
        super().__init__(command, host=HOST, port=port, title="Keystead", public_url=f"http://{HOST}:{port}")
        self._token: str | None = token
        self._session = secrets.token_urlsafe(32)

    @property
    def address(self) -> str:
        """What to open, once."""
        return f"{self.public_url}/?token={self._token}"

    async def app(self) -> web.Application:
        """textual-serve's routes, but the downloads, which this program does not have; the page is ours."""
        app = web.Application(middlewares=[self.guard])
        aiohttp_jinja2.setup(app, loader=jinja2.FileSystemLoader(HERE), autoescape=True)
        app.add_routes(
            [
                web.get("/", self.page),
                web.get("/ws", self.handle_websocket, name="websocket"),
                web.static("/static", self.statics_path, name="static"),
                web.get("/page/page.css", self.style),
            ]
        )
        return app

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Who may pass; and the headers that keep a page of another site out of this one."""
        if request.headers.get("Host") != f"{HOST}:{self.port}":
            response: web.StreamResponse = _refusal("this is not the address that was printed")
        elif not self._let_in(request):
            response = self._first_visit(request)
        elif request.path == "/ws" and request.headers.get("Origin") != self.public_url:
            response = _refusal("the terminal opens from its own page only")
        else:
            response = await handler(request)
        if not response.prepared:
            response.headers.update(self._headers())
        return response

    async def page(self, request: web.Request) -> web.Response:
        return aiohttp_jinja2.render_template(
            "index.html",
            request,
            {
                "font_size": 16,
                "app_websocket_url": f"ws://{HOST}:{self.port}/ws",
                "config": {"static": {"url": "/static/"}},
                "application": {"name": self.title},
            },
        )

    async def style(self, request: web.Request) -> web.FileResponse:  # noqa: ARG002 - a handler's signature
        return web.FileResponse(HERE / "page.css")

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _let_in(self, request: web.Request) -> bool:
        return hmac.compare_digest(request.cookies.get(COOKIE, "").encode(), self._session.encode())

    def _first_visit(self, request: web.Request) -> web.Response:
        """The one-time token in exchange for the cookie; then to an address without it, which may stand in history."""
        given = request.query.get("token", "")
        if request.method != "GET" or request.path != "/":
            return _refusal("it begins at the address that was printed")
        if self._token is None or not hmac.compare_digest(given.encode(), self._token.encode()):
            return _refusal("open the address that was printed; it works once, so start again for another browser")
        self._token = None
        response = web.Response(status=303, headers={"Location": "/"})
        response.set_cookie(COOKIE, self._session, httponly=True, samesite="Strict", path="/")
        return response

    def _headers(self) -> dict[str, str]:
        return {
            "Content-Security-Policy": (
                f"default-src 'self'; connect-src 'self' ws://{HOST}:{self.port}; style-src 'self' 'unsafe-inline'; "
                "img-src 'self' data: blob:; font-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; "
                "form-action 'none'"
            ),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
        }


def serve(port: int, *, read_only: bool, theme: str, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM. ``ready`` is told the address. Raises :class:`StartupRefused`."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise StartupRefused(f"cannot listen on {HOST}:{port}: {error.strerror}") from None
    os.environ[READ_ONLY] = "1" if read_only else "0"
    os.environ[THEME] = theme
    asyncio.run(_serve(listener, ready))


async def _serve(listener: socket.socket, ready: Callable[[str], None]) -> None:
    server = GuardedServer(listener.getsockname()[1], token=secrets.token_urlsafe(24))
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    runner = web.AppRunner(await server.app(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        ready(server.address)
        await stopped.wait()
    finally:
        await runner.cleanup()


def _refusal(why: str) -> web.Response:
    return web.Response(status=403, text=f"Not here: {why}.\n")
