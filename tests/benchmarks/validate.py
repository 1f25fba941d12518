"""``keystead validate`` of a directory of spec files: in this process, and as the command a user waits for."""

from __future__ import annotations

import io
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from controlplane.cli import plan
from controlplane.cli.output import Output
from controlplane.specfiles import load
from tests.benchmarks import documents, figures, servers
from tests.benchmarks.figures import Figure


def run(*, keys: int, rounds: int = 3) -> list[Figure]:
    with servers.directory() as work:
        documents.write_files(keys, work)
        said: list[Figure] = []
        for what, step in (
            (f"validate {keys:,} keys: files to documents", lambda: _load(work, keys)),
            (f"validate {keys:,} keys: all its checks", lambda: _validate(work)),
            (f"`keystead validate` of {keys:,} keys, the command", lambda: _command(work)),
        ):
            took = [_timed(step) for _ in range(rounds)]
            said.append(figures.median(what, [wall for wall, _ in took], "s"))
            said.append(figures.median("  CPU of it", [cpu for _, cpu in took], "s"))
        return said


def _timed(step: Callable[[], None]) -> tuple[float, float]:
    """Seconds by the clock, and of the processor with its children."""
    used, started = _used(), time.perf_counter()
    step()
    return time.perf_counter() - started, _used() - used


def _used() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in both)


def _load(work: Path, keys: int) -> None:
    loaded = load([work], stdin=io.BytesIO())
    if loaded.problems or len(loaded.located) != keys:
        raise RuntimeError(f"{len(loaded.located)} documents, problems: {loaded.problems[:3]}")


def _validate(work: Path) -> None:
    said = io.StringIO()
    if plan.validate([work], Output(json=True, out=said)):
        raise RuntimeError(said.getvalue()[:500])


def _command(work: Path) -> None:
    command = [sys.executable, "-m", "controlplane", "validate", str(work)]
    subprocess.run(command, cwd=servers.ROOT, check=True, capture_output=True)
