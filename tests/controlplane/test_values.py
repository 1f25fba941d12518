"""References in spec files: whole values from the environment and values files, and never a secret in a message."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from controlplane.errors import InvalidSpec
from controlplane.schema.documents import KeyDocument
from controlplane.specfiles import LoadedSet, load
from controlplane.values import read

SPEC = """apiVersion: keystead/v1
kind: Key
metadata: {name: payments}
spec:
  description: ${env:STAGE}
  tags: {team: "${values:team.name}", plain: "$${env:STAGE}"}
  deletion: {windowDays: "${values:window}"}
"""


def loaded(tmp_path: Path, text: str, values: dict[str, str] | None = None, **environment: str) -> LoadedSet:
    (tmp_path / "set").mkdir(exist_ok=True)
    (tmp_path / "set" / "keys.yaml").write_text(text)
    files = []
    for name, content in (values or {}).items():
        (tmp_path / name).write_text(content)
        files.append(tmp_path / name)
    return load([tmp_path / "set"], stdin=io.BytesIO(), look=read(files, environment))


def test_references_stand_for_values_of_their_own_type_and_a_later_file_wins(tmp_path: Path) -> None:
    values = {"base.yaml": "team: {name: core, cost: 7}\nwindow: 30\n", "prod.toml": "window = 7\n"}
    found = loaded(tmp_path, SPEC, values, KEYSTEAD_VAR_STAGE="production")
    assert found.problems == ()
    (document,) = found.documents
    assert isinstance(document, KeyDocument)
    assert document.spec.description == "production"
    assert document.spec.tags == {"team": "core", "plain": "${env:STAGE}"}
    assert document.spec.deletion.window_days == 7
    assert found.declared[0]["spec"]["deletion"] == {"windowDays": 7}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("${env:MISSING}", 5, "the environment variable KEYSTEAD_VAR_MISSING is not set"),
        ("${values:team}", 5, "is no single text, number or boolean"),
        ("${values:team.boss}", 5, "no value `team.boss` stands in"),
        ("in ${env:STAGE}", 5, "a reference is a whole value and no part of one"),
        ("${env:STAGE}${env:STAGE}", 5, "a reference is a whole value"),
    ],
)
def test_a_reference_that_stands_for_nothing_is_told_with_its_line(
    tmp_path: Path, text: str, line: int, words: str
) -> None:
    spec = SPEC.replace("${env:STAGE}", text, 1)
    found = loaded(tmp_path, spec, {"base.json": '{"team": {"name": "x"}, "window": 7}'}, KEYSTEAD_VAR_STAGE="s")
    (problem,) = found.problems
    assert (problem.line, problem.path) == (line, "spec.description")
    assert words in problem.message
    assert problem.hint


def test_what_a_reference_stands_for_is_in_no_message(tmp_path: Path) -> None:
    spec = SPEC.replace("${values:window}", "${env:PIN}").replace("${env:STAGE}", "x", 1)
    found = loaded(tmp_path, spec, {"base.yaml": "team: {name: x}"}, KEYSTEAD_VAR_PIN="hunter2")
    assert [problem.path for problem in found.problems] == ["spec.deletion.windowDays"]
    assert "`${env:PIN}`" in found.problems[0].message
    assert "hunter2" not in str(found.problems)


def test_a_file_cannot_name_variables_that_were_not_meant_for_it(tmp_path: Path) -> None:
    spec = SPEC.replace("${env:STAGE}", "${env:AWS_SECRET_ACCESS_KEY}", 1)
    found = loaded(tmp_path, spec, {"b.yaml": "team: {name: x}\nwindow: 7"}, AWS_SECRET_ACCESS_KEY="hunter2")
    assert "KEYSTEAD_VAR_AWS_SECRET_ACCESS_KEY is not set" in found.problems[0].message


def test_without_a_values_file_the_one_that_is_missing_is_named(tmp_path: Path) -> None:
    found = loaded(tmp_path, SPEC, KEYSTEAD_VAR_STAGE="s")
    assert {problem.hint for problem in found.problems} == {"give one with --values FILE"}


def test_policies_and_texts_with_other_variables_are_as_they_were(tmp_path: Path) -> None:
    spec = SPEC.replace("${env:STAGE}", "${aws:username}", 1)
    found = loaded(tmp_path, spec, {"b.yaml": "team: {name: x}\nwindow: 7"})
    (document,) = found.documents
    assert isinstance(document, KeyDocument)
    assert document.spec.description == "${aws:username}"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", "x: 1", "the format of this values file is not known"),
        ("a.yaml", "- 1\n", "one mapping"),
        ("a.yaml", "a: 1\na: 2\n", "twice"),
        ("a.json", "{", "is expected"),
        ("a.yaml", "", "one mapping"),
    ],
)
def test_a_values_file_that_is_none_is_told(tmp_path: Path, name: str, content: str, words: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InvalidSpec) as caught:
        read([tmp_path / name], {})
    assert words in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)
