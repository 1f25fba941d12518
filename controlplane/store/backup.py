"""A backup while the server runs: one consistent picture of the database, and the audit journal up to that moment.

Who calls it: the reconciliation API. Guarantees: writers are not held up; the copy of the database passed SQLite's
check; the journal is taken after the database, so that no change is without its record, and ends with a whole line. A
backup holds key tokens and records under the root key and no root key.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import uuid
from datetime import datetime
from pathlib import Path
from typing import Final

from controlplane import backups
from controlplane.backups import AUDIT_DIRECTORY, DATABASE_FILE, Manifest
from controlplane.errors import StoreDamaged
from controlplane.store.database import Database

_CHUNK: Final = 1024 * 1024
_PREFIX: Final = ".backup-"


def make(database: Database, audit: Path, *, server_id: str, account: str, version: str, now: datetime) -> Path:
    """Make a backup beside the database and answer where it is; who asked removes it. Blocking.

    Raises :class:`StoreDamaged` if the copy does not pass its check, ``OSError`` if there is no room.
    """
    draft = database.path.parent / f"{_PREFIX}{os.getpid()}-{uuid.uuid4().hex}"
    draft.mkdir(mode=0o700)
    target = draft.with_suffix(".tar")
    try:
        _copy_database(database.path, draft / DATABASE_FILE)
        names = [DATABASE_FILE, *_copy_journal(audit, draft)]
        manifest = Manifest(
            format=backups.FORMAT,
            server_id=server_id,
            account=account,
            created_at=now,
            version=version,
            files=backups.described(draft, names),
        )
        backups.pack(target, manifest, draft)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def remove_leftovers(directory: Path) -> None:
    """What a server that was killed while it made a backup has left."""
    for path in directory.glob(f"{_PREFIX}*"):
        maker = path.name.removeprefix(_PREFIX).partition("-")[0]
        if maker.isdigit() and Path(f"/proc/{maker}").exists():
            continue  # another worker is at it
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _copy_database(source: Path, target: Path) -> None:
    reader = sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)
    writer = sqlite3.connect(target)
    try:
        target.chmod(0o600)
        reader.backup(writer)
        writer.execute("PRAGMA journal_mode = DELETE")
        check = writer.execute("PRAGMA quick_check(1)").fetchone()[0]
        if check != "ok":
            raise StoreDamaged(f"the backup of database {source} is damaged ({check.splitlines()[-1]})")
    finally:
        writer.close()
        reader.close()


def _copy_journal(audit: Path, draft: Path) -> list[str]:
    names = []
    for path in sorted(audit.glob("chain-*/segment-*.jsonl")):
        name = f"{AUDIT_DIRECTORY}/{path.relative_to(audit)}"
        target = draft / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        target.chmod(0o600)
        _cut_to_last_line(target)
        names.append(name)
    return names


def _cut_to_last_line(path: Path) -> None:
    """A line that is just being written belongs to a request that is not answered yet."""
    with path.open("r+b") as file:
        end = file.seek(0, 2)
        position = end
        while position > 0:
            start = max(0, position - _CHUNK)
            file.seek(start)
            found = file.read(position - start).rfind(b"\n")
            if found >= 0:
                file.truncate(start + found + 1)
                return
            position = start
        file.truncate(0)
