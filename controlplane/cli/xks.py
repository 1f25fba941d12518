"""What ``keystead xks`` does: ``config`` and ``check``. Called by ``xks_commands``."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import msgspec

from controlplane.cli.output import Output
from controlplane.errors import InvalidInput
from controlplane.report.xks import examination_lines
from controlplane.schema.xksproxies import XksConfiguration
from plugins.sdk import KeyStoreError, SecretBytes, SecretSource

SECRET_VARIABLE = "KEYSTEAD_XKS_SECRET"  # noqa: S105 - a name


def config(name: str, output: Output, *, url: str | None, access_key_id: str | None) -> int:
    """The file that the AWS console imports, on standard output. JSON with and without ``--json``."""
    told = asyncio.run(_config(name, url, access_key_id))
    output.text(msgspec.json.format(msgspec.json.encode(told), indent=2).decode())
    return 0


async def _config(name: str, url: str | None, access_key_id: str | None) -> XksConfiguration:
    from controlplane.client import Client

    async with Client.from_environment(url) as client:
        return await client.xks_configuration(name, access_key_id)


def check(
    url: str,
    output: Output,
    *,
    config_file: Path | None,
    access_key_id: str | None,
    secret_file: Path | None,
    key: str | None,
    region: str,
    authority: Path | None,
    certificate: tuple[Path, Path] | None,
    address: str | None,
    samples: int,
) -> int:
    """Exercise a proxy. Answers 1 if a promise is broken or an answer came later than KMS waits."""
    from controlplane.xkscheck import Target, examine
    from controlplane.xkscheck.latency import BUDGET_MILLISECONDS

    if config_file is not None:
        told = _read(config_file)
        credential = told.xks_proxy_authentication_credential
        access_key_id, secret = credential.access_key_id, SecretBytes(credential.raw_secret_access_key.encode())
        if not url.rstrip("/").endswith("/kms/xks/v1"):
            url = url.rstrip("/") + told.xks_proxy_uri_path
    else:
        secret = _secret(secret_file)
    if access_key_id is None:
        raise InvalidInput("whose requests are to be tried? give --config FILE, or --access-key-id and a secret")
    target = Target(
        url,
        access_key_id,
        secret,
        key=key,
        region=region,
        authority=str(authority) if authority else None,
        certificate=(str(certificate[0]), str(certificate[1])) if certificate else None,
        address=address,
    )
    result = asyncio.run(examine(target, samples=samples))
    shown = {**msgspec.to_builtins(result), "passed": result.passed}
    output.answer(shown, examination_lines(result, BUDGET_MILLISECONDS))
    return 0 if result.passed else 1


def _secret(path: Path | None) -> SecretBytes:
    """From a file that only its owner can read, or from the environment; never from the command line."""
    if path is None and SECRET_VARIABLE not in os.environ:
        raise InvalidInput(f"give the secret with --secret-file FILE (mode 0600) or in {SECRET_VARIABLE}")
    source = SecretSource(from_file=str(path)) if path else SecretSource(from_env=SECRET_VARIABLE)
    try:
        return source.read("the secret")
    except KeyStoreError as error:
        raise InvalidInput(error.message) from None


def _read(path: Path) -> XksConfiguration:
    try:
        return msgspec.json.decode(path.read_bytes(), type=XksConfiguration)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {(error.strerror or '').lower()}") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InvalidInput(f"{path} is not what `keystead xks config` prints") from None
