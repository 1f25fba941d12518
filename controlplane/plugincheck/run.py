"""Runs the conformance suite with pytest, in this process, over one subject; sums up. Called by ``cli.plugins``.

Guarantees: the suite is that of the installed SDK, whatever the directory it is started in or pytest's settings and
plugins there; a test that skips is a failure; what is not declared is told, not passed over.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from controlplane.errors import InvalidInput, KeyStoreFailure
from plugins.sdk import Capabilities, KeyStoreError


class Failure(msgspec.Struct, frozen=True, rename="camel"):
    """A promise that was not kept: the test's name in words, its parameter if it has one, and what was seen."""

    promise: str
    parameter: str
    seen: str


class Checked(msgspec.Struct, frozen=True, rename="camel"):
    """The result. ``not_declared`` says what the store does not offer, and how many tests were left out for it."""

    plugin: str
    key_specs: tuple[str, ...]
    passed: int
    failures: tuple[Failure, ...]
    not_declared: dict[str, int]

    @property
    def conforms(self) -> bool:
        return self.passed > 0 and not self.failures


def check(
    name: str, options: dict[str, Any], *, external_key: str | None = None, foreign_key: str | None = None
) -> Checked:
    """Examine the plugin of that name with these options.

    Raises :class:`InvalidInput` if pytest is missing or the options do not fit, :class:`KeyStoreFailure` if the store
    does not open, and what ``load_plugin`` raises.
    """
    try:
        import anyio.pytest_plugin  # noqa: F401 - asked for only to say what is missing
        import pytest  # noqa: F401
    except ImportError:
        raise InvalidInput(
            "the conformance suite needs pytest and anyio: install them with pip install 'keystead[conformance]'"
        ) from None
    from controlplane.plugincheck.subject import Subject

    with tempfile.TemporaryDirectory(prefix="keystead-check-") as directory:
        place = Path(directory)
        subject = Subject(name, options, place, external_key=external_key, foreign_key=foreign_key)
        try:
            can = asyncio.run(subject.capabilities())
        except KeyStoreError as error:
            raise KeyStoreFailure(f"the key store does not open: {error.message}", reason=error.reason or "") from None
        except Exception as error:
            raise KeyStoreFailure(
                f"the key store does not open: the plugin failed with {type(error).__name__}, which is no error of the "
                f"SDK: {error}",
                reason="PluginFailure",
            ) from None
        return _run(subject, can, place)


def _run(subject: Any, can: Capabilities, place: Path) -> Checked:
    import pytest

    from plugins.sdk.conformance.choosing import left_out
    from plugins.sdk.conformance.configured import suite_over

    suite = suite_over(subject, can)
    (place / "test_conformance.py").write_text('"""The suite, over the subject."""\n')
    (place / "pytest.ini").write_text("[pytest]\nanyio_mode = auto\n")
    record = _Record(suite)
    arguments = ["-p", "anyio", "-p", "no:cacheprovider", "-c", str(place / "pytest.ini"), "--tb=short", "-q"]
    said = io.StringIO()
    with _alone(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = pytest.main(
            [*arguments, "--rootdir", str(place), str(place / "test_conformance.py")], plugins=[record]
        )
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise KeyStoreFailure(f"the conformance suite did not run: {said.getvalue().strip()}", reason="SuiteFailure")
    return Checked(
        plugin=subject.name,
        key_specs=tuple(sorted(can.key_specs)),
        passed=len(record.passed - record.failed.keys()),
        failures=tuple(record.failed.values()),
        not_declared=left_out(suite, can),
    )


class _Record:
    """Gives pytest the suite to collect, and keeps what became of each test."""

    def __init__(self, suite: type) -> None:
        self._suite = suite
        self.passed: set[str] = set()
        self.failed: dict[str, Failure] = {}

    def pytest_pycollect_makemodule(self, module_path: Path, parent: Any) -> Any:
        import pytest

        module: Any = pytest.Module.from_parent(parent, path=module_path)
        module.obj.TestConformance = self._suite
        return module

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.passed and report.when == "call":
            self.passed.add(report.nodeid)
        elif report.failed and report.nodeid not in self.failed:
            self.failed[report.nodeid] = _failure(report)


def _failure(report: Any) -> Failure:
    test, _, rest = report.nodeid.rpartition("::")[2].partition("[")
    crash = getattr(report.longrepr, "reprcrash", None)
    seen = crash.message if crash is not None else str(report.longrepr)
    return Failure(test.removeprefix("test_").replace("_", " "), rest.removesuffix("]"), _short(seen))


def _short(text: str) -> str:
    """The first lines of what pytest says of a failure, without its drawing."""
    lines = [re.sub(r"^E\s+", "", line).rstrip() for line in text.strip().splitlines()]
    return "\n".join(line for line in lines if line)[:600]


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Neither other pytest plugins nor options of the caller's environment."""
    names = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    before = {name: os.environ.get(name) for name in names}
    os.environ.pop("PYTEST_ADDOPTS", None)
    os.environ.pop("PYTEST_PLUGINS", None)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
