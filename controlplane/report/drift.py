"""Drift as lines: each object with what is stated and what is."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.report.lines import Line, Style, number
from controlplane.report.plans import NOUNS
from controlplane.report.values import shown_path, shown_value
from controlplane.schema.drift import DriftReason, DriftReport, FieldDrift, ObjectDrift


def drift_lines(report: DriftReport) -> Iterator[Line]:
    """Everything that has drifted, and how much."""
    for each in report.items:
        yield from _object_lines(each)
        yield Line("")
    for store in report.unreachable:
        yield Line(f"Key store {store} could not be looked into.", Style.WARNING)
    if report.truncated:
        yield Line("There is more; name a spec set to see it.", Style.WARNING)
    if not report.items:
        yield Line("No drift. Everything is as it is declared.", Style.GOOD)
        return
    corrected = sum(each.corrected for each in report.items)
    waiting = len(report.items) - corrected
    parts = [f"{corrected:,} put right by the server"] if corrected else []
    parts += [f"{number(waiting, 'object')} waiting for a person"] if waiting else []
    yield Line(f"Drift: {', '.join(parts)}.", Style.WARNING)


def _object_lines(each: ObjectDrift) -> Iterator[Line]:
    owner = f" of spec set {each.spec_set}" if each.spec_set else ""
    yield Line(f"# {NOUNS[each.kind]} {each.name}{owner}: {each.reason}", Style.HEADING)
    if each.reason is not DriftReason.FIELDS_DIFFER:
        yield Line(f"! {each.message}", Style.BLOCKED)
        return
    for field in each.fields:
        yield from _field_lines(field)
    if not each.corrected:
        yield Line(f"    # (management: {each.management}; left as it is)", Style.MUTED)


def _field_lines(field: FieldDrift) -> Iterator[Line]:
    by = f"  # changed through {field.changed_by}" if field.changed_by else ""
    live = "(absent)" if field.live is None else shown_value(field.live)
    stated = "(absent)" if field.stated is None else shown_value(field.stated)
    yield Line(f"~ {shown_path(field.path)} = {live}, stated is {stated}{by}", Style.UPDATE)
