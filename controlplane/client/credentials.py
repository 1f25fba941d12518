"""Where a face finds server and token: the environment, else the credentials file.

The file is ``~/.config/keystead/credentials`` (``KEYSTEAD_CREDENTIALS`` names another), in TOML::

    url = "https://keystead.example"
    token = "..."

Guarantees: a token from the file goes to the file's own server and to no other that a command line names; a file that
others can read is refused, because what is in it is not a secret any more.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from controlplane.client.addresses import DEFAULT_URL
from controlplane.errors import InvalidInput


class Credentials(msgspec.Struct, frozen=True):
    """A server and the token for it, if there is one."""

    url: str
    token: str | None = None

    def __repr__(self) -> str:
        return f"Credentials({self.url!r})"


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str | None = None
    token: str | None = None


def find_credentials(url: str | None, environ: Mapping[str, str]) -> Credentials:
    """``url`` (a command line's) comes first, then ``KEYSTEAD_URL``; ``KEYSTEAD_TOKEN`` before the file's token."""
    wanted, token = url or environ.get("KEYSTEAD_URL"), environ.get("KEYSTEAD_TOKEN")
    if token:
        return Credentials(wanted or DEFAULT_URL, token)
    kept = _read(_path(environ))
    if kept is None:
        return Credentials(wanted or DEFAULT_URL)
    own = (kept.url or DEFAULT_URL).rstrip("/")
    if wanted is not None and wanted.rstrip("/") != own:
        return Credentials(wanted)
    return Credentials(own, kept.token)


def _path(environ: Mapping[str, str]) -> Path | None:
    if named := environ.get("KEYSTEAD_CREDENTIALS"):
        return Path(named)
    home = environ.get("XDG_CONFIG_HOME") or (f"{environ['HOME']}/.config" if environ.get("HOME") else None)
    path = Path(home) / "keystead" / "credentials" if home else None
    return path if path is not None and path.exists() else None


def _read(path: Path | None) -> _File | None:
    if path is None:
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise InvalidInput(f"{path} can be read by others, so its token is no secret; chmod 600 {path}")
            text = file.read(65_536).decode()
        return msgspec.convert(tomllib.loads(text), _File)
    except OSError as error:
        raise InvalidInput(f"credentials file {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError):
        # Not the parser's words: they may hold a piece of the token.
        raise InvalidInput(
            f'credentials file {path} is not TOML with url = "..." and token = "..." and no more'
        ) from None
