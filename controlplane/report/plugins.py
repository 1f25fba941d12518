"""Text of an examination of a key store plugin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from controlplane.report.lines import Line, Style

if TYPE_CHECKING:
    from controlplane.plugincheck import Checked


def checked_lines(checked: Checked) -> Iterator[Line]:
    """What failed and how, what was not asked for, and the sum."""
    for failure in checked.failures:
        parameter = f" ({failure.parameter})" if failure.parameter else ""
        yield Line(f"FAILED  {failure.promise}{parameter}", Style.BAD)
        for line in failure.seen.splitlines():
            yield Line(f"        {line}")
    if checked.failures:
        yield Line("")
    yield Line(f"Key specs: {', '.join(checked.key_specs)}")
    if checked.not_declared:
        told = ", ".join(f"{what} ({count})" for what, count in checked.not_declared.items())
        yield Line(f"Not declared, so not tested: {told}", Style.MUTED)
    if checked.conforms:
        yield Line(f"Plugin {checked.plugin} conforms: {checked.passed} tests passed.", Style.GOOD)
    else:
        failed = len(checked.failures)
        yield Line(
            f"Plugin {checked.plugin} does not conform: {failed} tests failed, {checked.passed} passed.", Style.BAD
        )
