"""What every screen of a section is: the frame, the table of actions made to work, answers and troubles of the feed.

A screen offers actions by their ids and does each in a method ``do_<id>``; :meth:`Framed.verdict` says which work now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

import msgspec
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input, TextArea

from tui.actions import BY_ID, EVERYWHERE, PROMPTS, Action, bindings
from tui.feed.messages import Answer, Outcome, Standing, Trouble
from tui.feed.orders import Order
from tui.feed.questions import Question
from tui.widgets.frame import Banner, Crumbs, KeyLine, SectionBar, TopLine
from tui.widgets.prompt import Prompt

if TYPE_CHECKING:
    from tui.app import KeysteadApp


class Verdict(msgspec.Struct, frozen=True):
    """Whether an action works now. ``hidden`` actions are not shown; the others say ``why`` not."""

    allowed: bool = True
    why: str = ""
    hidden: bool = False


YES = Verdict()
HIDDEN = Verdict(allowed=False, hidden=True)


class Framed(Screen[Any]):
    """Base of the screens; see the module."""

    section: ClassVar[str] = ""
    OFFERS: ClassVar[tuple[str, ...]] = ()
    """Ids of the actions of this screen, in the order of the line of keys."""
    NOT_HERE: ClassVar[Mapping[str, str]] = {}
    """Actions that mean nothing on what this screen shows, and why: they are offered, grey, and say so."""
    about: ClassVar[tuple[str, ...]] = ()
    """What this screen shows, for help."""
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide"), (180, "-very-wide")]  # noqa: RUF012 - as Textual has it

    def __init_subclass__(cls, **options: object) -> None:
        cls.BINDINGS = bindings((*cls.OFFERS, *EVERYWHERE))  # type: ignore[assignment]
        super().__init_subclass__(**options)  # type: ignore[arg-type]

    def __init__(self) -> None:
        super().__init__()
        self.trouble = ""
        """Why a question of this screen was not answered, while the server is there."""

    @property
    def host(self) -> KeysteadApp:
        return cast("KeysteadApp", self.app)

    # ---- the frame -------------------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        yield TopLine()
        yield SectionBar()
        yield Banner()
        yield Crumbs()
        with Horizontal(id="body"):
            yield from self.body()
        yield Prompt()
        yield KeyLine()

    def body(self) -> Iterable[Widget]:
        """The widgets between the frame's lines."""
        return ()

    def crumbs(self) -> tuple[str, str]:
        """Where this is, and what is said on the right of it."""
        return "", ""

    def on_mount(self) -> None:
        self.set_interval(1.0, self.tick)

    def on_screen_resume(self) -> None:
        self.ask()
        self.update_frame()

    def on_screen_suspend(self) -> None:
        self.host.feed.drop(self)

    def tick(self) -> None:
        """Once a second: what shows the passing of time is drawn again."""
        self.query_one(TopLine).refresh()
        if not self.host.link.live:
            self.query_one(Banner).update()

    def update_frame(self) -> None:
        """After anything that the frame's lines tell has changed."""
        if not self.is_mounted:
            return
        for line in (TopLine, SectionBar, Crumbs, KeyLine):
            self.query_one(line).refresh()
        self.query_one(Banner).update()

    # ---- questions -------------------------------------------------------------------------------------------------

    def ask(self) -> None:
        """Watch what this screen shows. Called when it comes up, and when a filter or the like has changed."""

    def watch_question(self, question: Question, slot: str = "") -> None:
        self.host.feed.watch(self, question, slot)

    def on_answer(self, message: Answer) -> None:
        message.stop()
        if self.trouble:
            self.trouble = ""
        self.host.learn(message.value)
        self.answered(message)
        self.update_frame()

    def on_trouble(self, message: Trouble) -> None:
        message.stop()
        if self.host.link.live:
            self.trouble = message.error.message
        self.failed(message)
        self.update_frame()

    def answered(self, message: Answer) -> None:
        """Show an answer."""

    def failed(self, message: Trouble) -> None:
        """A question was not answered: say so where nothing can be shown."""

    # ---- actions ---------------------------------------------------------------------------------------------------

    def offered(self) -> tuple[str, ...]:
        """What the line of keys may show."""
        return (*self.OFFERS, "back", "jump", "help", "quit")

    def label(self, action: Action) -> str:
        """What the line of keys calls an action now."""
        return action.label

    def verdict(self, action: Action) -> Verdict:
        """Whether it works now; a screen asks :meth:`specific` about what it shows."""
        if action.writes and self.host.read_only:
            return HIDDEN
        if action.id == "back" and not self.can_go_back():
            return HIDDEN
        if (why := self.NOT_HERE.get(action.id)) is not None:
            return Verdict(False, why)
        specific = self.specific(action)
        if specific.allowed and action.writes and self.host.link.standing is not Standing.LIVE:
            return Verdict(False, "the server is not connected; what you see is stale")
        return specific

    def specific(self, action: Action) -> Verdict:  # noqa: ARG002 - screens that override it need it
        """What this screen says of an action, apart from what holds for all of them."""
        return YES

    def can_go_back(self) -> bool:
        """Whether there is something to put away: this screen, a filter, marks."""
        return len(self.host.screen_stack) > 1

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """A field that has the focus gets every character."""
        if action == "press" and parameters[:1] in [(key,) for key in PROMPTS]:
            return not isinstance(self.focused, Input | TextArea)
        return super().check_action(action, parameters)

    def action_press(self, key: str) -> None:
        """Do what a key does here now: where several actions share it, the one that applies."""
        actions = [BY_ID[each] for each in (*self.OFFERS, *EVERYWHERE) if BY_ID[each].key == key]
        shown = [action for action in actions if not self.verdict(action).hidden]
        self.perform((shown or actions)[0].id)

    def perform(self, name: str) -> None:
        """Do an action of the table, or say why not."""
        action = BY_ID[name]
        verdict = self.verdict(action)
        if verdict.hidden and action.writes and self.host.read_only:
            self.host.say(f"{action.label}: not in a read-only program; start it without --read-only", wrong=True)
        elif verdict.hidden:
            return
        elif not verdict.allowed:
            self.host.say(f"{action.label}: {verdict.why}", wrong=True)
        else:
            method = getattr(self, f"do_{name.replace('-', '_')}", None)
            if method is not None:
                method()
            else:
                self.host.do(name)

    def order(self, *orders: Order) -> None:
        self.host.feed.order(self, *orders)

    def on_outcome(self, message: Outcome) -> None:
        message.stop()
        self.host.tell(message)
        self.finished(message)

    def finished(self, message: Outcome) -> None:
        """An order of this screen has ended; the person has been told."""

    # ---- the prompt ------------------------------------------------------------------------------------------------

    @property
    def prompt(self) -> Prompt:
        return self.query_one(Prompt)

    def on_prompt_typed(self, message: Prompt.Typed) -> None:
        message.stop()
        if message.kind == "jump":
            self.focus_body()
            self.host.jump(message.text)
            return
        if message.done:
            self.focus_body()
        self.filtered(message.text)

    def on_prompt_left(self, message: Prompt.Left) -> None:
        message.stop()
        self.focus_body()
        if message.kind == "filter":
            self.filtered(message.before)

    def filtered(self, text: str) -> None:
        """Show what matches this filter."""

    def focus_body(self) -> None:
        """Where the focus is when no prompt is open."""
        for widget in self.query("#body Lined"):
            if widget.display and widget.focusable:
                self.set_focus(widget)
                return
