"""The plan's format is documented as it is: every field, action, reason and warning stands in the README."""

from __future__ import annotations

import re

import msgspec
import pytest

from controlplane.schema.plans import FORMAT_VERSION, Action, FieldPlan, Plan, PlannedChange, PlanReason, PlanWarning
from tests.harness import ROOT


def section() -> str:
    text = (ROOT / "controlplane" / "README.md").read_text("utf-8")
    return text.split("## The format of a plan\n")[1].split("\n## ")[0]


def paragraph(begin: str) -> set[str]:
    (found,) = [each for each in section().split("\n\n") if each.startswith(begin)]
    return set(re.findall(r"`(\w+)`", found))


@pytest.mark.parametrize("struct", [Plan, PlannedChange, FieldPlan])
def test_every_field_is_documented(struct: type[msgspec.Struct]) -> None:
    said = set(re.findall(r"`(\w+)`", section()))
    assert {field.encode_name for field in msgspec.structs.fields(struct)} <= said


@pytest.mark.parametrize(
    ("begin", "values"), [("Actions:", Action), ("Reasons:", PlanReason), ("Warnings:", PlanWarning)]
)
def test_every_word_of_a_closed_list_is_documented_and_no_other(
    begin: str, values: type[Action | PlanReason | PlanWarning]
) -> None:
    assert paragraph(begin) == {each.value for each in values}


def test_the_version_has_two_numbers() -> None:
    assert re.fullmatch(r"[1-9][0-9]*\.[0-9]+", FORMAT_VERSION)
