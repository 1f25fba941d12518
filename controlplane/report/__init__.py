"""Text of plans, objects and progress, as marked lines: what the command line prints and the terminal UI shows.

Who calls it: ``cli`` and ``tui``. Pure: structs and, where an age is shown, the present time come in, lines go out;
``cli.output`` and the UI's theme turn a :class:`Style` into colour.

Guarantees: the text of a plan comes from the :class:`Plan` and nothing else. A :class:`Line` holds no control character
and no invisible one, whatever a server or another user put into a description, so text cannot move the cursor, hide or
reorder what a person is asked to approve. Sensitive values are not shown. Text that is too long is shortened where the
line says so; it never hides a difference. What is blocked stands last in a plan, because a terminal shows the end.
"""

from controlplane.report.copies import copies_lines
from controlplane.report.imports import import_lines
from controlplane.report.lines import Line, Style, age, moment, printable, time_left
from controlplane.report.objects import (
    describe_lines,
    shown_condition,
    shown_state,
    table_lines,
    yaml_lines,
)
from controlplane.report.plans import (
    LARGE_PLAN,
    SHOWN_PER_ACTION,
    applied_line,
    counts_line,
    plan_footer,
    plan_lines,
    problem_line,
    progress_line,
    synced_line,
)
from controlplane.report.probes import probe_lines

__all__ = [
    "LARGE_PLAN",
    "SHOWN_PER_ACTION",
    "Line",
    "Style",
    "age",
    "applied_line",
    "copies_lines",
    "counts_line",
    "describe_lines",
    "import_lines",
    "moment",
    "plan_footer",
    "plan_lines",
    "printable",
    "probe_lines",
    "problem_line",
    "progress_line",
    "shown_condition",
    "shown_state",
    "synced_line",
    "table_lines",
    "time_left",
    "yaml_lines",
]
