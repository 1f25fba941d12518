"""The example of a plugin, installed as its users install it: from wheels, far from the sources."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

from tests.harness import ROOT
from tests.rules.test_readme import snippets

EXAMPLE = ROOT / "examples" / "plugin"


def run(*command: object, cwd: Path, code: int = 0) -> str:
    """Run it without anything of the sources in its environment; what it said."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "KEYSTEAD"))
    }
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == code, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtual environment with the wheels of Keystead and of the example; what they depend on is shared."""
    place = tmp_path_factory.mktemp("plugin")
    wheels = place / "wheels"
    for source in (ROOT, EXAMPLE):
        copy = place / "source" / source.name
        ignored = shutil.ignore_patterns(".*", "__pycache__", "tests" if source is ROOT else ".*", "keystead-data")
        shutil.copytree(source, copy, ignore=ignored)
        run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", wheels, cwd=copy)
    fresh = place / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", fresh, cwd=place)
    site = fresh / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    # A plain path: the editable Keystead of this environment is not seen through it.
    (site / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = ("install", "--quiet", "--no-deps", "--no-index", *sorted(wheels.glob("*.whl")))
    run(sys.executable, "-m", "pip", "--python", fresh / "bin" / "python", *install, cwd=place)
    return fresh


def test_the_installed_example_conforms(environment: Path, tmp_path: Path) -> None:
    where = run(environment / "bin/python", "-c", "import plugins; print(plugins.__file__)", cwd=tmp_path)
    assert where.startswith(str(environment)), "this is the installed Keystead, not the sources"
    passphrase = tmp_path / "passphrase"
    passphrase.touch(mode=0o600)
    passphrase.write_text("the passphrase of a user")
    document = next(text for _, language, text in snippets("examples/plugin/README.md") if language == "yaml")
    (tmp_path / "strongbox.yaml").write_text(document)
    check = (environment / "bin/keystead", "plugin", "check", "strongbox", "--config", "strongbox.yaml")
    said = run(*check, cwd=tmp_path)
    assert re.search(r"Plugin strongbox conforms: \d{2} tests passed\.", said), said
    assert (tmp_path / "strongbox.json").exists()
    passphrase.write_text("another")
    assert "does not open: the passphrase does not open this strongbox" in " ".join(
        run(*check, cwd=tmp_path, code=1).split()
    )


def test_its_own_tests_pass(environment: Path, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE / "tests", tmp_path / "tests")
    shutil.copy(EXAMPLE / "pyproject.toml", tmp_path)
    said = run(environment / "bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=tmp_path)
    assert re.search(r"\d{2} passed", said), said
    assert "skipped" not in said


def test_the_guide_shows_what_the_example_is() -> None:
    """Each snippet of the guide that names a file stands in that file, word for word."""
    shown = [(mark, text) for mark, _, text in snippets("plugins/README.md") if mark.startswith("examples/plugin/")]
    assert len(shown) >= 4, "the marks are gone"
    for path, text in shown:
        assert text.strip() in (ROOT / path).read_text("utf-8"), f"{path} does not have:\n{text}"


def test_the_example_names_its_type_as_its_documents_do() -> None:
    text = next(text for _, language, text in snippets("examples/plugin/README.md") if language == "yaml")
    assert f'\n{yaml.safe_load(text)["spec"]["type"]} = "' in (EXAMPLE / "pyproject.toml").read_text("utf-8")
