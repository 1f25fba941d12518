"""What importing a package loads, shown by a subprocess for each; and the import contracts, which hold and bite."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("controlplane", "plugins", "tui")
OURS = (*PACKAGES, "tests")
HEAVY = {"litestar", "sqlite_utils", "sqlite3", "cryptography", "aiohttp", "uvicorn", "textual", "structlog"}
MAX_LINES = 600


def modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


@cache
def loads(module: str) -> frozenset[str]:
    """Every module that is loaded after a fresh interpreter imported ``module``."""
    script = f"import json, sys\nimport {module}\nprint(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return frozenset(json.loads(done.stdout.splitlines()[-1]))


def roots(module: str) -> set[str]:
    return {name.partition(".")[0] for name in loads(module)}


def ours(module: str) -> set[str]:
    return {name for name in loads(module) if name.partition(".")[0] in OURS}


# ---- what an import loads --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["controlplane", "plugins", "tui"])
def test_a_top_level_package_loads_nothing_but_itself(module: str) -> None:
    assert ours(module) == {module}
    assert not roots(module) & HEAVY


def test_the_command_line_starts_without_server_database_or_cryptography() -> None:
    assert not roots("controlplane.cli.main") & {"litestar", "sqlite_utils", "cryptography", "textual", "uvicorn"}
    assert "controlplane.server" not in ours("controlplane.cli.main")
    assert not {name for name in ours("controlplane.cli.main") if name.startswith(("controlplane.api", "plugins.soft"))}


def test_the_sdk_loads_nothing_of_ours_and_no_io() -> None:
    assert {name for name in ours("plugins.sdk") if name != "plugins" and not name.startswith("plugins.sdk")} == set()
    assert not roots("plugins.sdk") & HEAVY
    assert "pytest" not in roots("plugins.sdk"), "the conformance suite is imported by who tests a plugin"


@pytest.mark.parametrize(
    "module",
    [
        "controlplane.schema",
        "controlplane.schema.documents",
        "controlplane.schema.plans",
        "controlplane.domain",
        "controlplane.domain.lifecycle",
        "controlplane.domain.policy",
        "controlplane.domain.capabilities",
        "controlplane.domain.diff",
    ],
)
def test_schema_and_domain_load_no_io(module: str) -> None:
    assert not roots(module) & HEAVY
    below = ("controlplane.schema", "controlplane.domain", "controlplane.errors", "plugins.sdk")
    assert {name for name in ours(module) if not name.startswith(below)} <= {"controlplane", "plugins"}


def test_the_host_side_of_plugins_loads_no_plugin() -> None:
    for module in ("controlplane.keystores.calls", "controlplane.reconcile.runtime", "controlplane.server"):
        assert not {name for name in ours(module) if name.startswith(("plugins.memory", "plugins.software"))}


@pytest.mark.parametrize("name", [path for path in modules() if path.name == "__init__.py"], ids=str)
def test_an_init_file_is_light(name: Path) -> None:
    """It may name what its package offers; it does no work, so that importing one module does not load them all."""
    tree = ast.parse(name.read_text("utf-8"))
    allowed = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.Expr)
    package = ".".join(name.parent.relative_to(ROOT).parts)
    work = [node for node in tree.body if not isinstance(node, allowed)]
    if package not in REAL_MODULES:
        assert not work, f"{package} does work when it is imported"


REAL_MODULES = {
    "controlplane.domain.policy",  # its two texts: the default key policy and the administrator's
    "controlplane.schema.reading",  # is a module itself, with one function
    "plugins.sdk.conformance",  # the class that plugin authors subclass, imported by their tests only
}


# ---- the shape of modules --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_opens_with_what_it_is_and_is_not_too_long_to_read(path: Path) -> None:
    text = path.read_text("utf-8")
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring, "it has no docstring"
    assert docstring[0].isupper() or docstring[0] in "`*"
    assert docstring.splitlines()[0].rstrip().endswith((".", ":", ",")) or len(docstring.splitlines()) > 1
    assert len(text.splitlines()) <= MAX_LINES, "this is a split"


WALL_CLOCKS = {
    "controlplane/clock.py",
    "controlplane/cli/objects.py",  # "3 days ago" on the screen of the person who asks; decides nothing
}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_clock_reads_the_wall_clock(path: Path) -> None:
    if str(path.relative_to(ROOT)) in WALL_CLOCKS:
        return
    forbidden = {("time", "time"), ("datetime", "now"), ("datetime", "utcnow"), ("date", "today"), ("time", "time_ns")}
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
        ):
            assert (node.func.value.id, node.func.attr) not in forbidden, f"line {node.lineno}"


# ---- the contracts ---------------------------------------------------------------------------------------------------


def lint_imports(directory: Path) -> tuple[int, str]:
    tool = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [tool, "--no-cache", "--config", "pyproject.toml"],
        cwd=directory,
        env={"PYTHONPATH": str(directory), "PATH": "/usr/bin:/bin", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_import_contracts_hold() -> None:
    status, report = lint_imports(ROOT)
    assert status == 0, report
    assert "0 broken" in report


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, in which a test may do wrong."""
    directory = tmp_path_factory.mktemp("copy")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, directory / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", directory)
    return directory


VIOLATIONS = {
    "Layers": ("controlplane/domain/_wrong.py", "import controlplane.store.database"),
    "Faces talk HTTP": ("tui/_wrong.py", "import controlplane.store.database"),
    "The SDK and plugins stand alone": ("plugins/memory/_wrong.py", "import controlplane.errors"),
    "Plugins are strangers": ("plugins/memory/_wrong.py", "import plugins.software.plugin"),
    "Nobody imports a concrete plugin": ("controlplane/reconcile/_wrong.py", "import plugins.memory"),
    "A PKCS#11 module is loaded in worker processes only": ("plugins/memory/_wrong.py", "import pkcs11"),
    "Rules are pure": ("controlplane/domain/_wrong.py", "import sqlite3"),
    "The terminal UI does I/O in its feed only": ("tui/widgets/_wrong.py", "import aiohttp"),
    "SQL only in store": ("controlplane/usage/_wrong.py", "import sqlite3"),
}


def test_each_contract_bites(copy: Path) -> None:
    """All violations at once, because building the graph takes most of the time: every contract has to be broken."""
    written: dict[Path, list[str]] = {}
    for file, line in VIOLATIONS.values():
        written.setdefault(copy / file, []).append(line)
    for path, lines in written.items():
        path.write_text('"""Wrong."""\n\n' + "\n".join(lines) + "\n")
    status, report = lint_imports(copy)
    assert status == 1, report
    broken = [line for line in report.splitlines() if " BROKEN" in line]
    kept = [line for line in report.splitlines() if " KEPT" in line]
    assert not kept, f"a contract that no violation above breaks: {kept}"
    assert all(any(line.startswith(name) for line in broken) for name in VIOLATIONS), report
