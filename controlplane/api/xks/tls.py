"""TLS of the XKS listeners: what they offer, whom they let in, and how both change while they run.

Who calls it: ``listeners``. Guarantees: TLS 1.2 or newer with forward secrecy and authenticated encryption only; with a
clients' authority configured, a client without a certificate of that authority for the configured name does not get
through the handshake, so no request of it is ever read.

Source: specification, "API content type" (versions and suites) and "Authentication" (mutual TLS).
"""

from __future__ import annotations

import ssl
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography import x509

from controlplane.errors import InvalidInput
from controlplane.schema.xksproxies import XksTls

_TLS_1_2_SUITES: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
_ALWAYS_CHECK_SUBJECT: Final = 0x1
_NO_WILDCARDS: Final = 0x2
"""X509_check_host(3): the common name counts beside alternative names, and no ``*`` stands for anything."""


class Loaded(msgspec.Struct, frozen=True):
    """What the files held when they were read. ``stamp`` tells whether they were changed since."""

    context: ssl.SSLContext
    subject_name: str | None
    expires_at: datetime
    stamp: tuple[tuple[int, int, int], ...]


class ListenerContext(ssl.SSLContext):
    """The context that a listener is given once. Each handshake takes what was loaded last.

    The client's name is checked by OpenSSL within the handshake: it is given as the host name that the peer's
    certificate has to be for, which ``ssl`` itself sets for servers' certificates only.
    """

    loaded: Loaded

    def wrap_bio(self, incoming: Any, outgoing: Any, server_side: bool = False, *_: Any, **__: Any) -> ssl.SSLObject:
        loaded = self.loaded
        return loaded.context.wrap_bio(incoming, outgoing, server_side, loaded.subject_name)


def listener_context(loaded: Loaded) -> ListenerContext:
    """A context for a listener."""
    context = ListenerContext(ssl.PROTOCOL_TLS_SERVER)
    context.loaded = loaded
    return context


def load(tls: XksTls) -> Loaded:
    """Read certificate, key and authority. Raises :class:`InvalidInput` that says which is wrong and how."""
    stamp = stamp_of(tls)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_TLS_1_2_SUITES)
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        context.load_cert_chain(tls.certificate, tls.key)
        chain = x509.load_pem_x509_certificates(Path(tls.certificate).read_bytes())
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise InvalidInput(
            f"tls: certificate {tls.certificate} and key {tls.key} cannot be used: {_why(error)}"
        ) from None
    subject_name = None
    if tls.clients is not None:
        try:
            context.load_verify_locations(tls.clients.authority)
        except OSError as error:
            raise InvalidInput(
                f"tls.clients.authority: {tls.clients.authority} cannot be used: {_why(error)}"
            ) from None
        subject_name = tls.clients.subject_name
        context.verify_mode = ssl.CERT_REQUIRED
        context.check_hostname = True
        context._host_flags = _ALWAYS_CHECK_SUBJECT | _NO_WILDCARDS  # type: ignore[attr-defined]
    return Loaded(context, subject_name, chain[0].not_valid_after_utc, stamp)


def below(tls: XksTls, base: Path) -> XksTls:
    """The same with relative file names below ``base``."""
    clients = tls.clients
    if clients is not None:
        clients = msgspec.structs.replace(clients, authority=str(base / clients.authority))
    return XksTls(certificate=str(base / tls.certificate), key=str(base / tls.key), clients=clients)


def stamp_of(tls: XksTls) -> tuple[tuple[int, int, int], ...]:
    """Changes when one of the files does. Raises :class:`InvalidInput` for one that is not there."""
    names = [tls.certificate, tls.key, *((tls.clients.authority,) if tls.clients else ())]
    try:
        stats = [Path(name).stat() for name in names]
    except OSError as error:
        raise InvalidInput(f"tls: {error.filename}: {_why(error)}") from None
    return tuple((stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats)


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "it is not in PEM"
    return (error.strerror or str(error)).lower() if isinstance(error, OSError) else "it is not in PEM"
