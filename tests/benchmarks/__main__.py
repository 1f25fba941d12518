"""``python -m tests.benchmarks``: run, print one table, write JSON if asked. Exit code 1 if a benchmark failed."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
from rich.console import Console

from tests.benchmarks import (
    audit,
    figures,
    fleet,
    hsm,
    kms,
    life,
    machine,
    manykeys,
    processes,
    reconcile,
    scale,
    steps,
    terminal,
    validate,
    xks,
)
from tests.benchmarks.figures import Figure

NAMES = (
    "kms",
    "audit",
    "steps",
    "terminal",
    "manykeys",
    "processes",
    "hsm",
    "validate",
    "fleet",
    "reconcile",
    "scale",
    "life",
    "xks",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="smaller sizes, less than a minute; no moto without --moto"
    )
    parser.add_argument("--only", action="append", choices=NAMES, help="run this one; may be repeated")
    parser.add_argument("--keys", action="append", type=int, metavar="N", help="a size for scale; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures with all rounds to a file")
    parser.add_argument("--moto", type=Path, metavar="PYTHON", help="an interpreter that has moto[kms,server] already")
    asked = parser.parse_args()

    console = Console(width=None if sys.stdout.isatty() else 160)
    notes = Console(stderr=True)
    line = machine.describe()
    keys = 1_000 if asked.quick else 10_000
    benchmarks: dict[str, Callable[[], list[Figure]]] = {
        "kms": partial(kms.run, quick=asked.quick, moto=asked.moto),
        "audit": partial(audit.run, quick=asked.quick),
        "steps": partial(steps.run, quick=asked.quick),
        "terminal": partial(terminal.run, quick=asked.quick),
        "manykeys": partial(manykeys.run, quick=asked.quick),
        "processes": partial(processes.run, quick=asked.quick),
        "hsm": partial(hsm.run, quick=asked.quick),
        "validate": partial(validate.run, keys=keys),
        "fleet": partial(fleet.run, keys=keys),
        "reconcile": partial(reconcile.run, keys=keys),
        "scale": partial(scale.run, sizes=asked.keys or ((1_000,) if asked.quick else scale.SIZES)),
        "life": partial(life.run, quick=asked.quick),
        "xks": partial(xks.run, quick=asked.quick),
    }
    sections: list[tuple[str, list[Figure]]] = []
    failed = False
    began = time.monotonic()
    loads = [f"{machine.load_average():.1f} before"]
    for name, benchmark in benchmarks.items():
        if asked.only and name not in asked.only:
            continue
        started = time.monotonic()
        try:
            said = benchmark()
        except Exception as error:
            notes.print(traceback.format_exc(), markup=False)
            said = [figures.missing(f"{name} FAILED", f"{type(error).__name__}: {error}")]
            failed = True
        sections.append((name, said))
        loads.append(f"{machine.load_average():.1f} after {name}")
        notes.print(f"{name}: {time.monotonic() - started:.0f} s")
    figures.show(sections, console)
    console.print(line, highlight=False, soft_wrap=True)
    console.print(f"load average: {', '.join(loads)}", highlight=False, soft_wrap=True)
    console.print(f"{'quick, ' if asked.quick else ''}{time.monotonic() - began:.0f} s in all", highlight=False)
    if asked.json is not None:
        body = {"machine": line, "loads": loads, "quick": asked.quick, "benchmarks": dict(sections)}
        asked.json.write_bytes(msgspec.json.format(msgspec.json.encode(body), indent=2) + b"\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
