"""What the client is told of its server (a URL, a token), and names on their way into a path. Called by the package."""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import quote, urlsplit

from controlplane.errors import InvalidInput
from controlplane.settings import DEFAULT_PORT

DEFAULT_URL: Final = f"http://127.0.0.1:{DEFAULT_PORT}"


def checked_url(url: str, insecure: bool) -> str:
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise InvalidInput(f"{quoted(url)} is not a URL; write one such as {DEFAULT_URL}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise InvalidInput(
            f"{quoted(url)} is not an http or https URL; write one such as {DEFAULT_URL} (KEYSTEAD_URL or --url)"
        )
    if "@" in parts.netloc:
        raise InvalidInput("the URL holds credentials; write it without them and set KEYSTEAD_TOKEN")
    if parts.query or parts.fragment or not url.strip().isprintable() or " " in url.strip():
        raise InvalidInput(f"{quoted(url)} is not the address of a server; write one such as {DEFAULT_URL}")
    plain = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
    if parts.scheme == "http" and not insecure and not loopback(plain):
        raise InvalidInput(
            f"{plain} would carry the token over the network in clear; use https, or set KEYSTEAD_INSECURE=1 if "
            "the network is private"
        )
    return plain


def quoted(url: str) -> str:
    """A wrong URL as it may be shown: what stands before an ``@`` may be a password."""
    return repr(url.rpartition("@")[2] if "@" in url else url)


def checked_token(token: str | None) -> str | None:
    token = (token or "").strip()
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise InvalidInput("KEYSTEAD_TOKEN holds characters that no token has; was it copied whole, and nothing else?")
    return token or None


def loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_reference(name: str) -> bool:
    """Whether this is ``alias/NAME`` or an ARN, which no path segment carries through every server and proxy."""
    return "/" in name or ":" in name


def segment(name: str) -> str:
    """A name as one segment of a path. ``.`` and ``..`` would be taken for steps in it and ask for something else."""
    if name in ("", ".", ".."):
        raise InvalidInput(f"{name!r} is not a name")
    return quote(name, safe="")
