"""How connections to a proxy are made: TLS, and addresses that do not come from a blocked thread of somebody else.

Who calls it: ``client``. Guarantee: a name server that hangs ties up two threads of this store and nothing else.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from aiohttp.abc import AbstractResolver, ResolveResult

from plugins.sdk import Misconfigured
from plugins.xks.options import XksOptions

_RESOLVERS = 2


def tls_context(options: XksOptions, begins: Callable[[], None], connected: Callable[[float], None]) -> ssl.SSLContext:
    """TLS 1.2 or newer, the proxy's certificate checked against its host name. Raises ``Misconfigured``.

    ``begins`` is called before each handshake, once there is a TCP connection; ``connected`` is told after it when the
    proxy's certificate expires, in seconds since the epoch.
    """
    try:
        context = ssl.create_default_context(cafile=options.authority)
    except OSError as error:  # ssl.SSLError is one
        raise Misconfigured(f"authority: {options.authority} cannot be used: {_why(error)}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if options.client is not None:
        try:
            context.load_cert_chain(options.client.certificate, options.client.key)
        except OSError as error:
            names = f"{options.client.certificate} and {options.client.key}"
            raise Misconfigured(f"client: {names} cannot be used: {_why(error)}") from None
    context.sslobject_class = _telling(begins, connected)
    return context


def _telling(begins: Callable[[], None], connected: Callable[[float], None]) -> type[ssl.SSLObject]:
    class Telling(ssl.SSLObject):
        began = False

        # A short answer is read whole before anybody could ask its connection: it is given back by then.
        def do_handshake(self) -> None:  # is called again and again until it is done
            if not self.began:
                self.began = True
                begins()
            super().do_handshake()
            certificate = self.getpeercert()
            if certificate is not None and "notAfter" in certificate:
                connected(ssl.cert_time_to_seconds(str(certificate["notAfter"])))

    return Telling


class Resolver(AbstractResolver):
    """Looks names up in threads of its own; or answers the address that the options say."""

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._threads = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="xks-resolver")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads,
            lambda: socket.getaddrinfo(self._address or host, port, family, socket.SOCK_STREAM),
        )
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=of,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for of, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "it is not in PEM"
    return (error.strerror or str(error)).lower()
