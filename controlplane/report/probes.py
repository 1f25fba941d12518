"""The report of a probe of a key store as lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from controlplane.report.lines import Line, Style
from controlplane.schema.probes import ProbeCheck, ProbeOutcome, ProbeReport, ProbeStep

_SAYS: Final = {
    ProbeCheck.HEALTH: "it is healthy",
    ProbeCheck.RANDOM: "it makes random octets",
    ProbeCheck.ABSENT: "nothing is found under a name that nobody used",
    ProbeCheck.CREATE: "material is made once, and found as it was made",
    ProbeCheck.USE: "what it makes of a message it takes back",
    ProbeCheck.REFUSE: "what was changed is refused",
    ProbeCheck.DESTROY: "material is destroyed and gone",
}
_LOOKS: Final = {
    ProbeOutcome.PASSED: ("✓", Style.GOOD),
    ProbeOutcome.FAILED: ("✗", Style.BAD),
    ProbeOutcome.LEFT_OUT: ("-", Style.MUTED),
}


def probe_lines(report: ProbeReport) -> Iterator[Line]:
    """Each check with what came of it, and the sum."""
    spec = None
    for step in report.steps:
        if step.key_spec is not spec:
            spec = step.key_spec
            yield Line(f"{spec}, a key of the probe:", Style.HEADING)
        yield _step_line(step)
    failed = sum(step.outcome is ProbeOutcome.FAILED for step in report.steps)
    left_out = sum(step.outcome is ProbeOutcome.LEFT_OUT for step in report.steps)
    passed = len(report.steps) - failed - left_out
    more = f", {left_out} left out" if left_out else ""
    if failed:
        yield Line(f"Key store {report.key_store}: {failed} failed, {passed} passed{more}.", Style.BAD)
    else:
        yield Line(f"Key store {report.key_store} keeps what was tried: {passed} passed{more}.", Style.GOOD)


def _step_line(step: ProbeStep) -> Line:
    sign, style = _LOOKS[step.outcome]
    time = f" ({step.milliseconds} ms)" if step.outcome is ProbeOutcome.PASSED else ""
    said = f": {step.message}" if step.message else ""
    return Line(f"  {sign} {_SAYS[step.check]}{time}{said}", style)
