"""Sockets to serve on, and where the log goes: what one server process and the parent of several have in common.

Who calls it: ``server``, ``processes``. Guarantee: an address that another server listens on, and a TLS certificate
that does not load, are refused before anything else begins.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import sys
from typing import TextIO, cast

import structlog

from controlplane.errors import StartupRefused
from controlplane.settings import Settings

BACKLOG = 1024


def listen(settings: Settings) -> socket.socket:
    """A listening socket. Raises :class:`StartupRefused`."""
    listener = _bound(settings, settings.port)
    try:
        listener.listen(BACKLOG)
        listener.setblocking(False)
        _check_tls(settings)
    except BaseException:
        listener.close()
        raise
    return listener


def listen_shared(settings: Settings, number: int) -> list[socket.socket]:
    """``number`` listening sockets on one port, among which the kernel spreads connections. Raises
    :class:`StartupRefused`.

    They are made by the parent and outlive a process that dies: connections that wait in a socket's queue wait for the
    process that takes the dead one's place.
    """
    # Without the option first: with it a port that another server of the same user shares would not be refused.
    with _bound(settings, settings.port) as alone:
        port = alone.getsockname()[1]
    listeners: list[socket.socket] = []
    try:
        for _ in range(number):
            listener = _bound(settings, port, shared=True)
            listeners.append(listener)
            listener.listen(BACKLOG)
            listener.setblocking(False)
        _check_tls(settings)
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def configure_logging(level: str) -> None:
    """Structured lines on standard error; nothing else writes there."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper(), logging.INFO)),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, _Patient(sys.stderr))),
    )
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")


class _Patient:
    """A stream whose failures disturb nobody: a log on a full disk must not break the answer that it is about."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            return self._stream.write(text)
        return 0

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def _bound(settings: Settings, port: int, *, shared: bool = False) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((settings.host, port))
    except OSError as error:
        listener.close()
        raise StartupRefused(f"cannot listen on {settings.host}:{port}: {error.strerror}") from None
    return listener


def _check_tls(settings: Settings) -> None:
    if settings.tls is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls.certificate, settings.tls.key)
    except (OSError, ssl.SSLError) as error:
        raise StartupRefused(f"the TLS certificate and key cannot be used: {error}") from None
