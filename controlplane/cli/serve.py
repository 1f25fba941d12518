"""The commands that run a server in this process: ``dev``, ``init``, ``serve``.

The one place of the command line that imports the server, inside functions, so that every other command starts fast.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
from pathlib import Path
from typing import Any

import msgspec

from controlplane.cli import output
from controlplane.errors import InvalidInput, StartupRefused
from controlplane.schema.base import ACCOUNT_PATTERN, REGION_PATTERN
from controlplane.settings import (
    DEFAULT_PORT,
    DEV_ACCOUNT,
    DEV_REGION,
    DEV_SECRET,
    Settings,
    dev_settings,
    load_settings,
)

SETTINGS_FILE = "keystead.toml"
CREDENTIALS_FILE = "credentials"


def dev(port: int = DEFAULT_PORT, data_dir: Path | None = None, *, as_json: bool = False) -> None:
    """A control plane for a laptop or a CI job: loopback, known credentials, data kept in ``data_dir``.

    It says when it is ready: lines to copy, or ``as_json`` one line with one JSON document.
    """
    from controlplane import server

    settings = dev_settings(port, data_dir or Path("keystead-data"))
    if not (settings.directory / server.DATABASE_FILE).exists():
        asyncio.run(server.provision(settings))
    assert settings.dev is not None
    access_key_id, token = settings.dev.access_key_id, settings.dev.token

    def ready(bound: int) -> None:
        url = f"http://127.0.0.1:{bound}"
        if as_json:
            told = {
                "url": url,
                "account": DEV_ACCOUNT,
                "region": DEV_REGION,
                "dataDir": settings.data_dir,
                "token": token,
                "accessKeyId": access_key_id,
            }
            output.write_json_line(told)
            return
        output.write(
            [
                f"Keystead is ready at {url} (account {DEV_ACCOUNT}, data in {settings.data_dir}).",
                "Anyone on this machine who knows these credentials can use it; for anything real: keystead init",
                "",
                f"export KEYSTEAD_URL={url}",
                f"export KEYSTEAD_TOKEN={token}",
                f"export AWS_ENDPOINT_URL_KMS={url}",
                f"export AWS_ENDPOINT_URL_STS={url}",
                f"export AWS_REGION={DEV_REGION}",
                f"export AWS_ACCESS_KEY_ID={access_key_id}",
                f"export AWS_SECRET_ACCESS_KEY={_shown(settings)}",
            ]
        )

    server.run(settings, ready=ready)


class RootKeyChoice(msgspec.Struct, frozen=True):
    """What ``init`` was told about the root key."""

    provider: str = "file"
    passphrase_file: Path | None = None
    module: str | None = None
    token: str | None = None
    pin_file: Path | None = None

    def settings(self) -> str:
        """The lines of ``[standard.rootKey]``. Raises :class:`InvalidInput` for what is missing."""
        match self.provider:
            case "file":
                return 'provider = "file"\npath = "root.key"'
            case "passphrase":
                if self.passphrase_file is None:
                    raise InvalidInput("--root-key passphrase needs --passphrase-file FILE (mode 0600)")
                return f'provider = "passphrase"\npassphrase = {_from_file(self.passphrase_file)}'
            case "pkcs11":
                if self.module is None or self.token is None or self.pin_file is None:
                    raise InvalidInput("--root-key pkcs11 needs --module, --token and --pin-file FILE (mode 0600)")
                named = f'module = "{_toml(self.module)}"\ntoken = "{_toml(self.token)}"'
                return f'provider = "pkcs11"\n{named}\npin = {_from_file(self.pin_file)}'
        raise InvalidInput(f"there is no root key provider {self.provider}; there are file, passphrase and pkcs11")


def init(
    directory: Path,
    *,
    account: str | None = None,
    regions: tuple[str, ...] = (),
    root_key: RootKeyChoice | None = None,
    listen: str | None = None,
) -> dict[str, Any]:
    """Make a new server in ``directory``: settings, root key, database, administrator; credentials are shown once."""
    from controlplane import server

    path = directory / SETTINGS_FILE
    if path.exists():
        raise StartupRefused(f"{path} exists already; nothing was changed")
    host, port = _address(listen or f"127.0.0.1:{DEFAULT_PORT}")
    account = account or DEV_ACCOUNT
    regions = regions or (DEV_REGION,)
    if not re.match(ACCOUNT_PATTERN, account):
        raise InvalidInput(f"--account takes twelve digits, such as {DEV_ACCOUNT}; got {account}")
    for region in regions:
        if not re.match(REGION_PATTERN, region):
            raise InvalidInput(f"--region takes the name of an AWS Region, such as {DEV_REGION}; got {region}")
    text = _settings_text(account, regions, host, port, root_key or RootKeyChoice())
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(".toml.new")
    _write_private(draft, text)
    try:
        settings = load_settings(draft)
        issued = asyncio.run(server.provision(settings))
    except Exception:
        draft.unlink(missing_ok=True)
        raise
    draft.rename(path)
    scheme = "https" if settings.tls else "http"
    return {
        "settings": str(path),
        "url": f"{scheme}://{host}:{port}",
        "account": account,
        "regions": list(regions),
        "accessKeyId": issued.access_key_id,
        "secretAccessKey": issued.secret_access_key,
        "token": issued.token,
    }


def serve(config: Path, *, workers: int | None = None, as_json: bool = False) -> None:
    """Run the server that ``init`` made. It says when it is ready, ``as_json`` as one line with one JSON document."""
    settings = load_settings(config)
    if workers is not None:
        settings = msgspec.structs.replace(settings, workers=workers)
    if settings.tls is None and not _loopback(settings.host):
        raise StartupRefused(
            f"{config}: the server would listen on {settings.host} without TLS, and credentials and plaintexts would "
            "cross the network in clear; set [tls] certificate and key, or listen on 127.0.0.1"
        )

    def ready(bound: int) -> None:
        if as_json:
            scheme = "https" if settings.tls else "http"
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            output.write_json_line({"url": f"{scheme}://{host}:{bound}", "account": settings.account})
        else:
            output.write([f"Keystead is ready on {settings.host}:{bound}."])

    if settings.workers > 1:
        from controlplane import processes

        processes.run(settings, ready=ready)
    else:
        from controlplane import server

        server.run(settings, ready=ready)


def migrate_root_key(config: Path) -> list[str]:
    """Move the standard store of a stopped server to another root key. One sentence for each thing done."""
    from controlplane import server

    return asyncio.run(server.migrate_root_key(load_settings(config)))


def _shown(settings: Settings) -> str:
    """The dev secret is shown only if it is the well-known one; one that was set in the environment is known there."""
    assert settings.dev is not None
    return DEV_SECRET if settings.dev.secret_access_key == DEV_SECRET else "$KEYSTEAD_DEV_SECRET_ACCESS_KEY"


def _settings_text(account: str, regions: tuple[str, ...], host: str, port: int, root_key: RootKeyChoice) -> str:
    quoted = ", ".join(f'"{region}"' for region in regions)
    provider = root_key.settings()
    return (
        "# Settings of this Keystead. Paths are relative to this file.\n"
        f'dataDir = "data"\naccount = "{_toml(account)}"\nregions = [{quoted}]\n'
        f'host = "{host}"\nport = {port}\nlogLevel = "info"\n'
        "# workers = 2  # processes that share the port, one core each\n"
        '# copies = ["/mnt/a/keystead", "/mnt/b/keystead"]  # on other disks: key tokens, besides the database\n\n'
        '# [tls]\n# certificate = "tls.crt"\n# key = "tls.key"\n\n'
        "# The root key opens everything else. Back it up apart from the data: without it no backup opens.\n"
        f"[standard.rootKey]\n{provider}\n"
    )


def _from_file(path: Path) -> str:
    return f'{{ fromFile = "{_toml(str(path.resolve()))}" }}'


def _toml(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdigit() or int(port) > 65_535:
        raise InvalidInput(f"--listen takes HOST:PORT, such as 127.0.0.1:{DEFAULT_PORT}; got {listen}")
    return host, int(port)


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
