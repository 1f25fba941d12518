"""Options of a key store, as the plugin declares them: a msgspec Struct, checked by the host before ``open``.

A secret is never written into a spec file: it is named by a :class:`SecretSource` and read by the plugin itself when it
opens, so the host, the store and the audit journal never hold it in clear.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final, get_args

import msgspec

from plugins.sdk.errors import CredentialsRefused, Misconfigured
from plugins.sdk.secret import SecretBytes
from plugins.sdk.types import PluginContext

MAX_SECRET_BYTES = 65_536
NOT_SECRET: Final = msgspec.Meta(extra={"secret": False})
"""For an option whose name ends like a secret's and that holds none (the label of a ``token``): ``Annotated[str,
NOT_SECRET]``. Others of such names are masked wherever a document is shown."""


def is_no_secret(field: msgspec.structs.FieldInfo) -> bool:
    """Whether an option is marked so."""
    declared = (field.type, *get_args(field.type))
    return any(NOT_SECRET in getattr(each, "__metadata__", ()) for each in declared)


class Options(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Base of a plugin's options. Field names are camelCase in spec files; unknown fields are refused."""

    def check(self) -> None:
        """Raise ``Misconfigured`` for what no single field can tell. The host calls it before the plugin is made."""


class SecretSource(Options, frozen=True):
    """Where a secret is read from: exactly one of a file and an environment variable."""

    from_file: str | None = None
    from_env: str | None = None

    async def reveal(self, what: str, context: PluginContext) -> SecretBytes:  # noqa: ARG002 - a kept secret needs it
        """The secret, for a plugin. Raises as :meth:`read`."""
        return self.read(what)

    def read(self, what: str) -> SecretBytes:
        """The secret, without one trailing newline.

        Raises :class:`Misconfigured` if the source is not exactly one, missing, empty, too large, or a file that other
        users can read; the message names ``what`` and never the content.
        """
        if (self.from_file is None) == (self.from_env is None):
            raise Misconfigured(f"{what}: give exactly one of fromFile and fromEnv")
        if self.from_env is not None:
            value = os.environ.get(self.from_env, "")
            if not value:
                raise Misconfigured(f"{what}: environment variable {self.from_env} is not set or empty")
            return SecretBytes(value.encode())
        content = read_private_file(Path(str(self.from_file)), what)
        text = content.expose().removesuffix(b"\n").removesuffix(b"\r")
        if not text:
            raise Misconfigured(f"{what}: file {self.from_file} is empty")
        return SecretBytes(text)


class KeptSecretSource(SecretSource, frozen=True):
    """The same, or a secret that the host was given over an API for this very key store and keeps sealed.

    ``from_store`` is its name (the password of a CreateCustomKeyStore request).
    """

    from_store: str | None = None

    async def reveal(self, what: str, context: PluginContext) -> SecretBytes:
        """The secret from wherever it is. Raises as :meth:`read`; ``Misconfigured`` if the host does not have it."""
        if self.from_store is None:
            return self.read(what)
        if self.from_file is not None or self.from_env is not None:
            raise Misconfigured(f"{what}: give exactly one of fromFile, fromEnv and fromStore")
        if context.secret is None:
            raise Misconfigured(f"{what}: fromStore is for key stores that a server keeps secrets for")
        return await context.secret(self.from_store)


def read_private_file(path: Path, what: str) -> SecretBytes:
    """The content of a regular file that only its owner can read.

    The check is on the open file, not on the path, so that it cannot be swapped in between. Raises
    :class:`Misconfigured` if it cannot be read and :class:`CredentialsRefused` if others could have read it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise Misconfigured(f"{what}: file {path} does not exist") from None
    except OSError as error:
        raise Misconfigured(f"{what}: file {path} cannot be read: {error.strerror}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Misconfigured(f"{what}: {path} is not a regular file")
        if status.st_mode & 0o077:
            raise CredentialsRefused(
                f"{what}: file {path} has mode {stat.S_IMODE(status.st_mode):04o}, so other users may read it; "
                f"run: chmod 600 {path}",
                reason="SecretFileExposed",
            )
        # Opened only now: os.fdopen on a directory raises and would leak the descriptor.
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(MAX_SECRET_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > MAX_SECRET_BYTES:
        raise Misconfigured(f"{what}: file {path} is larger than {MAX_SECRET_BYTES} bytes")
    return SecretBytes(content)
