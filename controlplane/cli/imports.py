"""``keystead import-material``: parameters, wrap, upload, status, delete.

Called by ``cli.main``. ``parameters``, ``upload``, ``status`` and ``delete`` talk to the server; ``wrap`` does not, and
may run on another machine that no network reaches: the directory of parameters goes there and the wrapped file comes
back, and neither holds a secret.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from controlplane.cli.output import Output
from controlplane.clock import Clock
from controlplane.errors import InvalidInput
from controlplane.report import Line, Style, import_lines, moment
from controlplane.schema.imports import (
    Import,
    ImportedNow,
    ImportParameters,
    ImportReport,
    ImportType,
    WrappingAlgorithm,
    WrappingSpec,
)
from controlplane.schema.keys import KeyState
from controlplane.schema.meta import Key, Kind

PARAMETERS_FILE: Final = "parameters.json"
PUBLIC_KEY_FILE: Final = "wrapping-key.der"
TOKEN_FILE: Final = "import-token.bin"  # noqa: S105
WRAPPED_NOTE: Final = "wrapped.json"
MAX_WRAPPED: Final = 6144


class Wrapped(msgspec.Struct, frozen=True, rename="camel"):
    """What ``wrap`` notes beside the parameters: when, and of which file. Nothing of the material."""

    wrapped_at: datetime
    sha256: str


# ---- parameters ------------------------------------------------------------------------------------------------------


def parameters(
    name: str,
    directory: Path,
    output: Output,
    *,
    url: str | None,
    spec: WrappingSpec | None,
    algorithm: WrappingAlgorithm | None,
) -> int:
    """Write what somebody needs to wrap material for the key into a new directory."""
    _new_directory(directory)
    made = asyncio.run(_parameters(name, url, spec, algorithm))
    _write(directory / PARAMETERS_FILE, msgspec.json.format(msgspec.json.encode(made), indent=2))
    _write(directory / PUBLIC_KEY_FILE, made.public_key)
    _write(directory / TOKEN_FILE, made.import_token)
    shown = directory
    output.answer(
        {"directory": str(directory), **msgspec.to_builtins(made)},
        [
            Line(
                f"Import parameters for {made.key_name} are in {shown}; they are valid until {moment(made.valid_to)}."
            ),
            Line(f"  {PUBLIC_KEY_FILE}   wrapping key, {made.wrapping_key_spec}, for {made.wrapping_algorithm}"),
            Line(f"  {TOKEN_FILE}   import token"),
            Line("No file there is a secret. Wrap the material where it is kept, then upload what comes out:"),
            Line(f"  keystead import-material wrap --parameters {shown} --in key.bin --out wrapped.bin"),
            Line(f"  keystead import-material {made.key_name} upload --parameters {shown} --in wrapped.bin"),
        ],
    )
    return 0


async def _parameters(
    name: str, url: str | None, spec: WrappingSpec | None, algorithm: WrappingAlgorithm | None
) -> ImportParameters:
    from controlplane.client import Client

    async with Client.from_environment(url) as client:
        return await client.import_parameters(name, spec, algorithm)


# ---- wrap ------------------------------------------------------------------------------------------------------------


def wrap(directory: Path, source: Path | None, target: Path, output: Output) -> int:
    """Wrap material under the parameters of a directory, on this machine. ``source`` None is standard input."""
    from controlplane.cli import wrapping

    wrapping.no_core_dump()
    given = _read_parameters(directory)
    now = Clock().now()
    if given.valid_to <= now:
        raise InvalidInput(
            f"the parameters in {directory} expired at {moment(given.valid_to)}; get new ones with: "
            f"keystead import-material {given.key_name} parameters --out DIR"
        )
    material = wrapping.prepared(given.key_spec, wrapping.read_material(source))
    wrapped = wrapping.wrap(given.public_key, given.wrapping_algorithm, material)
    del material
    _write(target, wrapped)
    with contextlib.suppress(InvalidInput):  # the directory may be on a medium that cannot be written
        note = Wrapped(wrapped_at=now.replace(microsecond=0), sha256=hashlib.sha256(wrapped).hexdigest())
        _write(directory / WRAPPED_NOTE, msgspec.json.encode(note), replace=True)
    kept = f"{source} is as it was and still holds the material in clear: keep it safe, or destroy it."
    lines = [
        Line(f"Wrapped for {given.key_name} with {given.wrapping_algorithm}: {target} ({len(wrapped)} octets)."),
        Line(f"Upload it before {moment(given.valid_to)}:"),
        Line(f"  keystead import-material {given.key_name} upload --parameters {directory} --in {target}"),
    ]
    if source is not None:
        lines.append(Line(kept, Style.WARNING))
    answer = {
        "out": str(target),
        "octets": len(wrapped),
        "key": given.key_name,
        "keyId": given.key_id,
        "wrappingAlgorithm": given.wrapping_algorithm,
        "validTo": given.valid_to,
    }
    output.answer(answer, lines)
    return 0


# ---- upload ----------------------------------------------------------------------------------------------------------


def upload(
    name: str,
    directory: Path,
    source: Path,
    output: Output,
    *,
    url: str | None,
    valid_to: str | None,
    valid_days: int | None,
    kind: ImportType | None,
    material_id: str | None,
    description: str | None,
) -> int:
    """Upload wrapped material."""
    given = _read_parameters(directory)
    wrapped = _read(source, MAX_WRAPPED)
    body = Import(
        import_token=given.import_token,
        encrypted_key_material=wrapped,
        valid_to=_expiry(valid_to, valid_days),
        import_type=kind,
        key_material_id=material_id,
        description=description,
        wrapped_at=_wrapped_at(directory, wrapped),
    )
    done = asyncio.run(_upload(name, url, body, given))
    until = f"expires at {moment(done.valid_to)}" if done.valid_to is not None else "does not expire"
    state = Line(f"The key is {done.key_state}.", Style.GOOD if done.key_state is KeyState.ENABLED else Style.WARNING)
    output.answer(
        done, [Line(f"Imported into {name}: material {done.key_material_id}. It {until}.", Style.GOOD), state]
    )
    return 0


async def _upload(name: str, url: str | None, body: Import, given: ImportParameters) -> ImportedNow:
    from controlplane.client import Client

    async with Client.from_environment(url) as client:
        key = await client.get(Kind.KEY, name)
        if not isinstance(key, Key) or key.status.arn != given.arn:
            raise InvalidInput(
                f"the parameters are for key {given.key_name} ({given.arn}), not for {name}; nothing was uploaded"
            )
        return await client.import_material(key.metadata.name, body)


def _expiry(valid_to: str | None, valid_days: int | None) -> datetime | None:
    if valid_to is not None and valid_days is not None:
        raise InvalidInput("give --valid-to or --valid-days, not both")
    if valid_days is not None:
        return Clock().now().replace(microsecond=0) + timedelta(days=valid_days)
    if valid_to is None:
        return None
    try:
        parsed = datetime.fromisoformat(valid_to)
    except ValueError:
        raise InvalidInput(f"--valid-to takes a time such as 2030-01-31T12:00:00Z; got {valid_to}") from None
    return parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)


def _wrapped_at(directory: Path, wrapped: bytes) -> datetime | None:
    """When this very file was wrapped, if ``wrap`` noted it here."""
    try:
        note = msgspec.json.decode((directory / WRAPPED_NOTE).read_bytes(), type=Wrapped)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return note.wrapped_at if note.sha256 == hashlib.sha256(wrapped).hexdigest() else None


# ---- status and delete -----------------------------------------------------------------------------------------------


def status(name: str, output: Output, *, url: str | None) -> int:
    """How far the import of a key is."""
    report = asyncio.run(_report(name, url))
    output.answer(report, import_lines(report, Clock().now()))
    return 0


async def _report(name: str, url: str | None) -> ImportReport:
    from controlplane.client import Client

    async with Client.from_environment(url) as client:
        return await client.import_report(name)


def delete(name: str, output: Output, *, url: str | None, material_id: str | None, yes: bool) -> int:
    """Delete imported material at once."""
    from controlplane.cli.output import interactive

    if not yes:
        if output.json or not interactive():
            raise InvalidInput("nobody can be asked here, so nothing was changed; pass --yes to go on without asking")
        question = f"Delete imported material of {name}, so that it is unusable until you import the same again?"
        if not output.ask(f"{question} Only 'yes' is accepted:"):
            raise InvalidInput("not confirmed; nothing was changed")
    key = asyncio.run(_delete(name, url, material_id))
    line = Line(f"Imported material of {key.metadata.name} is deleted. Import the same again to make the key usable.")
    output.answer(key, [line])
    return 0


async def _delete(name: str, url: str | None, material_id: str | None) -> Key:
    from controlplane.client import Client

    async with Client.from_environment(url) as client:
        return await client.delete_material(name, material_id)


# ---- files -----------------------------------------------------------------------------------------------------------


def _new_directory(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        occupied = any(directory.iterdir())
    except OSError as error:
        raise InvalidInput(f"{directory}: cannot be used: {error.strerror}") from None
    if occupied:
        raise InvalidInput(f"{directory} is not empty; give a directory of its own to each set of parameters")


def _read_parameters(directory: Path) -> ImportParameters:
    content = _read(directory / PARAMETERS_FILE, 65_536)
    try:
        return msgspec.json.decode(content, type=ImportParameters)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{directory / PARAMETERS_FILE}: these are no import parameters ({error})") from None


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read: {error.strerror}") from None
    if not content or len(content) > limit:
        raise InvalidInput(f"{path}: has {'no' if not content else f'more than {limit:,}'} octets")
    return content


def _write(path: Path, content: bytes, *, replace: bool = False) -> None:
    """Write a file as a whole or not at all, for its owner only. An existing one is not overwritten."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                draft.rename(path)
            else:
                os.link(draft, path)
        finally:
            draft.unlink(missing_ok=True)
    except FileExistsError:
        raise InvalidInput(f"{path} exists already and is not overwritten") from None
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be written: {error.strerror}") from None
