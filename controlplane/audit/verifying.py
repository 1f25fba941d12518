"""Checks a whole journal. Trusts no index, no cache and no file but the journal's own lines and signed checkpoints.

Who calls it: ``keystead audit verify`` on a directory, the reconciliation API about its own, and tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from controlplane.audit import checkpoints
from controlplane.audit.chain import ARCHIVED, CHAIN, SEGMENT, SUFFIX, Past, Walk, in_use, past_of, segment_path
from controlplane.audit.checkpoints import Checkpoint
from controlplane.audit.records import BadRecord, Head, VerifyResult
from controlplane.errors import StoreDamaged


def verify(
    directory: Path,
    *,
    anchors: Mapping[str, Head] | None = None,
    archives: Sequence[Path] = (),
    public_key: bytes | None = None,
    saved: Sequence[Checkpoint] = (),
) -> VerifyResult:
    """Read every chain in ``directory`` from its first record on. Changes nothing, and may run beside writers.

    Finds every record that was edited, removed, reordered or cut out, and names the first of each chain. It cannot find
    whole records missing from a chain's *end* behind its last checkpoint, nor a chain that was recomputed together with
    its checkpoints by somebody who has the signing key: for that, keep a checkpoint elsewhere and hand it back.

    ``anchors`` are heads seen earlier, by chain name, ``saved`` checkpoints that were kept elsewhere: each must still
    be in its chain. ``public_key`` (SPKI in DER) must have signed every checkpoint; without it the first one's key is
    believed. ``archives`` are directories into which the first segments were moved. Raises ``OSError`` if a file cannot
    be read.
    """
    anchors = anchors or {}
    result = _Result()
    names = {path.name for path in directory.glob(f"{CHAIN}*") if path.name.removeprefix(CHAIN).isdecimal()}
    if not names:
        result.bad.append(BadRecord(str(directory), 0, "there is no audit journal here"))
    spoken_of = {each.said.chain for each in saved} | {name for each in saved for name in each.said.chains}
    spoken_of |= {name for chain in names for name in _chains_at_last_checkpoint(directory / chain)}
    # Chains are taken in order, so a gap is a chain that was removed; and so is one that a checkpoint speaks of.
    known = sorted(int(name.removeprefix(CHAIN)) for name in names | set(anchors) | spoken_of)
    for name in [f"{CHAIN}{number}" for number in range(max(known, default=-1) + 1)]:
        places = [directory / name, *(archive / name for archive in archives)]
        _verify_chain(places, anchors.get(name), public_key, list(saved), result)
    return VerifyResult(
        result.records,
        result.heads,
        tuple(result.bad),
        checkpoints=result.checkpoints,
        signed=result.signed,
        archived=result.archived,
    )


class _Result(msgspec.Struct):
    records: int = 0
    public_key: bytes | None = None
    """What the first checkpoint was signed with: all chains of a journal have one key."""
    heads: dict[str, Head] = msgspec.field(default_factory=dict)
    bad: list[BadRecord] = msgspec.field(default_factory=list)
    checkpoints: int = 0
    signed: dict[str, int] = msgspec.field(default_factory=dict)
    archived: dict[str, int] = msgspec.field(default_factory=dict)


def _chains_at_last_checkpoint(chain: Path) -> tuple[str, ...]:
    last = checkpoints.latest(chain)
    return last.said.chains if last is not None else ()


def _verify_chain(
    places: list[Path], anchor: Head | None, public_key: bytes | None, saved: list[Checkpoint], result: _Result
) -> None:
    """Check one chain, whose segments lie in ``places``: the journal's own directory first, then archives."""
    path = places[0]
    checked = checkpoints.check(path, public_key or result.public_key, saved, demanded=public_key is not None)
    result.public_key = result.public_key or checked.public_key
    expected = dict(checked.anchors)
    if anchor is not None:
        expected.setdefault(anchor.seq, anchor.hash)
    result.checkpoints += checked.count
    bad, after, head = _walk_chain(places, expected, result)
    result.records += after - result.archived.get(path.name, 0)
    if head is not None:
        result.heads[path.name] = head
    if checked.last is not None and (bad is None or checked.last.head.seq < after):
        result.signed[path.name] = checked.last.head.seq
    if anchor is not None and expected[anchor.seq] != anchor.hash and bad is None:
        bad = BadRecord(str(path), 0, "the journal's own checkpoint is not what was anchored: recomputed")
    wrong = checked.bad if bad is None else bad
    if wrong is not None:
        result.bad.append(wrong)


def _walk_chain(
    places: list[Path], anchors: dict[int, str], result: _Result
) -> tuple[BadRecord | None, int, Head | None]:
    """The first bad record, the number of the first record that is not good, and the last good one."""
    path = places[0]
    try:
        past, segments = _segments(places)
    except StoreDamaged as error:
        return BadRecord(str(path), 0, error.message), 0, None
    if past.segment:
        result.archived[path.name] = past.seq
    seq, prev = past.seq, past.hash.encode()
    if past.segment and anchors.get(past.seq - 1) != past.hash:
        why = "no checkpoint vouches for where this chain begins; give the archive that holds what is before"
        return BadRecord(str(path / ARCHIVED), 1, why), seq, None
    bad: BadRecord | None = None
    if not segments:
        bad = BadRecord(str(path), 0, "the chain has no segments")
    for number, segment in enumerate(segments, start=past.segment + 1):
        with segment.open("rb") as file:
            walk = Walk(segment, path.name, number, seq, prev, anchors=anchors)
            for _ in walk.good_lines(file):
                pass
        seq, prev, bad = walk.seq, walk.prev, walk.bad
        # The writer's unfinished line is no damage; nobody has been told that it is kept.
        last = number == past.segment + len(segments)
        if bad is None and (walk.torn or walk.line == 0) and not (last and in_use(path)):
            bad = BadRecord(str(segment), walk.line + 1, "the file ends in the middle of a record")
        if bad is not None:
            break
    furthest = max(anchors, default=-1)
    if bad is None and seq <= furthest:
        bad = BadRecord(str(segments[-1]), 0, f"the chain ends at record {seq - 1}; it had {furthest}")
    return bad, seq, Head(seq - 1, prev.decode()) if seq else None


def _segments(places: list[Path]) -> tuple[Past, list[Path]]:
    """What is not here because it was archived, and every segment after that."""
    found: dict[int, Path] = {}
    for place in reversed(places):
        for path in place.glob(f"{SEGMENT}*{SUFFIX}"):
            text = path.name.removeprefix(SEGMENT).removesuffix(SUFFIX)
            if text.isdecimal():
                found[int(text)] = path
    past = past_of(places[0])
    # With the archive at hand all of it is read; otherwise it begins behind what was archived.
    if found.keys() >= set(range(1, past.segment + 1)):
        past = Past(0, 0, "0" * 64)
    segments = []
    for number in range(past.segment + 1, max(found, default=0) + 1):
        if number not in found:
            raise StoreDamaged(f"the audit journal is damaged: {segment_path(places[0], number)} is missing")
        segments.append(found[number])
    return past, segments
