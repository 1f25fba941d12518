"""What is typed to say which files are planned: read as ``keystead plan`` reads it, and planned so."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from controlplane.errors import InvalidInput
from tests.harness import Server
from tests.tui.driving import MIDDLE, person_at
from tui.planline import PlanLine, parse_plan_line

KEY = "apiVersion: keystead/v1\nkind: Key\nmetadata: {{name: {}}}\nspec: {{description: '${{values:what}}'}}\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("keys.yaml", PlanLine(("keys.yaml",))),
        ("a b", PlanLine(("a", "b"))),
        ("'my keys' --target Key/a", PlanLine(("my keys",), targets=("Key/a",))),
        (
            "a --values=x.yaml --values y.yaml --target Key/a --target=Key/b --spec-set s",
            PlanLine(("a",), ("x.yaml", "y.yaml"), ("Key/a", "Key/b"), "s"),
        ),
    ],
)
def test_a_line_of_files_is_read_like_the_command_line(text: str, line: PlanLine) -> None:
    assert parse_plan_line(text) == line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "type the path"),
        ("--target Key/a", "type the path"),
        ("a --target", "--target needs a word after it, such as Key/payments"),
        ("a --values --target x", "--values needs a word"),
        ("a --taget x", "there is no --taget; there are --values, --target"),
        ("'a", "a quotation mark is not closed"),
        ("a --spec-set s --spec-set t", "give --spec-set once"),
    ],
)
def test_a_line_that_means_nothing_says_what_would_be_right(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        parse_plan_line(text)


async def test_a_plan_has_targets_and_values_as_on_the_command_line(
    shared_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"t-{uuid.uuid4().hex[:8]}"
    monkeypatch.chdir(tmp_path)  # so that little has to be typed
    directory = tmp_path / "my keys"
    directory.mkdir()
    for end in "ab":
        (directory / f"{end}.yaml").write_text(KEY.format(f"{name}-{end}"))
    (tmp_path / "v.yaml").write_text("what: For the web\n")
    async with person_at(shared_server.url, size=MIDDLE) as person:
        await person.press("6")
        await person.sees("Files")
        line = f"'my keys' --spec-set {name} --target Key/{name}-b --values"
        await person.type(f"{line} none.yaml")
        await person.press("enter")
        await person.sees("there is no such file")
        await person.press("f")  # what is there is selected, and typed over
        await person.type(f"{line} v.yaml")
        await person.press("enter")
        text = await person.sees("Plan: 1 to create", "For the web", f"{name}-b")
        assert f"{name}-a" not in text.replace(f"{name}-a.yaml", "")
