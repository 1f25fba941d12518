"""Checks a whole journal. Trusts no index, no cache and no file but the journal's own lines.

Who calls it: ``keystead audit verify`` on a directory, and tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from controlplane.audit.chain import CHAIN, GENESIS, Walk, in_use, segments_of
from controlplane.audit.records import BadRecord, Head, VerifyResult
from controlplane.errors import StoreDamaged


def verify(directory: Path, *, anchors: Mapping[str, Head] | None = None) -> VerifyResult:
    """Read every chain in ``directory`` from its first record on. Changes nothing, and may run beside writers.

    Finds every record that was edited, removed, reordered or cut out, and names the first of each chain. It cannot find
    whole records missing from a chain's *end*, nor a chain that was recomputed from some record on by somebody who can
    write the files: for that, keep a :class:`Head` elsewhere and hand it back as an anchor.

    ``anchors`` are heads seen earlier, by chain name: each must still be in its chain, which also finds records that
    were removed from a chain's end, and a chain that was recomputed. Raises ``OSError`` if a file cannot be read.
    """
    anchors = anchors or {}
    records, heads, bad = 0, {}, []
    names = {path.name for path in directory.glob(f"{CHAIN}*") if path.name.removeprefix(CHAIN).isdecimal()}
    if not names:
        bad.append(BadRecord(str(directory), 0, "there is no audit journal here"))
    # Chains are taken in order, so a gap is a chain that was removed.
    known = sorted(int(name.removeprefix(CHAIN)) for name in names | set(anchors))
    for name in [f"{CHAIN}{number}" for number in range(max(known, default=-1) + 1)]:
        seq, head, problem = _verify_chain(directory / name, anchors.get(name))
        records += seq
        if head is not None:
            heads[name] = head
        if problem is not None:
            bad.append(problem)
    return VerifyResult(records, heads, tuple(bad))


def _verify_chain(path: Path, anchor: Head | None) -> tuple[int, Head | None, BadRecord | None]:
    """Number of good records, the last one, and the first bad one."""
    seq, prev = 0, GENESIS
    bad: BadRecord | None = None
    try:
        segments = segments_of(path)
    except StoreDamaged as error:
        return 0, None, BadRecord(str(path), 0, error.message)
    if not segments:
        bad = BadRecord(str(path), 0, "the chain has no segments")
    for number, segment in enumerate(segments, start=1):
        with segment.open("rb") as file:
            walk = Walk(segment, path.name, number, seq, prev, anchor=anchor)
            for _ in walk.good_lines(file):
                pass
        seq, prev, bad = walk.seq, walk.prev, walk.bad
        # The writer's unfinished line is no damage; nobody has been told that it is kept.
        if bad is None and (walk.torn or walk.line == 0) and not (number == len(segments) and in_use(path)):
            bad = BadRecord(str(segment), walk.line + 1, "the file ends in the middle of a record")
        if bad is not None:
            break
    if bad is None and anchor is not None and seq <= anchor.seq:
        bad = BadRecord(str(segments[-1]), 0, f"the chain ends at record {seq - 1}; it had {anchor.seq}")
    return seq, Head(seq - 1, prev.decode()) if seq else None, bad
