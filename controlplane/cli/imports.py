"""``keystead import-material``: parameters, wrap, upload, status, delete.

Called by ``cli.main``. ``parameters``, ``upload``, ``status`` and ``delete`` talk to the server; ``wrap`` does not, and
may run on another machine that no network reaches: the directory of parameters goes there and the wrapped file comes
back, and neither holds a secret.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from controlplane import importfiles
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
    importfiles.new_directory(directory)
    made = asyncio.run(_parameters(name, url, spec, algorithm))
    importfiles.save_parameters(directory, made)
    shown, kind = directory, f"{made.wrapping_key_spec}, for {made.wrapping_algorithm}"
    output.answer(
        {"directory": str(directory), **msgspec.to_builtins(made)},
        [
            Line(
                f"Import parameters for {made.key_name} are in {shown}; they are valid until {moment(made.valid_to)}."
            ),
            Line(f"  {importfiles.PUBLIC_KEY_FILE}   wrapping key, {kind}"),
            Line(f"  {importfiles.TOKEN_FILE}   import token"),
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
    given = importfiles.read_parameters(directory)
    now = Clock().now()
    if given.valid_to <= now:
        raise InvalidInput(
            f"the parameters in {directory} expired at {moment(given.valid_to)}; get new ones with: "
            f"keystead import-material {given.key_name} parameters --out DIR"
        )
    material = wrapping.prepared(given.key_spec, wrapping.read_material(source))
    wrapped = wrapping.wrap(given.public_key, given.wrapping_algorithm, material)
    del material
    importfiles.write(target, wrapped)
    with contextlib.suppress(InvalidInput):  # the directory may be on a medium that cannot be written
        importfiles.note_wrapped(directory, wrapped, now)
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
    given = importfiles.read_parameters(directory)
    wrapped = importfiles.read(source, importfiles.MAX_WRAPPED)
    body = Import(
        import_token=given.import_token,
        encrypted_key_material=wrapped,
        valid_to=_expiry(valid_to, valid_days),
        import_type=kind,
        key_material_id=material_id,
        description=description,
        wrapped_at=importfiles.wrapped_at(directory, wrapped),
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
