"""Text of an examination of an XKS proxy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from controlplane.report.lines import Line, Style, table

if TYPE_CHECKING:
    from controlplane.xkscheck import Examination

_STYLES = {"passed": Style.PLAIN, "failed": Style.BAD, "skipped": Style.MUTED}


def examination_lines(result: Examination, budget: float) -> Iterator[Line]:
    """Checks, latencies, and the sum."""
    rows = [
        ((check.verdict.upper(), check.section, check.promise, check.detail), _STYLES[check.verdict])
        for check in result.checks
    ]
    yield from table(("RESULT", "SECTION", "PROMISE", "SEEN"), rows)
    if result.latencies:
        yield Line("")
        yield from table(
            ("REQUEST", "COUNT", "P50 MS", "P90 MS", "P99 MS", "LONGEST", f"OVER {budget:.0f} MS"),
            [
                (
                    (
                        each.request,
                        str(each.count),
                        f"{each.p50:.1f}",
                        f"{each.p90:.1f}",
                        f"{each.p99:.1f}",
                        f"{each.longest:.1f}",
                        str(each.late),
                    ),
                    Style.BAD if each.late else Style.PLAIN,
                )
                for each in result.latencies
            ],
        )
    counts = [sum(check.verdict == verdict for check in result.checks) for verdict in ("passed", "failed", "skipped")]
    yield Line("")
    yield Line(
        f"{result.url}: {counts[0]} passed, {counts[1]} failed, {counts[2]} skipped.",
        Style.GOOD if result.passed else Style.BAD,
    )
