"""What README tells a reader to do works, step by step, as it is written; and so does the demo."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests import warm
from tests.harness import ROOT, eventually

SNIPPET = re.compile(
    r"^(?:<!-- (?P<mark>[^>]*) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
PORT = "127.0.0.1:8470"


def snippets(readme: str) -> list[tuple[str, str, str]]:
    """Mark, language and text of every fenced block."""
    text = (ROOT / readme).read_text("utf-8")
    return [(each["mark"] or "", each["language"], each["text"]) for each in SNIPPET.finditer(text)]


TOURS = ["README.md", "examples/import/README.md"]


@pytest.mark.parametrize("readme", TOURS)
def test_the_tour_of_a_readme_works_as_it_is_written(readme: str, tmp_path: Path) -> None:
    """The marked snippets, one after the other against one ``keystead dev``; only the port differs."""
    commands = tmp_path / "bin"
    commands.mkdir()
    warm.command(commands)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "KEYSTEAD_"))}
    environment |= {"PATH": f"{commands}:{environment['PATH']}", "PYTHONPATH": str(ROOT)}
    printed = tmp_path / "printed"
    with printed.open("w") as out:
        dev = (sys.executable, "-m", "controlplane", "dev", "--port", "0", "--data-dir", tmp_path / "keystead-data")
        server = subprocess.Popen(dev, stdout=out, env=environment)
    try:
        eventually(lambda: "export AWS_SECRET_ACCESS_KEY" in printed.read_text(), "keystead dev is ready")
        found = re.search(r"KEYSTEAD_URL=http://(\S+)", printed.read_text())
        assert found
        tour = [(language, text.replace(PORT, found[1])) for mark, language, text in snippets(readme) if
                mark.startswith("tour")]  # fmt: skip
        assert len(tour) > 4, "the marks are gone"
        script = ["set -eu"]
        for index, (language, text) in enumerate(tour):
            if language == "python":
                (tmp_path / f"{index}.py").write_text(text)
                text = f"{shlex.quote(sys.executable)} {index}.py"
            script.append(text)
        # `delete` asks; in a script nobody answers.
        whole = re.sub(r"^(keystead delete .*)$", r"\1 --yes", "\n".join(script), flags=re.MULTILINE)
        done = subprocess.run(
            ["sh", "-c", whole], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=150
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        assert "No changes." in done.stdout
    finally:
        server.terminate()
        assert server.wait(30) == 0


@pytest.mark.parametrize("readme", [*TOURS, "controlplane/README.md", "plugins/README.md"])
def test_every_document_in_a_readme_is_valid(readme: str, tmp_path: Path) -> None:
    from controlplane.schema.documents import parse

    shown = [text for _, language, text in snippets(readme) if language == "yaml" and "apiVersion: keystead/" in text]
    for index, text in enumerate(shown):
        located, problems = parse(text, file=f"{readme}-{index}", format="yaml")
        assert not problems, problems
        assert located


def test_every_link_in_a_readme_leads_somewhere() -> None:
    for readme in ROOT.glob("**/README.md"):
        if ".venv" in readme.parts:
            continue
        for target in re.findall(r"\]\(([^)#]+)\)", readme.read_text("utf-8")):
            assert target.startswith("http") or (readme.parent / target).exists(), f"{readme}: {target}"


def test_the_demo_does_the_main_job() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "KEYSTEAD_"))}
    done = subprocess.run(
        [sys.executable, ROOT / "examples/quickstart/demo.py"],
        env={**environment, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "No changes." in done.stdout
