"""``keystead apply --watch``: a directory of spec files, applied whenever it changes.

Called by ``main`` with parsed arguments. Guarantees: a plan with a refusal, or files with a mistake, changes nothing,
is told once and waits for the next change; a change is taken when the files are still for :data:`STILL_SECONDS`, so
that a checkout is not applied half way; a server that is lost is asked again until it answers, and what was to be
applied then is planned anew; only the set's own objects are pruned, as in every apply. Ends with Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from controlplane.cli import plan as commands
from controlplane.cli.output import Output, error_body, error_lines, write_json_line
from controlplane.clock import Clock
from controlplane.errors import InvalidInput, KeysteadError, StalePlan
from controlplane.report import Line, Style, applied_line, moment, plan_lines
from controlplane.schema.plans import Applied, Plan

LOOK_SECONDS: Final = 0.5
STILL_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 15.0

Seen = frozenset[tuple[str, int, int, int]]
"""Every file with its size, time of change and inode."""


def watch(
    paths: Sequence[Path], output: Output, *, url: str | None, spec_set: str | None, asked: commands.Asked
) -> int:
    """Plan and apply now and on every change. Raises :class:`InvalidInput` for what is no directory."""
    for path in paths:
        if not path.is_dir():
            raise InvalidInput(f"--watch takes directories; {path} is none")
    return asyncio.run(_Watch(paths, output, url, spec_set, asked).run())


class _Watch:
    def __init__(
        self, paths: Sequence[Path], output: Output, url: str | None, spec_set: str | None, asked: commands.Asked
    ) -> None:
        self._paths = paths
        self._output = output
        self._url = url
        self._spec_set = spec_set
        self._asked = asked
        self._stop = asyncio.Event()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
        names = ", ".join(map(str, self._paths))
        self._say("watching", Line(f"Watching {names}; Ctrl-C ends it.", Style.MUTED))
        done: Seen | None = None
        while not self._stop.is_set():
            seen = await self._still()
            if seen != done:
                await self._bring()
                done = seen
            else:
                await self._pause(LOOK_SECONDS)
        self._say("ended", Line("Ended; what was applied goes on.", Style.MUTED))
        return commands.EXIT_OK

    async def _still(self) -> Seen:
        """The files, once they have not changed for a moment."""
        seen = self._look()
        while not self._stop.is_set():
            await self._pause(STILL_SECONDS)
            now = self._look()
            if now == seen:
                break
            seen = now
        return seen

    async def _bring(self) -> None:
        """Plan and apply what is there now; until the server answers, if it does not."""
        from controlplane.client import Unreachable

        pause, lost = 1.0, False
        while not self._stop.is_set():
            try:
                await self._once()
            except StalePlan:
                continue  # somebody changed an object between the plan and the apply: the next plan shows it
            except Unreachable as error:
                if not lost:
                    self._say("lost", Line(f"{error.message} (trying again)", Style.WARNING), error=error)
                lost = True
                await self._pause(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
                continue
            except KeysteadError as error:
                self._say("refused", *error_lines(error), error=error)
            return

    async def _once(self) -> None:
        from controlplane.client import Client

        made = await commands.make_plan(self._paths, self._url, self._spec_set, self._asked)
        if made.counts.blocked:
            refused = commands.blocked(made)
            self._say("refused", *plan_lines(made), *error_lines(refused), plan=made, error=refused)
            return
        if made.empty:
            self._say("unchanged", Line("Everything is as declared.", Style.GOOD), plan=made)
            return
        async with Client.from_environment(self._url) as client:
            applied = await client.apply(made.id)
        self._say("applied", *plan_lines(made), applied_line(made.counts), plan=made, applied=applied)

    def _look(self) -> Seen:
        """Every file below the directories, and the values files. One that goes away meanwhile is left out."""
        return frozenset(self._stats())

    def _stats(self) -> Iterator[tuple[str, int, int, int]]:
        walks = (walk for path in self._paths for walk in os.walk(path))
        files = [Path(folder) / name for folder, _, names in walks for name in names]
        for file in (*files, *self._asked.values):
            try:
                found = file.stat()
            except OSError:
                continue
            yield str(file), found.st_size, found.st_mtime_ns, found.st_ino

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            pass

    def _say(
        self,
        event: str,
        *lines: Line,
        plan: Plan | None = None,
        applied: Applied | None = None,
        error: KeysteadError | None = None,
    ) -> None:
        """One event: a block of lines under its time, or one line of JSON."""
        now = Clock().now()
        if self._output.json:
            told: dict[str, object] = {"time": now, "event": event}
            if plan is not None:
                told["plan"] = plan
            if applied is not None:
                told["applied"] = applied
            if error is not None:
                told["error"] = msgspec.to_builtins(error_body(error))
            write_json_line(told)
            return
        first, *rest = lines
        self._output.lines([Line(f"{moment(now)}  {first.text}", first.style), *rest])
        self._output.flush()
