"""Help: what this screen shows, what each key does here now and why not, how the usual things are done.

It is read from the table of actions and from the screen it was asked on, so it cannot say what is not so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Label

from controlplane.report import Line, Style
from tui import words
from tui.actions import BY_ID, EVERYWHERE, SECTIONS, Action, shown_key
from tui.screens.base import Framed
from tui.widgets.lines import Lines

TASKS: Final = (
    ("Cancel a deletion", "5 (Deletions), choose the key with the arrows, u. It is disabled then: x enables it."),
    ("Import a key's material", "4 (Imports), choose the key, i, then continue step by step. tab reaches the buttons."),
    ("Apply spec files", "6 (Plans), type their path, enter; read the plan; a applies it."),
    ("Find a key", "2 (Keys), / and a part of its name, alias or description."),
    ("Stop a key from being used", "2 (Keys), choose it, x. x again lets it be used."),
    ("Delete a key", "2 (Keys), choose it, ctrl+d, type its alias. It waits 7 to 30 days and can be kept."),
    ("See why something is wrong", "1 (Overview), choose it under Needs a person, enter; then l for its events."),
)
FILTERS: Final = (
    ("pay", "the name, an alias, the key id or the description contains it"),
    ("!old", "it does not; ! turns every term round"),
    ("-l team=web", "it has this tag"),
    ("-f pymt", "the name has these letters in this order"),
    ("@hsm-a", "it lives in this key store"),
    ("state:pending", "its state begins like this"),
    ("condition:store", "why it is not as declared begins like this: StoreUnreachable"),
    ("is:unhealthy", "it is not as declared, or its key store is away"),
)
JUMPS: Final = (
    (":keys @hsm-a /pay", "the keys of a key store that match a filter"),
    (":key payments-data", "one key"),
    (":stores", "a section; the first letters are enough"),
    (":principals", "who may call the server"),
)
KEY_WIDTH: Final = 6


class HelpScreen(ModalScreen[None]):
    """See the module."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q", "dismiss", "Close", show=False),
    ]

    def __init__(self, about: Framed) -> None:
        super().__init__()
        self._about = about

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog dialog-tall"):
            yield Label(f"Help: {self._title()}", classes="dialog-title", markup=False)
            yield Lines(help_lines(self._about), id="help")
            yield Label("arrows and page keys scroll, esc leaves", classes="say--muted")

    def _title(self) -> str:
        return self._about.crumbs()[0].strip()


def help_lines(screen: Framed) -> Iterator[Line]:
    """The whole text for the screen it was asked on."""
    for text in screen.about:
        yield Line(text)
    yield Line("")
    yield Line("The usual things", Style.HEADING)
    for task, how in TASKS:
        yield Line(f"  {task}:", Style.PLAIN)
        yield Line(f"      {how}", Style.MUTED)
    yield Line("")
    yield Line("Keys that work here", Style.HEADING)
    for each in screen.OFFERS:
        yield from _action_lines(BY_ID[each], screen)
    yield Line("")
    yield Line("Keys that work everywhere", Style.HEADING)
    for section in SECTIONS:
        yield Line(f"  {section.key:<{KEY_WIDTH}} {section.title}: {section.says}")
    for each in EVERYWHERE:
        if not each.startswith("go-"):
            yield from _action_lines(BY_ID[each], screen)
    yield Line(f"  {'arrows':<{KEY_WIDTH}} Move. j k g G work, too, and page up and down, home, end, tab, the mouse.")
    for title, pairs in (("What / finds: all terms have to hold", FILTERS), ("Where : goes", JUMPS)):
        yield Line("")
        yield Line(title, Style.HEADING)
        for term, meaning in pairs:
            yield Line(f"  {term:<19} {meaning}")
    yield Line("")
    yield Line("Symbols", Style.HEADING)
    for word, style in (*words.STATES.values(), *words.CONNECTIONS.values()):
        yield Line(f"  {word}", style)
    yield Line("")
    yield Line("Each action has a command that does the same; it stands in brackets.", Style.MUTED)


def _action_lines(action: Action, screen: Framed) -> Iterator[Line]:
    verdict = screen.verdict(action)
    twin = f"  [{'; '.join(action.cli)}]" if action.cli else ""
    key = shown_key(action)
    if verdict.hidden and action.writes and screen.host.read_only:
        yield Line(f"  {key:<{KEY_WIDTH}} {action.says}  Not now: this program is read-only.", Style.MUTED)
    elif not verdict.allowed:
        why = verdict.why or "it does not apply to what is under the cursor"
        yield Line(f"  {key:<{KEY_WIDTH}} {action.says}  Not now: {why}.".replace("..", "."), Style.MUTED)
    else:
        yield Line(f"  {key:<{KEY_WIDTH}} {action.says}{twin}")
