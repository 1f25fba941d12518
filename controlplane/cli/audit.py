"""The commands of ``keystead audit``.

Called by ``main`` with parsed arguments. ``query`` and ``export`` ask a server, or with ``directory`` read the files of
the journal where no server runs; ``verify`` and ``archive`` work on the files: a server must not vouch for itself.

Guarantees: an export is whole or not there; a file that exists is not written over.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec

from controlplane.audit.reading import JournalReader, Query
from controlplane.audit.records import AuditEntry, Decision
from controlplane.cli.output import Output
from controlplane.clock import Clock
from controlplane.errors import InvalidInput
from controlplane.report import Line, Style
from controlplane.report.audit import archive_lines, audit_lines, checkpoint_lines, verify_lines

if TYPE_CHECKING:
    from controlplane.audit.checkpoints import Checkpoints
    from controlplane.client import AuditFilter

_AGO: Final = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """The options that ``query`` and ``export`` share, as they were given."""

    key: str | None = None
    principal: str | None = None
    operations: tuple[str, ...] = ()
    decision: Decision | None = None
    since: str | None = None
    until: str | None = None
    url: str | None = None
    directory: Path | None = None


def query(wanted: Wanted, output: Output, *, limit: int) -> int:
    """The newest records, newest first."""
    entries = asyncio.run(_newest(wanted, limit))
    nothing = [] if entries else [Line("No record of the journal is like this.", Style.MUTED)]
    output.answer({"items": entries}, [*(audit_lines(entries) if entries else ()), *nothing])
    return 0


async def _newest(wanted: Wanted, limit: int) -> list[AuditEntry]:
    entries = []
    async for entry in _entries(wanted, oldest_first=False):
        entries.append(entry)
        if len(entries) >= limit:
            break
    return entries


def export(wanted: Wanted, output: Output, *, out: Path | None, shape: str) -> int:
    """Every record, oldest first, as JSON lines; to standard output, or to a new file."""
    if out is None:
        count = asyncio.run(_write(wanted, sys.stdout.buffer, shape))
        sys.stdout.buffer.flush()
        output.note(Line(f"{count:,} records exported.", Style.MUTED))
        return 0
    if out.exists():
        raise InvalidInput(f"{out} exists already and is not written over; choose another file")
    draft = out.with_name(f".{out.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            count = asyncio.run(_write(wanted, file, shape))
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, out)  # unlike a rename it fails if somebody made the file meanwhile
    except OSError as error:
        raise InvalidInput(f"{out} cannot be written: {error.strerror}; nothing is left of it") from None
    finally:
        with suppress(FileNotFoundError):
            draft.unlink()
    output.answer({"file": str(out), "records": count}, [Line(f"{count:,} records are in {out}.", Style.GOOD)])
    return 0


async def _write(wanted: Wanted, file: BinaryIO, shape: str) -> int:
    from controlplane.audit.cloudtrail import event

    count = 0
    async for entry in _entries(wanted, oldest_first=True):
        shown: object = event(entry) if shape == "cloudtrail" else entry
        file.write(msgspec.json.encode(shown) + b"\n")
        count += 1
    return count


def verify(
    directory: Path,
    output: Output,
    *,
    public_key: Path | None = None,
    saved: Sequence[Path] = (),
    archives: Sequence[Path] = (),
) -> int:
    """Check the files of a journal from their first record on."""
    from controlplane.audit.checkpoints import load_public_key
    from controlplane.audit.verifying import verify as check

    try:
        kept = [_kept(path) for path in saved]
        key = load_public_key(public_key.read_bytes()) if public_key is not None else None
        if key is None and kept:
            key = load_public_key(kept[0].public_key.encode())
        result = check(
            directory, archives=archives, public_key=key, saved=[each for one in kept for each in one.checkpoints]
        )
    except OSError as error:
        raise InvalidInput(f"{error.filename} cannot be read: {error.strerror}") from None
    shown = msgspec.structs.asdict(result)
    output.answer({"ok": result.ok, **shown}, verify_lines(result))
    return 0 if result.ok else 1


def checkpoint(url: str | None, output: Output, *, out: Path | None) -> int:
    """Have the journal's head signed, and keep the checkpoints in a new file."""
    from controlplane.client import Client

    async def ask() -> Checkpoints:
        async with Client.from_environment(url) as client:
            return await client.audit_checkpoints()

    found = asyncio.run(ask())
    if out is not None:
        _new_file(out, msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    output.answer(found, checkpoint_lines(found, out))
    return 0


def archive(directory: Path, target: Path, output: Output, *, keep: int) -> int:
    """Move full segments of a journal elsewhere."""
    from controlplane.audit.archiving import archive as move

    if not directory.is_dir():
        raise InvalidInput(f"{directory} is not a directory; the journal is the directory `audit` of a server's data")
    try:
        moved = move(directory, target, keep=keep)
    except OSError as error:
        raise InvalidInput(
            f"{error.filename or target}: {error.strerror}; what was moved is whole, and nothing else was"
        ) from None
    output.answer(moved, archive_lines(moved, target))
    return 0


def _kept(path: Path) -> Checkpoints:
    from controlplane.audit.checkpoints import Checkpoint, Checkpoints

    try:
        found = msgspec.json.decode(path.read_bytes(), type=Checkpoints)
        compact = [msgspec.json.format(bytes(each.statement), indent=-1) for each in found.checkpoints]
        for each in found.checkpoints:
            _ = each.said
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InvalidInput(f"{path} is not what `keystead audit checkpoint --out` writes") from None
    # Signed as it was written: without the spaces that a reader, or we, put in.
    signed = zip(compact, found.checkpoints, strict=True)
    return Checkpoints(found.public_key, tuple(Checkpoint(msgspec.Raw(text), each.signature) for text, each in signed))


def _new_file(path: Path, content: bytes) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise InvalidInput(f"{path} exists already and is not written over; choose another file") from None
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}") from None


# ---- where records come from -----------------------------------------------------------------------------------------


async def _entries(wanted: Wanted, *, oldest_first: bool) -> AsyncIterator[AuditEntry]:
    if wanted.directory is not None:
        for entry in _read(wanted, wanted.directory, oldest_first):
            yield entry
        return
    from controlplane.client import Client

    async with Client.from_environment(wanted.url) as client:
        async for entry in client.audit(_filter(wanted), oldest_first=oldest_first):
            yield entry


def _read(wanted: Wanted, directory: Path, oldest_first: bool) -> Iterator[AuditEntry]:
    """From the files. Nobody resolves names here: a key is its ARN, a principal too."""
    if not directory.is_dir():
        raise InvalidInput(f"{directory} is not a directory; the journal is the directory `audit` of a server's data")
    asked = Query(
        resources=(wanted.key,) if wanted.key else (),
        principals=(wanted.principal,) if wanted.principal else (),
        operations=wanted.operations,
        decision=wanted.decision,
        since=_moment(wanted.since, "--since"),
        until=_moment(wanted.until, "--until"),
    )
    reader, marker = JournalReader(directory), None
    while True:
        page = reader.query(asked, limit=1000, marker=marker, newest_first=not oldest_first)
        yield from page.items
        marker = page.next
        if marker is None:
            return


def _filter(wanted: Wanted) -> AuditFilter:
    from controlplane.client import AuditFilter

    return AuditFilter(
        key=wanted.key,
        principal=wanted.principal,
        operations=wanted.operations,
        decision=wanted.decision,
        since=_moment(wanted.since, "--since"),
        until=_moment(wanted.until, "--until"),
    )


def _moment(text: str | None, option: str) -> datetime | None:
    """``2026-01-31``, ``2026-01-31T12:00:00Z`` or ``90m`` (ago). A time without an offset is UTC."""
    if text is None:
        return None
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return Clock().now() - timedelta(seconds=int(ago[1]) * _UNITS[ago[2]])
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(
            f"{option} takes a time such as 2026-01-31T12:00:00Z, a date, or a span such as 90m or 7d; got {text!r}"
        ) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
