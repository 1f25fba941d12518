"""Text of an import: its steps with their times, and the materials of the key."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from controlplane.report.lines import Line, Style, age, moment, table, time_left
from controlplane.schema.imports import ImportReport, Step, StepName, StepState
from controlplane.schema.keys import ImportState, KeyState, MaterialStatus

_WORDS: Final = {
    StepName.PARAMETERS_ISSUED: "parameters issued",
    StepName.WRAPPED: "wrapped",
    StepName.UPLOADED: "uploaded",
    StepName.IMPORTED: "imported",
    StepName.EXPIRING: "expires soon",
    StepName.EXPIRED: "expired",
}
_MARKS: Final = {StepState.DONE: "x", StepState.WAITING: ">", StepState.AHEAD: " ", StepState.LAPSED: "!"}
_STYLES: Final = {
    StepState.DONE: Style.GOOD,
    StepState.WAITING: Style.PLAIN,
    StepState.AHEAD: Style.MUTED,
    StepState.LAPSED: Style.WARNING,
}


def import_lines(report: ImportReport, now: datetime) -> Iterator[Line]:
    """What ``keystead import-material KEY status`` prints."""
    style = Style.GOOD if report.key_state is KeyState.ENABLED else Style.WARNING
    yield Line(f"{report.key_name} is {report.key_state}", style)
    yield Line("Import:", Style.HEADING)
    if not report.steps:
        yield Line(f"  not begun; begin with: keystead import-material {report.key_name} parameters --out DIR")
    for step in report.steps:
        yield Line(f"  [{_MARKS[step.state]}] {_WORDS[step.step]:<18} {_when(step, now)}".rstrip(), _style(step))
    yield from material_lines(report.materials, now)
    refused = [each for each in report.past if each.refusal is not None]
    if refused:
        yield Line("Refused uploads:", Style.HEADING)
        for each in refused[:10]:
            when = moment(each.uploaded_at) if each.uploaded_at is not None else "-"
            yield Line(f"  {when}  {each.refusal}", Style.BLOCKED)


def material_lines(materials: tuple[MaterialStatus, ...], now: datetime) -> Iterator[Line]:
    """The table of imported materials."""
    rows = [(_row(each, now), Style.PLAIN if each.present else Style.WARNING) for each in materials if each.imported]
    if rows:
        yield Line("Imported materials:", Style.HEADING)
        yield from table(("ID", "STATE", "IMPORT", "EXPIRES", "DESCRIPTION"), rows, "  ")


def _row(each: MaterialStatus, now: datetime) -> tuple[str, ...]:
    imported = each.imported
    assert imported is not None
    if imported.state is ImportState.PENDING_IMPORT:
        gone = f"{str(imported.end).lower()} {age(imported.ended_at, now)} ago" if imported.ended_at else "to come"
        return (each.material_id, each.state, gone, "-", imported.description)
    until = f"{moment(imported.valid_to)} ({time_left(imported.valid_to, now)})" if imported.valid_to else "never"
    here = f"{age(imported.imported_at, now)} ago" if imported.imported_at else "-"
    return (each.material_id, each.state, here, until, imported.description)


def _when(step: Step, now: datetime) -> str:
    if step.at is None:
        return "" if step.state is not StepState.LAPSED else "the parameters have expired; ask for new ones"
    if step.state is StepState.DONE:
        return f"{moment(step.at)} ({age(step.at, now)} ago)"
    return f"{moment(step.at)} ({time_left(step.at, now)})"


def _style(step: Step) -> Style:
    if step.state is StepState.DONE and step.step in (StepName.EXPIRING, StepName.EXPIRED):
        return Style.WARNING
    return _STYLES[step.state]
