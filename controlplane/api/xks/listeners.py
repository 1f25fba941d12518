"""The ports of the XKS proxies: opened, kept as declared, and closed.

Who calls it: the reconciler of kind XksProxy, through the protocol it declares, in each process of the server; the
composition root closes.
Guarantees: proxies that share an address share one port and one TLS set-up, told apart by their path prefix; what
cannot be served leaves the others untouched; no request body beyond ``MAX_BODY`` is held in memory; when more requests
are under way than can be answered in time, further ones are told so at once (ThrottlingException) instead of being left
to time out.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any, Final

import structlog
import uvicorn

from controlplane.api.wire import Answer
from controlplane.api.xks import tls
from controlplane.api.xks.door import XksDoor
from controlplane.api.xks.health import Health
from controlplane.api.xks.served import Served, Site
from controlplane.api.xks.wire import MAX_BODY
from controlplane.clock import Clock
from controlplane.errors import Conflict, InvalidInput, LimitExceeded, Unsupported
from controlplane.keystores.calls import Calls
from controlplane.keystores.deadline import within
from controlplane.schema.meta import XksProxy
from controlplane.schema.xksproxies import XksServing, XksTls
from controlplane.store.catalog import Catalog
from controlplane.store.database import Database
from controlplane.usage.perform import Usage
from controlplane.usage.testkeys import TestKeys

log = structlog.get_logger("keystead.xks")

HEALTH_SECONDS: Final = 15.0
KEEP_ALIVE_SECONDS: Final = 75
GRACE_SECONDS: Final = 2
MAX_RUNNING: Final = 256
"""Requests under way at once: at 1,800 a second the last of them waits 140 milliseconds, and KMS waits for 250."""
BACKLOG: Final = 1024

RECEIVE_SECONDS: Final = 10.0
"""For all of a request's body, where KMS waits 250 milliseconds for the answer to it."""

_TOO_SLOW: Final = LimitExceeded("The request body did not arrive in time.")
_TOO_LARGE: Final = Unsupported(f"The request body is larger than {MAX_BODY} bytes.")
_TOO_MANY: Final = LimitExceeded("The proxy has more requests under way than it can answer in time.")


class Listeners:
    """All ports of this process."""

    def __init__(
        self, database: Database, catalog: Catalog, calls: Calls, usage: Usage, clock: Clock, account: str, site: Site
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._clock = clock
        self._account = account
        self._site = site
        self._health = Health(catalog, TestKeys(database, calls))
        self._door = XksDoor(catalog, calls, usage, self._health)
        self._ports: dict[tuple[str, int, str], _Port] = {}
        self._changing = asyncio.Lock()
        self._watch: asyncio.Task[None] | None = None

    async def serve(self, proxy: XksProxy) -> XksServing:
        """Have the proxy served as it is declared, and say how it is.

        Raises :class:`InvalidInput` for TLS files that cannot be used, :class:`Conflict` for an address or path that
        is taken. Then the proxy is not served.
        """
        async with self._changing:
            port = await self._placed(proxy)
        served = port.routes[proxy.spec.path_prefix]
        if self._watch is None:
            self._watch = asyncio.create_task(self._keep_looking(), name="xks-health")
        gone_bad = port.reload()
        looks = await self._health.renew(served.key_stores())
        return XksServing(
            address=port.address,
            certificate_expires_at=port.loaded.expires_at,
            key_managers=tuple(look.manager for look in looks),
            problems=(*gone_bad, *served.problems),
        )

    async def withdraw(self, uid: str) -> None:
        """Serve the proxy no more. Its connections end if nobody else is on its port."""
        async with self._changing:
            for place, port in list(self._ports.items()):
                if port.drop(uid) and not port.routes:
                    del self._ports[place]
                    await port.close()

    async def close(self) -> None:
        """Close every port: running requests are let finish."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        ports = list(self._ports.values())
        self._ports.clear()
        await asyncio.gather(*(port.close() for port in ports))

    # ---- inside ----------------------------------------------------------------------------------------------------

    async def _placed(self, proxy: XksProxy) -> _Port:
        """The port of a proxy, with the proxy on it."""
        spec, uid = proxy.spec, proxy.metadata.uid
        files = tls.below(spec.tls, self._site.directory)
        place = (spec.listen.host, spec.listen.port, uid if spec.listen.port == 0 else "")
        for elsewhere, port in list(self._ports.items()):
            moved = elsewhere != place or port.holder(spec.path_prefix) not in (None, uid)
            if moved and port.drop(uid) and not port.routes:
                del self._ports[elsewhere]
                await port.close()
        held = self._ports.get(place)
        if held is None:
            port = await self._opened(proxy, place, files, tls.load(files))
        elif held.tls == files:
            port = held
        elif held.only(uid):
            # Whom the port lets in has changed: connections that were let in before end with it.
            loaded = tls.load(files)
            del self._ports[place]
            await held.close()
            port = await self._opened(proxy, place, files, loaded)
            port.routes.update(held.routes)
        else:
            raise Conflict(
                f"{spec.listen.host}:{spec.listen.port} is served with other TLS settings for another XksProxy; "
                "proxies that share an address share them, too"
            )
        holder = port.holder(spec.path_prefix)
        if holder not in (None, uid):
            raise Conflict(f"another XksProxy has the path {spec.uri_path} at {spec.listen.host}:{spec.listen.port}")
        port.put(proxy, lambda: Served(self._database, self._catalog, self._clock, self._account, self._site, proxy))
        return port

    async def _opened(self, proxy: XksProxy, place: tuple[str, int, str], files: XksTls, loaded: tls.Loaded) -> _Port:
        listen = proxy.spec.listen
        port = _Port(self._door, files, loaded)
        await port.open(listen.host, listen.port, shared=self._site.processes > 1)
        self._ports[place] = port
        log.info("an XKS listener is open", address=port.address)
        return port

    async def _keep_looking(self) -> None:
        """Look at the key stores before anybody asks, so that the answer to GetHealthStatus is at hand."""
        while True:
            await asyncio.sleep(HEALTH_SECONDS)
            try:
                stores = {store for port in self._ports.values() for store in port.key_stores()}
                await self._health.renew(sorted(stores))
            except Exception as error:
                log.warning("looking at the key stores behind XKS proxies failed", error=type(error).__name__)


class _Port:
    """One address with its TLS and the proxies on it, by path prefix."""

    def __init__(self, door: XksDoor, spec: XksTls, loaded: tls.Loaded) -> None:
        self._door = door
        self._context = tls.listener_context(loaded)
        self._server: uvicorn.Server | None = None
        self._socket: socket.socket | None = None
        self._loop_task: asyncio.Task[None] | None = None
        self._running = 0
        self.tls = spec
        self.routes: dict[str, Served] = {}
        self.address = ""

    @property
    def loaded(self) -> tls.Loaded:
        return self._context.loaded

    # ---- life ------------------------------------------------------------------------------------------------------

    async def open(self, host: str, port: int, *, shared: bool) -> None:
        listener = _listen(host, port, shared=shared)
        bound = listener.getsockname()
        self.address = f"[{bound[0]}]:{bound[1]}" if listener.family is socket.AF_INET6 else f"{bound[0]}:{bound[1]}"
        config = uvicorn.Config(
            self._app,
            interface="asgi3",
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # a client must not choose the source address of its audit records
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
            backlog=BACKLOG,
            ssl_context_factory=lambda *_: self._context,
        )
        config.load()
        self._server = uvicorn.Server(config)
        self._server.lifespan = config.lifespan_class(config)
        self._socket = listener
        await self._server.startup(sockets=[listener])
        self._loop_task = asyncio.create_task(self._server.main_loop(), name=f"xks-{self.address}")

    async def close(self) -> None:
        if self._server is None or self._loop_task is None or self._socket is None:
            return
        self._server.should_exit = True
        await asyncio.gather(self._loop_task, return_exceptions=True)
        await self._server.shutdown(sockets=[self._socket])
        log.info("an XKS listener is closed", address=self.address)

    def reload(self) -> tuple[str, ...]:
        """Take certificate and authority anew if their files changed. What went bad is told, and the old ones serve."""
        try:
            if tls.stamp_of(self.tls) != self.loaded.stamp:
                self._context.loaded = tls.load(self.tls)
                log.info("an XKS listener has a new certificate", address=self.address)
        except InvalidInput as error:
            return (error.message,)
        return ()

    # ---- who is on it ----------------------------------------------------------------------------------------------

    def put(self, proxy: XksProxy, make: Any) -> None:
        """Serve this generation of the proxy; one that is served already keeps its quota and reads its secrets anew."""
        served = self.routes.get(proxy.spec.path_prefix)
        if served is None:
            self.routes[proxy.spec.path_prefix] = make()
        elif served.proxy.metadata.generation != proxy.metadata.generation:
            served.take(proxy)
        else:
            served.read_secrets()

    def drop(self, uid: str) -> bool:
        """Serve the proxy here no more; whether it was."""
        prefixes = [prefix for prefix, served in self.routes.items() if served.proxy.metadata.uid == uid]
        for prefix in prefixes:
            del self.routes[prefix]
        return bool(prefixes)

    def holder(self, prefix: str) -> str | None:
        served = self.routes.get(prefix)
        return served.proxy.metadata.uid if served is not None else None

    def only(self, uid: str) -> bool:
        return all(served.proxy.metadata.uid == uid for served in self.routes.values())

    def key_stores(self) -> set[str]:
        return {store for served in self.routes.values() for store in served.key_stores()}

    # ---- requests --------------------------------------------------------------------------------------------------

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        try:
            body = await within(_body(receive), RECEIVE_SECONDS)
        except TimeoutError:
            await _send(send, await self._door.refuse(_TOO_SLOW, scope["headers"], _source(scope)), last=True)
            return
        if body is None:
            return
        if len(body) > MAX_BODY:
            await _send(send, await self._door.refuse(_TOO_LARGE, scope["headers"], _source(scope)), last=True)
            return
        # Only what has arrived counts: or whoever begins requests and ends none would keep everybody out.
        if self._running >= MAX_RUNNING:
            await _send(send, await self._door.refuse(_TOO_MANY, scope["headers"], _source(scope)))
            return
        self._running += 1
        try:
            answer = await self._door.handle(
                self.routes.get,
                scope["method"],
                scope["raw_path"],
                scope["query_string"],
                scope["headers"],
                body,
                _source(scope),
            )
        finally:
            self._running -= 1
        await _send(send, answer)


def _source(scope: Any) -> str:
    client = scope.get("client")
    return client[0] if client else "unknown"


async def _body(receive: Any) -> bytes | None:
    """A request's body, of which no more is read once it is longer than ``MAX_BODY``; None if the client went away."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body = body + message["body"] if body else message.get("body", b"")
        if len(body) > MAX_BODY or not message.get("more_body"):
            return bytes(body)


async def _send(send: Any, answer: Answer, *, last: bool = False) -> None:
    """``last``: the connection is closed with it, because the rest of the request is not read."""
    headers = [*answer.headers, (b"connection", b"close")] if last else answer.headers
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _listen(host: str, port: int, *, shared: bool) -> socket.socket:
    """``shared``: each process of this server listens on the port, and the kernel spreads connections over them."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST
        )[0]
    except socket.gaierror:
        raise InvalidInput(f"listen.host: {host} is no IP address of this machine; write one, or 0.0.0.0") from None
    listener = socket.socket(family, kind, proto)
    with contextlib.ExitStack() as undo:
        undo.callback(listener.close)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError as error:
            raise Conflict(f"cannot listen on {host}:{port}: {error.strerror}") from None
        listener.setblocking(False)
        undo.pop_all()
    return listener
