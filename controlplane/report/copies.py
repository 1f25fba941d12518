"""Text of a look at all copies."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.report.lines import Line, Style, number, table
from controlplane.schema.copies import CopiesReport


def copies_lines(report: CopiesReport) -> Iterator[Line]:
    """What ``keystead copies verify`` and ``repair`` print."""
    total = report.tokens + report.states
    good = total - report.database_damaged
    rows = [(("database", str(max(good, 0)), "-", str(report.database_damaged), "-"), _style(report.database_damaged))]
    for each in report.copies:
        bad = each.missing + each.damaged + (not each.reachable)
        name = each.place if each.reachable else f"{each.place} (cannot be reached)"
        cells = (name, str(each.good), str(each.missing), str(each.damaged), str(each.unknown))
        rows.append((cells, _style(bad)))
    yield from table(("PLACE", "GOOD", "MISSING", "DAMAGED", "UNKNOWN"), rows)
    if not report.copies:
        yield Line("There are no copies: the settings name no directories (copies = [...]).", Style.WARNING)
    if report.repaired:
        yield Line(f"{number(report.repaired, 'copy')} made good.".replace("copys", "copies"), Style.GOOD)
    for name in report.lost:
        yield Line(f"lost: no good copy is left of {name}; restore a backup", Style.BAD)
    if report.sound:
        yield Line(f"All is well: {number(total, 'record')} in {number(1 + len(report.copies), 'place')}.", Style.GOOD)
    elif not report.repaired:
        yield Line("Make it good with: keystead copies repair", Style.WARNING)


def _style(bad: int) -> Style:
    return Style.WARNING if bad else Style.PLAIN
