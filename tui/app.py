"""The terminal UI: sections as modes, one feed, one table of actions.

Who calls it: ``keystead tui`` through :mod:`tui.run`, and tests. Guarantees: no widget waits for the server (the feed's
workers do), so keys are answered while a request is on its way; what was shown stays when the server goes away.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

import msgspec
from textual.app import App
from textual.binding import Binding
from textual.screen import Screen

from controlplane.client import Client
from controlplane.clock import Clock
from controlplane.errors import InvalidInput, KeysteadError
from controlplane.report import Line, printable, probe_lines
from controlplane.schema.browse import KeyRows, ObjectRows
from controlplane.schema.keys import Origin
from controlplane.schema.meta import Kind
from controlplane.schema.probes import ProbeReport
from tui.actions import SECTIONS
from tui.completion import Completion
from tui.feed.feed import Feed
from tui.feed.messages import Link, Outcome, Standing
from tui.feed.orders import ProbeStore
from tui.feed.questions import Glance
from tui.jump import KINDS, Jump, parse_jump, places
from tui.palette import Commands
from tui.screens.audit import AuditScreen
from tui.screens.base import Framed
from tui.screens.deletions import DeletionsScreen
from tui.screens.dialogs import TextDialog
from tui.screens.help import HelpScreen
from tui.screens.importing import Draft, ImportScreen
from tui.screens.imports import ImportsScreen
from tui.screens.keys import KeysScreen
from tui.screens.objects import PrincipalsScreen, ProxiesScreen
from tui.screens.oneobject import ObjectScreen
from tui.screens.overview import OverviewScreen
from tui.screens.plans import PlansScreen
from tui.screens.stores import StoresScreen
from tui.telling import told
from tui.themes import DARK, THEMES

HISTORY: Final = 50
MOST_KNOWN: Final = 2_000
WORDS: Final = {Kind.KEY: "key", Kind.KEY_STORE: "store", Kind.PRINCIPAL: "principal", Kind.XKS_PROXY: "proxy"}


class Place(msgspec.Struct, frozen=True):
    """Where one can come back to."""

    section: str
    filter: str | None = None
    kind: Kind | None = None
    name: str | None = None


class KeysteadApp(App[None]):
    """See the module. ``connect`` makes the client of the server at ``url``."""

    TITLE = "Keystead"
    CSS_PATH = Path(__file__).with_name("app.tcss")
    BINDINGS: ClassVar[list[Any]] = [Binding("ctrl+q", "quit", show=False, priority=True)]
    COMMANDS = {Commands}  # noqa: RUF012 - as Textual has it
    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = {
        "overview": OverviewScreen,
        "keys": KeysScreen,
        "stores": StoresScreen,
        "imports": ImportsScreen,
        "deletions": DeletionsScreen,
        "plans": PlansScreen,
        "audit": AuditScreen,
        "principals": PrincipalsScreen,
        "proxies": ProxiesScreen,
    }
    DEFAULT_MODE = "overview"

    def __init__(
        self,
        connect: Callable[[], Client],
        url: str,
        *,
        read_only: bool = False,
        clock: Clock | None = None,
        theme: str = DARK.name,
    ) -> None:
        super().__init__()
        self.read_only = read_only
        self.address = urlsplit(url).netloc or url
        self.feed = Feed(self, connect, clock or Clock())
        self._earlier: list[Place] = []
        self._later: list[Place] = []
        self.probing: set[str] = set()
        """Key stores whose probe was asked for and has not ended."""
        self._drafts: dict[str, Draft] = {}
        self._known: dict[tuple[str, str], None] = {}
        """Objects that were on a screen, newest first: the word for their section, and their name."""
        for each in THEMES:
            self.register_theme(each)
        self.theme = theme
        self.animation_level = "none"  # a terminal may be far away

    def on_mount(self) -> None:
        self.feed.start()

    # ---- what screens read -----------------------------------------------------------------------------------------

    @property
    def link(self) -> Link:
        return self.feed.link

    def now(self) -> datetime:
        """The server's time."""
        return self.feed.now()

    def on_link_changed(self) -> None:
        if isinstance(self.screen, Framed):
            self.screen.update_frame()

    # ---- telling ---------------------------------------------------------------------------------------------------

    def say(self, text: str, *, wrong: bool = False, bad: bool = False) -> None:
        """A sentence that goes away by itself."""
        severity = "error" if bad else "warning" if wrong else "information"
        self.notify(printable(text), severity=severity, timeout=8 if wrong or bad else 5, markup=False)  # type: ignore[arg-type]

    def tell(self, outcome: Outcome) -> None:
        """How an order ended."""
        if (said := told(outcome, self.now())) is not None:
            text, bad = said
            self.say(text, bad=bad)

    # ---- going -----------------------------------------------------------------------------------------------------

    def do(self, name: str) -> None:
        """An action that is the same on every screen."""
        if name.startswith("go-"):
            self.go(name.removeprefix("go-"))
            return
        {
            "jump": self._open_jump,
            "back": self._back,
            "earlier": self._go_earlier,
            "later": self._go_later,
            "last": self._go_last,
            "help": self._help,
            "palette": self.action_command_palette,
            "theme": self._next_theme,
            "quit": self.exit,
        }[name]()

    def go(self, section: str, filter: str | None = None, name: str | None = None) -> None:
        """Show a section, with a filter, or one object of it."""
        self._remember()
        self._show(Place(section, filter, KINDS.get(section) if name else None, name))

    def open(self, kind: Kind, name: str, view: str = "describe") -> None:
        """Show one object on top of where we are."""
        self._remember()
        self.push_screen(ObjectScreen(kind, name, view))

    def open_import(self, name: str) -> None:
        """Import material into a key: where it was left, or from its beginning."""
        self._remember()
        draft = self._drafts.setdefault(name, Draft(f"{name}.import"))
        self.push_screen(ImportScreen(name, draft))

    def probe(self, name: str, external_key: str | None) -> None:
        """Have a key store probed. Its report comes wherever the person is by then."""
        self.probing.add(name)
        self.say(f"Key store {name} is being probed…")
        self.feed.order(self, ProbeStore(name, external_key))

    def on_outcome(self, message: Outcome) -> None:
        """Of an order that belongs to no screen: a probe."""
        match message:
            case Outcome(order=ProbeStore(name=name), value=ProbeReport() as report):
                self.probing.discard(name)
                *steps, sums = probe_lines(report)
                if isinstance(self.screen, Framed):
                    self.push_screen(TextDialog(f"Probe of key store {name}", [sums, Line(""), *steps]))
                else:  # something is being asked or typed
                    self.say(sums.text, bad=not report.passed)
            case Outcome(order=ProbeStore(name=name), error=KeysteadError() as error):
                self.probing.discard(name)
                self.say(f"Key store {name} was not probed: {error.message}", bad=True)

    def forget_import(self, name: str) -> None:
        """The import is complete: the next one of this key begins anew."""
        self._drafts.pop(name, None)

    def jump(self, text: str) -> None:
        """Go where a jump says. Raises nothing: what is wrong was told while it was typed."""
        try:
            wanted: Jump = parse_jump(text)
        except InvalidInput as error:
            self.say(error.message, wrong=True)
            return
        if wanted.command:
            self.do(wanted.command)
        elif wanted.section == "imports" and wanted.name is not None:
            self.go("imports")
            base = self.screen_stack[0]
            if isinstance(base, KeysScreen):
                base.choose(wanted.name)  # so that leaving the wizard leads to this key, and i to where it was left
            self.open_import(wanted.name)
        else:
            self.go(wanted.section, wanted.filter, wanted.name)

    def _show(self, place: Place) -> None:
        if place.section != self.current_mode:
            self.switch_mode(place.section)
        while len(self.screen_stack) > 1:
            self.pop_screen()
        base = self.screen_stack[0]
        if place.filter is not None and isinstance(base, Framed):
            base.filtered(place.filter)
        if place.kind is not None and place.name is not None:
            self.push_screen(ObjectScreen(place.kind, place.name))

    def _place(self) -> Place:
        base, top = self.screen_stack[0], self.screen
        filter_text = getattr(base, "filter", None)
        if isinstance(top, ObjectScreen):
            return Place(self.current_mode, filter_text, top.kind, top.object_name)
        return Place(self.current_mode, filter_text)

    def _remember(self) -> None:
        self._earlier = [*self._earlier, self._place()][-HISTORY:]
        self._later = []

    def _go_earlier(self) -> None:
        if not self._earlier:
            self.say("there is nothing earlier")
            return
        self._later.append(self._place())
        self._show(self._earlier.pop())

    def _go_later(self) -> None:
        if not self._later:
            self.say("there is nothing later")
            return
        self._earlier.append(self._place())
        self._show(self._later.pop())

    def _go_last(self) -> None:
        if self._earlier:
            here, there = self._place(), self._earlier.pop()
            self._earlier.append(here)
            self._show(there)

    def _back(self) -> None:
        if len(self.screen_stack) > 1:
            self.pop_screen()

    def _help(self) -> None:
        if isinstance(self.screen, Framed):
            self.push_screen(HelpScreen(self.screen))

    def _open_jump(self) -> None:
        screen = self.screen
        if isinstance(screen, Framed):
            names = [*places(), *(f"{word} {name}" for word, name in self._known)]
            screen.prompt.open(
                "jump",
                ":",
                "",
                "a section, @store, /filter, or a section and a name: key payments-data",
                check=parse_jump,
                suggester=Completion(names, self.feed.find_keys),
            )

    def learn(self, value: object) -> None:
        """Remember the names in an answer, so that the jump prompt can complete them."""
        match value:
            case KeyRows(items=rows):
                found = [("key", row.name) for row in rows]
                found += [("import", row.name) for row in rows if row.origin is Origin.EXTERNAL]
            case ObjectRows(items=items):
                found = [(WORDS[item.kind], item.metadata.name) for item in items]
            case Glance(stores=stores):
                found = [(WORDS[Kind.KEY_STORE], store.metadata.name) for store in stores]
            case _:
                return
        self._known = dict.fromkeys([*found, *self._known][:MOST_KNOWN])

    def _next_theme(self) -> None:
        names = [theme.name for theme in THEMES]
        at = names.index(self.theme) if self.theme in names else -1
        self.theme = names[(at + 1) % len(names)]
        self.say(f"theme {self.theme}")


__all__ = ["SECTIONS", "KeysteadApp", "Standing"]
