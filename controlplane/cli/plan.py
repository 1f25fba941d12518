"""``validate``, ``plan`` and ``apply``: from spec files to desired state, and the wait until it holds.

Called by ``main`` with parsed arguments; each function answers the exit code and raises :class:`KeysteadError` for
everything that is wrong. ``validate`` talks to nobody and imports no HTTP client.

Guarantees: ``apply`` writes exactly the plan that was shown, by its id, after a ``yes`` or ``--yes``; a plan with a
blocked change is not applied, not even in part. When it ends early it says what state things are in.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from controlplane.cli.output import Output, error_body, error_lines, interactive
from controlplane.errors import (
    Blocked,
    DeadlineExceeded,
    InvalidInput,
    InvalidSpec,
    KeysteadError,
    Problem,
    StalePlan,
)
from controlplane.report import (
    Line,
    Style,
    applied_line,
    plan_footer,
    plan_lines,
    problem_line,
    progress_line,
    synced_line,
)
from controlplane.schema.base import NAME_PATTERN
from controlplane.schema.conditions import Reason
from controlplane.schema.documents import KeyDocument, KeyStoreDocument
from controlplane.schema.keystores import STANDARD
from controlplane.schema.plans import Applied, Plan, Progress
from controlplane.schema.references import Look
from controlplane.specfiles import LoadedSet, default_spec_set, load, load_or_raise, placed
from controlplane.values import read as read_values

if TYPE_CHECKING:
    from controlplane.client import Client

_T = TypeVar("_T")

EXIT_OK: Final = 0
EXIT_ERROR: Final = 1
EXIT_CHANGES: Final = 2
EXIT_INTERRUPTED: Final = 130

_POLL_SECONDS: Final = 0.25
_SLOWEST_POLL_SECONDS: Final = 2.0
_SAY_SECONDS: Final = 10.0


def look_up(values: Sequence[Path]) -> Look:
    """What references stand for, here and now. Raises :class:`InvalidSpec` for a values file that is none."""
    return read_values(values, os.environ)


def _run(work: Coroutine[Any, Any, _T]) -> _T:
    import asyncio  # 40 ms that validate does without

    return asyncio.run(work)


# ---- validate --------------------------------------------------------------------------------------------------------


def validate(paths: Sequence[Path], output: Output, *, values: Sequence[Path] = ()) -> int:
    """Everything that can be said without a server. Raises :class:`InvalidSpec` with all problems at once."""
    loaded = load(paths, stdin=sys.stdin.buffer, look=look_up(values))
    problems = [*loaded.problems, *_misfits(loaded), *_policy_problems(loaded)]
    if problems:
        raise InvalidSpec(problems)
    count = len(loaded.located)
    said = "1 document is valid." if count == 1 else f"{count:,} documents are valid."
    unchecked = sorted(_unknown_stores(loaded))
    lines = [Line(said, Style.GOOD)]
    if unchecked:
        names = ", ".join(unchecked)
        lines.append(
            Line(f"Not declared here: key store {names}. `keystead plan` checks its keys against it.", Style.MUTED)
        )
    output.answer({"valid": True, "documents": count, "undeclaredKeyStores": unchecked}, lines)
    return EXIT_OK


def _store_types(loaded: LoadedSet) -> dict[str, str]:
    declared = (each.document for each in loaded.located)
    types = {document.name: document.spec.type for document in declared if isinstance(document, KeyStoreDocument)}
    return {**types, STANDARD: STANDARD}


def _unknown_stores(loaded: LoadedSet) -> set[str]:
    keys = (each.document for each in loaded.located)
    used = {document.spec.key_store for document in keys if isinstance(document, KeyDocument)}
    return used - _store_types(loaded).keys()


def _misfits(loaded: LoadedSet) -> Iterator[Problem]:
    """Keys that their key store cannot hold, as far as its type is known here."""
    from controlplane.domain.capabilities import complete

    types = _store_types(loaded)
    for each in loaded.located:
        if isinstance(each.document, KeyDocument) and (store_type := types.get(each.document.spec.key_store)):
            for misfit in complete(each.document.spec, store_type)[1]:
                message, _, hint = misfit.message.partition("; ")
                yield each.problem(message, "spec", *misfit.path.split("."), hint=hint or None)


def _policy_problems(loaded: LoadedSet) -> Iterator[Problem]:
    """Policies that are JSON and still say nothing that can be evaluated."""
    from controlplane.domain.policy.declared import misfits

    for each in loaded.located:
        for path, message in misfits(each.document):
            yield each.problem(message, *path)


class Asked(msgspec.Struct, frozen=True):
    """How a plan is wanted. ``targets`` are ``Kind/NAME``, ``values`` files for references in the spec files."""

    take_ownership: bool = False
    targets: tuple[str, ...] = ()
    values: tuple[Path, ...] = ()


# ---- plan ------------------------------------------------------------------------------------------------------------


def plan(
    paths: Sequence[Path],
    output: Output,
    *,
    url: str | None,
    spec_set: str | None = None,
    detailed_exitcode: bool = False,
    out: Path | None = None,
    asked: Asked | None = None,
) -> int:
    """Show what an apply would do. 0, or with ``detailed_exitcode`` 2 if there are changes; 1 if one is blocked."""
    made = _run(make_plan(paths, url, spec_set, asked))
    if out is not None:
        _save(made, out)
    output.answer(made, [*plan_lines(made), *([] if made.empty or made.counts.blocked else [plan_footer(made)])])
    if made.counts.blocked:
        output.note(*error_lines(blocked(made)))
        return EXIT_ERROR
    return EXIT_CHANGES if detailed_exitcode and not made.empty else EXIT_OK


async def make_plan(paths: Sequence[Path], url: str | None, spec_set: str | None, asked: Asked | None) -> Plan:
    """A plan of these files. Raises :class:`InvalidSpec` with the place of every mistake, the server's too."""
    from controlplane.client import Client

    if spec_set is not None and not re.match(NAME_PATTERN, spec_set):
        raise InvalidInput(f"{spec_set!r} cannot name a spec set; use lower-case letters, digits, '.', '_' and '-'")
    asked = asked or Asked()
    loaded = load_or_raise(paths, stdin=sys.stdin.buffer, look=look_up(asked.values))
    async with Client.from_environment(url) as client:
        try:
            return await client.plan(
                spec_set or default_spec_set(paths),
                loaded.declared,
                take_ownership=asked.take_ownership,
                targets=asked.targets,
            )
        except InvalidSpec as error:
            raise InvalidSpec([placed(problem, loaded) for problem in error.problems]) from None


def _save(made: Plan, out: Path) -> None:
    try:
        out.write_bytes(msgspec.json.format(msgspec.json.encode(made), indent=2) + b"\n")
    except OSError as error:
        raise InvalidInput(f"the plan cannot be written to {out}: {error.strerror}; nothing was changed") from None


def blocked(made: Plan) -> Blocked:
    """Why a plan cannot be applied."""
    count = made.counts.blocked
    what = "1 change is" if count == 1 else f"{count:,} changes are"
    return Blocked(f"{what} blocked, so nothing of this plan can be applied")


# ---- apply -----------------------------------------------------------------------------------------------------------


def apply(
    paths: Sequence[Path],
    output: Output,
    *,
    url: str | None,
    spec_set: str | None = None,
    asked: Asked | None = None,
    plan_id: str | None = None,
    yes: bool = False,
    wait: bool = True,
    timeout: float = 300.0,
) -> int:
    """Plan (or take the plan with this id), show, ask, write, wait."""
    if plan_id is not None and (paths or spec_set or asked not in (None, Asked())):
        raise InvalidInput("--plan applies a plan that was made before, as it is; give no paths and options with it")
    if plan_id is None and not paths:
        raise InvalidInput("name a spec file or directory, or a plan with --plan ID")
    made = _run(
        _get_plan(plan_id, _saved(plan_id), url) if plan_id is not None else make_plan(paths, url, spec_set, asked)
    )
    output.lines(plan_lines(made))
    if made.counts.blocked:
        return _finish(output, made, error=blocked(made))
    applied = None
    if not made.empty:
        if not yes and (refusal := _ask(output, url)):
            return _finish(output, made, error=refusal)
        applied = _write(made, url)
        output.lines([Line(""), applied_line(made.counts)])
    if not wait:
        return _finish(output, made, applied)
    try:
        progress, problem = _run(_wait(made.spec_set, output, url, timeout))
    except KeyboardInterrupt:
        written = "desired state was written; " if applied else ""
        look = f"keystead get keys --spec-set {made.spec_set}"
        output.note(
            Line(f"interrupted: {written}the server goes on. To see how far it is: {look}", Style.WARNING),
        )
        return EXIT_INTERRUPTED
    if problem is None and applied is not None:
        output.lines([synced_line(progress)])
    return _finish(output, made, applied, progress, problem)


def _finish(
    output: Output,
    made: Plan,
    applied: Applied | None = None,
    progress: Progress | None = None,
    error: KeysteadError | None = None,
) -> int:
    """The last word: in JSON everything in one document, in text the error if there is one."""
    if output.json:
        body: dict[str, object] = {"plan": made, "applied": applied, "progress": progress}
        output.answer({**body, "error": error_body(error)} if error else body, ())
    elif error is not None:
        output.error(error)
    return EXIT_ERROR if error else EXIT_OK


async def _get_plan(plan_id: str, saved: Plan | None, url: str | None) -> Plan:
    """A plan by its id, or by the file that ``plan --out`` wrote: what the server kept is shown and applied."""
    from controlplane.client import Client

    async with Client.from_environment(url) as client:
        if saved is not None:
            plan_id, server = saved.id, await client.server()
            if saved.server_id != server.server_id:
                raise InvalidInput(
                    f"that plan was made by server {saved.server_id}; {client.url} is server {server.server_id}: "
                    "set KEYSTEAD_URL to the one that made it, or plan again"
                )
        return await client.get_plan(plan_id)


def _saved(plan_id: str) -> Plan | None:
    """The plan that ``plan --out`` wrote, if this names such a file and no id."""
    path = Path(plan_id)
    if not path.is_file():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=Plan)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        raise InvalidInput(f"{path} is no plan; write one with: keystead plan --out FILE") from None


def _ask(output: Output, url: str | None) -> KeysteadError | None:
    """Why the plan must not be applied, or None for a ``yes``."""
    from controlplane.client import Client

    if output.json or not interactive():
        return InvalidInput("nobody can be asked here, so nothing was applied; pass --yes to apply without asking")
    server = Client.from_environment(url).url
    if output.ask(f"Apply these changes to {server}? Only 'yes' is accepted:"):
        return None
    return InvalidInput("not confirmed; nothing was applied")


def _write(made: Plan, url: str | None) -> Applied:
    from controlplane.client import Client, Unreachable

    async def write() -> Applied:
        async with Client.from_environment(url) as client:
            return await client.apply(made.id)

    unsure = "; the changes were written all or not at all: plan again to see which"
    try:
        return _run(write())
    except StalePlan as error:
        advice = "" if "plan again" in error.message else "; plan again"
        raise StalePlan(f"nothing was applied: {error.message}{advice}") from None
    except Unreachable as error:
        raise Unreachable(error.message + unsure) from None
    except KeyboardInterrupt:
        raise Interrupted("interrupted while applying" + unsure) from None


class Interrupted(KeysteadError):
    """Ctrl-C where it matters what has happened."""

    code = "Interrupted"


async def _wait(
    spec_set: str, output: Output, url: str | None, timeout: float
) -> tuple[Progress, DeadlineExceeded | None]:
    """Until every object of the set is as declared. Objects whose management is paused are told and not waited for."""
    import asyncio

    from controlplane.client import Client

    started = time.monotonic()
    said_at, said_pending = started - _SAY_SECONDS, -1
    pending_before: int | None = None
    told: set[tuple[str, str, str]] = set()
    pause = _POLL_SECONDS
    async with Client.from_environment(url) as client:
        while True:
            progress = await _progress(client, spec_set, output, started + timeout)
            now = time.monotonic()
            if pending_before is None:
                pending_before = progress.pending
            for problem in progress.problems:
                said = (problem.kind, problem.name, problem.reason + problem.message)
                if said not in told:
                    told.add(said)
                    output.note(problem_line(problem))
            paused = sum(problem.reason == Reason.PAUSED for problem in progress.problems)
            if progress.pending <= paused:
                return progress, None
            if progress.pending != said_pending or now - said_at >= _SAY_SECONDS:
                output.note(progress_line(progress, now - started, pending_before=pending_before))
                said_at, said_pending = now, progress.pending
            if now - started >= timeout:
                return progress, _not_synced(progress, timeout)
            await asyncio.sleep(min(pause, max(0.0, started + timeout - now)))
            pause = min(pause * 1.3, _SLOWEST_POLL_SECONDS)


async def _progress(client: Client, spec_set: str, output: Output, deadline: float) -> Progress:
    """Progress from a server that may restart in between: what it has to do is written, so we go on asking."""
    import asyncio

    from controlplane.client import Unreachable

    lost = False
    while True:
        try:
            return await client.progress(spec_set)
        except Unreachable as error:
            if time.monotonic() >= deadline:
                raise
            if not lost:
                output.note(Line(f"{error.message} (trying again)", Style.WARNING))
            lost = True
            await asyncio.sleep(1.0)


def _not_synced(progress: Progress, timeout: float) -> DeadlineExceeded:
    lines = [
        f"{progress.pending:,} of {progress.total:,} objects of spec set {progress.spec_set} are not as declared after "
        f"{timeout:.0f}s; desired state was written and the server goes on:"
    ]
    waiting = [problem for problem in progress.problems if problem.reason != Reason.PAUSED]
    lines += [f"  {problem_line(problem).text}" for problem in waiting]
    paused = len(progress.problems) - len(waiting)
    if (silent := progress.pending - len(waiting) - paused) > 0:
        lines.append(f"  and {silent:,} more that the reconciler has not reached yet")
    return DeadlineExceeded("\n".join(lines))
