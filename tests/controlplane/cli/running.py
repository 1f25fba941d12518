"""The command in this process and in one of its own, against an API of canned answers."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from controlplane.schema.plans import Applied, ObjectProblem, Plan, Progress
from tests.controlplane.fakeapi import FakeApi, answer

ROOT = Path(__file__).parents[3]
SPEC = """apiVersion: keystead/v1
kind: Key
metadata: {name: payments}
spec:
  aliases: [payments]
"""


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


def process(*arguments: object, **environ: str) -> dict[str, Any]:
    """What starts the command as a process."""
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
    return {
        "args": [sys.executable, "-m", "controlplane", *map(str, arguments)],
        "env": {**kept, "TERM": "xterm", "PYTHONPATH": str(ROOT), **environ},
    }


def progress(pending: int, *problems: ObjectProblem, total: int = 3) -> Progress:
    return Progress(spec_set="quickstart", total=total, pending=pending, problems=problems)


def serve_plan(api: FakeApi, made: Plan, *seen: Progress) -> None:
    api.answers["POST", "/v1/plans"] = answer(made, 201)
    api.answers["GET", f"/v1/plans/{made.id}"] = answer(made)
    api.answers["POST", f"/v1/plans/{made.id}/apply"] = answer(
        Applied(plan_id=made.id, spec_set="quickstart", objects=())
    )
    api.answers["GET", "/v1/spec-sets/quickstart/progress"] = [answer(each) for each in seen or (progress(0),)]
