"""Moves full segments of a journal into an archive, so that the disk of a server does not fill up.

Who calls it: ``keystead audit archive``, on the files, also while a server writes them. Guarantees: only segments whose
end a signed checkpoint vouches for are moved, so a check of what stays is as strong as before; a segment is in the
archive, durably, before the journal says that it begins later, and is removed only then; a crash in between leaves a
copy too many, which the next run removes; nothing in the archive is written over.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec

from controlplane.audit import checkpoints
from controlplane.audit.chain import (
    CHAIN,
    SEGMENT,
    SUFFIX,
    Past,
    last_of,
    past_of,
    segments_of,
    sync_directory,
    write_past,
)
from controlplane.errors import AlreadyExists, StoreDamaged


class Archived(msgspec.Struct, frozen=True, rename="camel"):
    """What was moved: segments and octets; ``waiting`` are full segments that no checkpoint vouches for yet."""

    segments: int
    octets: int
    waiting: int


def archive(directory: Path, target: Path, *, keep: int = 1) -> Archived:
    """Move all full segments of every chain but the newest ``keep`` of them to the same place under ``target``.

    Blocks. Raises :class:`StoreDamaged` for a journal that is not whole where it is looked at, :class:`AlreadyExists`
    if the archive has another file of a segment's name, and ``OSError``.
    """
    moved = octets = waiting = 0
    for chain in sorted(path for path in directory.glob(f"{CHAIN}*") if path.name.removeprefix(CHAIN).isdecimal()):
        vouched = _vouched(chain)
        past = past_of(chain)
        _remove_leftovers(chain, target / chain.name, past)
        segments = segments_of(chain, past.segment + 1)
        full = segments[: max(0, len(segments) - 1 - keep)]
        ends = {number: last_of(path) for number, path in enumerate(full, start=past.segment + 1)}
        last = max(
            (number for number, (seq, digest) in ends.items() if vouched.get(seq - 1) == digest.decode()), default=0
        )
        waiting += sum(1 for number in ends if number > last)
        for number, path in enumerate(full, start=past.segment + 1):
            if number > last:
                break
            octets += _copy(path, target / chain.name / path.name)
            moved += 1
        if last:
            seq, digest = ends[last]
            write_past(chain, Past(last, seq, digest.decode()))
            _remove_leftovers(chain, target / chain.name, past_of(chain))
    return Archived(moved, octets, waiting)


def _vouched(chain: Path) -> dict[int, str]:
    """Records that good checkpoints of the chain's own key name."""
    checked = checkpoints.check(chain, None)
    if checked.bad is not None:
        raise StoreDamaged(f"the audit journal is damaged: {checked.bad}")
    return checked.anchors


def _copy(source: Path, target: Path) -> int:
    """Have the same file there, durably; its size."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    size = source.stat().st_size
    if target.exists():
        if not _same(source, target):
            raise AlreadyExists(f"{target} exists and is another file than {source}; choose another archive")
        return size
    draft = target.with_suffix(f".{os.getpid()}.new")
    try:
        with (
            source.open("rb") as held,
            os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file,
        ):
            shutil.copyfileobj(held, file, 1024 * 1024)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    sync_directory(target.parent)
    sync_directory(target.parent.parent)
    return size


def _same(one: Path, other: Path) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as a, other.open("rb") as b:
        while block := a.read(1024 * 1024):
            if block != b.read(1024 * 1024):
                return False
    return True


def _remove_leftovers(chain: Path, archived: Path, past: Past) -> None:
    """Segments that the journal no longer counts, if the archive has them."""
    for path in chain.glob(f"{SEGMENT}*{SUFFIX}"):
        number = path.name.removeprefix(SEGMENT).removesuffix(SUFFIX)
        if not number.isdecimal() or int(number) > past.segment:
            continue
        held = archived / path.name
        if held.exists() and _same(path, held):
            path.unlink()
            path.with_suffix(".summary").unlink(missing_ok=True)
