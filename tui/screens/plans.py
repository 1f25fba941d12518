"""Plans: choose spec files, see what an apply would do as the command line shows it, apply exactly that, watch it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from typing import ClassVar

from textual.containers import Horizontal, Vertical
from textual.widget import Widget
from textual.widgets import Input, Label

from controlplane.errors import InvalidInput, InvalidSpec, KeysteadError
from controlplane.report import (
    Line,
    Style,
    applied_line,
    counts_line,
    moment,
    plan_lines,
    problem_line,
    progress_line,
    synced_line,
    time_left,
)
from controlplane.schema.plans import Action as PlanAction
from controlplane.schema.plans import Applied, Plan, PlanReason, Progress
from tui.actions import Action
from tui.feed.messages import Answer, Outcome, Progressed, Trouble
from tui.feed.orders import ApplyPlan, MakePlan
from tui.feed.questions import DirectoryEntries, Entries
from tui.planline import HINT, parse_plan_line
from tui.screens.base import HIDDEN, YES, Framed, Verdict
from tui.screens.dialogs import ConfirmDialog
from tui.widgets.lines import Lines
from tui.widgets.table import Column, Row, Table

WELCOME = (
    Line("A plan says what an apply of spec files would do, and changes nothing.", Style.HEADING),
    Line(""),
    Line("Type the path of a file or directory above and press enter, or o to look for one."),
    Line(
        "As on the command line: --target KIND/NAME leaves out all else, --values FILE gives references a value.",
        Style.MUTED,
    ),
    Line("The name of the directory or file is the spec set: the set that owns its objects.", Style.MUTED),
    Line("What was in a set before and is not in its files any more is scheduled for deletion.", Style.MUTED),
)


class PlansScreen(Framed):
    """See the module."""

    section = "plans"
    about = (
        "What applying spec files would do, as `keystead plan` prints it: + create, ~ update, - delete, ! blocked.",
        "a applies exactly the plan that is shown. It asks first, and is refused when something changed meanwhile.",
        "A field belongs to the set that states it. Where others own it the plan is blocked; w takes it over.",
    )
    OFFERS: ClassVar[tuple[str, ...]] = ("apply", "own", "plan", "choose", "path")

    def __init__(self) -> None:
        super().__init__()
        self.plan: Plan | None = None
        self.busy = ""
        self.taking = False
        """The plan that is shown, or asked for, takes over what others own."""
        self._after: list[Line] = []
        self._started = self._applying = False
        self._begun_at = 0.0

    def body(self) -> Iterable[Widget]:
        path = Input(placeholder=HINT, id="path")
        fields = Horizontal(Label("Files ", classes="label"), path, id="fields")
        yield Vertical(fields, Lines(WELCOME, id="plan"))

    def crumbs(self) -> tuple[str, str]:
        if self.busy:
            return " plans", self.busy
        if self.plan is None:
            return " plans", ""
        left = time_left(self.plan.expires_at, self.host.now())
        taking = " with take-ownership" if self.taking else ""
        return f" plans › {self.plan.spec_set} {self.plan.id[:8]}{taking}", f"can be applied for {left}"

    def focus_body(self) -> None:
        self.set_focus(self.query_one("#plan", Lines))

    def on_mount(self) -> None:
        self.set_focus(self.query_one("#path"))

    def tick(self) -> None:
        super().tick()
        if self.plan is not None:
            self.update_frame()

    # ---- choosing --------------------------------------------------------------------------------------------------

    def do_path(self) -> None:
        self.set_focus(self.query_one("#path"))

    def do_choose(self) -> None:
        self.host.push_screen(ChooseScreen(self._typed_path()), self._chosen)

    def _typed_path(self) -> str:
        try:
            return parse_plan_line(self.query_one("#path", Input).value).paths[0]
        except InvalidInput:
            return "."

    def _chosen(self, path: str | None) -> None:
        if path is not None:
            self.query_one("#path", Input).value = shlex.quote(path)
            self.do_plan()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.input.id == "path":
            event.stop()
            self.do_plan()

    # ---- planning --------------------------------------------------------------------------------------------------

    def do_plan(self) -> None:
        self._make_plan(taking=False)

    def do_own(self) -> None:
        self._make_plan(taking=True)

    def _make_plan(self, *, taking: bool) -> None:
        try:
            line = parse_plan_line(self.query_one("#path", Input).value)
        except InvalidInput as error:
            self.host.say(error.message, wrong=True)
            self.do_path()
            return
        if self.busy:
            self.host.say(f"one moment: {self.busy}", wrong=True)
            return
        self.plan, self.busy, self._after = None, "planning…", []
        self.taking = taking
        self._show([Line("Planning…", Style.MUTED)])
        self.order(MakePlan(line, take_ownership=taking))
        self.focus_body()
        self.update_frame()

    def do_apply(self) -> None:
        plan = self.plan
        if plan is None:
            return
        counts = counts_line(plan.counts)
        going = plan.counts.schedule_deletion
        lines = [counts, Line(f"Server: {self.host.address}", Style.MUTED)]
        if self.taking:
            lines.append(Line("It takes over what others own.", Style.WARNING))
        if going:
            what = "1 key is" if going == 1 else f"{going:,} keys are"
            lines.append(Line(f"{what} scheduled for deletion; it can be cancelled (5).", Style.WARNING))

        def decided(yes: bool | None) -> None:
            if yes:
                self._apply(plan)

        self.host.push_screen(ConfirmDialog("Apply exactly this plan?", lines, "Apply"), decided)

    def _apply(self, plan: Plan) -> None:
        self.busy, self._after = "applying…", [Line("")]
        self._begun_at = self.host.now().timestamp()
        self.order(ApplyPlan(plan.id, plan.spec_set))
        self._show_plan(plan)

    def on_progressed(self, message: Progressed) -> None:
        message.stop()
        if not isinstance(message.order, ApplyPlan) or self.plan is None:
            return
        if isinstance(message.value, Applied):
            self._after = [Line(""), applied_line(self.plan.counts)]
        elif isinstance(message.value, Progress):
            self._after = [*self._after[:2], *self._progress(message.value)]
        self._show_plan(self.plan)

    def _progress(self, progress: Progress) -> list[Line]:
        seconds = self.host.now().timestamp() - self._begun_at
        return [progress_line(progress, seconds), *(problem_line(each) for each in progress.problems)]

    def finished(self, message: Outcome) -> None:
        self.busy = ""
        match message:
            case Outcome(error=KeysteadError() as error):
                self._failed(message, error)
            case Outcome(order=MakePlan(), value=Plan() as plan):
                self.plan = plan
                self._show_plan(plan, top=True)
            case Outcome(order=ApplyPlan(), value=Progress() as progress) if self.plan is not None:
                end = [synced_line(progress)] if not progress.pending else self._progress(progress)
                self._after = [*self._after[:2], *end]
                self._show_plan(self.plan)
                self.plan = None  # it is used up; the same again is another plan
        self.update_frame()

    def _failed(self, message: Outcome, error: KeysteadError) -> None:
        if isinstance(message.order, ApplyPlan):
            self._after = [Line(""), Line(f"Not applied: {error.message}", Style.BAD), *self._after[2:]]
            if self.plan is not None:
                self._show_plan(self.plan)
        elif isinstance(error, InvalidSpec):
            count = len(error.problems)
            end = Line(f"{count} problem{'' if count == 1 else 's'} found; nothing was changed.", Style.HEADING)
            self._show([*(Line(str(problem), Style.BAD) for problem in error.problems), Line(""), end])
        else:
            self._show([Line(line, Style.BAD) for line in error.message.split("\n")])

    def _show_plan(self, plan: Plan, *, top: bool = False) -> None:
        lines = [*plan_lines(plan), *self._after]
        if not self._after and _conflicts(plan) and not self.taking:
            lines.append(Line("w plans again so that this set takes over what others own.", Style.MUTED))
        if not self._after and not plan.empty and not plan.counts.blocked:
            lines.append(Line(f"a applies exactly this, until {moment(plan.expires_at)}.", Style.MUTED))
        self._show(lines, top=top)
        if self._after:
            self.query_one("#plan", Lines).action_by(1_000_000)  # the end is where it happens

    def _show(self, lines: list[Line], *, top: bool = False) -> None:
        self.query_one("#plan", Lines).show(lines, top=top)

    # ---- verdicts --------------------------------------------------------------------------------------------------

    def specific(self, action: Action) -> Verdict:
        if action.id == "own":
            if self.busy:
                return Verdict(False, self.busy)
            if self.plan is None:
                return HIDDEN
            return YES if _conflicts(self.plan) else HIDDEN
        if action.id != "apply":
            return YES
        if self.busy:
            return Verdict(False, self.busy)
        if self.plan is None or self.plan.empty:
            return HIDDEN
        if self.plan.counts.blocked:
            return Verdict(False, "something in it is blocked, so nothing of it can be applied")
        if self.plan.expires_at <= self.host.now():
            return Verdict(False, "this plan has expired; plan again")
        may = self.host.link.access.may if self.host.link.access is not None else ()
        denied = next((each for each in may if each.action == "keystead:Apply" and not each.allowed), None)
        return YES if denied is None else Verdict(False, denied.why)


def _conflicts(plan: Plan) -> bool:
    """Whether something is blocked because somebody else owns it."""
    owned = (PlanReason.FIELD_OWNED, PlanReason.OWNED_ELSEWHERE)
    return any(change.action is PlanAction.BLOCKED and change.reason in owned for change in plan.changes)


class ChooseScreen(Framed):
    """Look for a spec file or a directory of them on this machine. Answers its path, or None."""

    section = "plans"
    about = ("Directories and spec files of this machine. enter opens a directory or takes a file.",)
    OFFERS: ClassVar[tuple[str, ...]] = ("open", "take", "up")

    def __init__(self, directory: str) -> None:
        super().__init__()
        self.directory = directory
        """As it was asked for, until the feed has answered which directory that is."""
        self.entries: DirectoryEntries | None = None

    def body(self) -> Iterable[Widget]:
        yield Table((Column("NAME", "name", most=120), Column("", "what")), id="entries")

    def crumbs(self) -> tuple[str, str]:
        return f" plans › choose › {self.directory}", "t takes this directory"

    def ask(self) -> None:
        self.watch_question(Entries(self.directory))

    def answered(self, message: Answer) -> None:
        if not isinstance(message.value, DirectoryEntries) or message.question != Entries(self.directory):
            return  # of the directory before
        self.entries = entries = message.value
        self.directory = entries.directory
        table = self.query_one("#entries", Table)
        if entries.wrong:
            table.notice(Line(entries.wrong, Style.WARNING), Line("backspace goes up", Style.MUTED))
            return
        rows = [
            *(
                Row(f"d/{name}", ((f"{name}/", Style.HEADING), ("directory", Style.MUTED)))
                for name in entries.directories
            ),
            *(Row(f"f/{name}", ((name, Style.PLAIN), ("spec file", Style.MUTED))) for name in entries.files),
        ]
        if rows:
            table.show(rows)
        else:
            table.notice(Line("No directory and no spec file is here.", Style.HEADING), Line("backspace goes up"))

    def failed(self, message: Trouble) -> None:
        self.query_one("#entries", Table).notice(Line(message.error.message, Style.WARNING))

    def do_open(self) -> None:
        self.query_one("#entries", Table).action_choose()

    def on_table_chosen(self, message: Table.Chosen) -> None:
        message.stop()
        kind, name = message.key.split("/", 1)
        path = os.path.join(self.directory, name)  # noqa: PTH118
        if kind == "f":
            self.dismiss(path)
        else:
            self._turn(path)

    def do_take(self) -> None:
        self.dismiss(self.directory)

    def do_up(self) -> None:
        self._turn(os.path.dirname(self.directory))  # noqa: PTH120

    def _turn(self, directory: str) -> None:
        self.directory = directory
        self.query_one("#entries", Table).start_over()
        self.ask()
        self.update_frame()
