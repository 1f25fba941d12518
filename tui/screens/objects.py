"""Key stores and principals, which are few, and the screen of one object: description, YAML, events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import ClassVar, Final

from textual.widget import Widget

from controlplane.errors import InvalidInput
from controlplane.report import Line, Style, age, describe_lines, shown_condition, yaml_lines
from controlplane.schema.filters import TermKind, parse_filter
from controlplane.schema.keystores import STANDARD, ConnectionState
from controlplane.schema.meta import AnyObject, Key, KeyStore, Kind, Principal
from tui import words
from tui.actions import KEY, LOOK, Action
from tui.cards import card, event_lines, more_lines
from tui.feed.messages import Answer, Trouble
from tui.feed.orders import Edit
from tui.feed.questions import Detail, Gone, ObjectList, Objects, OneObject
from tui.screens.base import HIDDEN, YES, Framed, Verdict
from tui.screens.dialogs import ConfirmDialog
from tui.screens.keyactions import KeyActions, Subject, subject_of_key
from tui.widgets.lines import Lines
from tui.widgets.table import Column, Row, Table

STORE: Final = ("connect", "disconnect")
NOUNS: Final = {
    Kind.KEY: "keys",
    Kind.KEY_STORE: "key stores",
    Kind.PRINCIPAL: "principals",
    Kind.XKS_PROXY: "XKS proxies",
}


class ObjectsScreen(Framed):
    """A list of objects of one kind, all of them here, filtered here."""

    kind: ClassVar[Kind]
    noun: ClassVar[str]

    @property
    def nouns(self) -> str:
        return NOUNS[self.kind]

    columns: ClassVar[tuple[Column, ...]]

    def __init__(self) -> None:
        super().__init__()
        self.filter = ""
        self.objects: Objects | None = None
        self._detail: Detail | None = None

    def body(self) -> Iterable[Widget]:
        table = Table(self.columns, id="objects")
        table.notice(Line(f"Reading {self.nouns}…", Style.MUTED))
        yield table
        yield Lines(id="pane", classes="pane")

    @property
    def table(self) -> Table:
        return self.query_one("#objects", Table)

    def crumbs(self) -> tuple[str, str]:
        where = f" {self.nouns}{f'  /{self.filter}' if self.filter else ''}"
        if self.objects is None:
            return where, ""
        total, shown = len(self.objects.items), len(self.table.rows)
        count = f"{shown:,} of {total:,}" if self.filter else f"{total:,}"
        more = " and more" if self.objects.more else ""
        return where, f"{count} {self.noun if total == 1 else self.nouns}{more}"

    def ask(self) -> None:
        self.watch_question(ObjectList(self.kind))
        self._ask_detail()

    def answered(self, message: Answer) -> None:
        match message.value:
            case Objects() as objects:
                self.objects = objects
                self._show_rows()
            case Detail() as detail:
                self._detail = detail
                self.query_one("#pane", Lines).show(card(detail, self.host.now()))

    def failed(self, message: Trouble) -> None:
        if message.slot == "" and self.objects is None:
            lines = [Line(f"The {self.nouns} could not be read.", Style.WARNING), Line(message.error.message)]
            self.table.notice(*lines)

    def _show_rows(self) -> None:
        if self.objects is None:
            return
        now = self.host.now()
        items = [item for item in self.objects.items if self._matches(item)]
        if items:
            self.table.show([self.row(item, now) for item in items])
        else:
            self.table.notice(
                Line(f"No {self.noun} matches {self.filter}" if self.filter else f"There is no {self.noun}.")
            )

    def _matches(self, item: AnyObject) -> bool:
        for term in parse_filter(self.filter):
            text = f"{item.metadata.name} {getattr(item.spec, 'type', '')}".lower()
            if term.kind is TermKind.TEXT:
                holds = term.value in text
            elif term.kind is TermKind.FUZZY:
                letters = iter(item.metadata.name)
                holds = all(letter in letters for letter in term.value)
            else:
                holds = term.kind is TermKind.UNHEALTHY and shown_condition(item) != "Synced"
            if holds is term.inverse:
                return False
        return True

    def row(self, item: AnyObject, now: datetime) -> Row:
        raise NotImplementedError

    def current(self) -> AnyObject | None:
        name = self.table.current
        items = self.objects.items if self.objects is not None else ()
        return next((item for item in items if item.metadata.name == name), None)

    def on_table_highlighted(self, message: Table.Highlighted) -> None:
        message.stop()
        self._ask_detail()
        self.update_frame()

    def _ask_detail(self) -> None:
        name = self.table.current
        if name is not None and self.is_current:
            self.watch_question(OneObject(self.kind, name), "detail")

    def on_table_chosen(self, message: Table.Chosen) -> None:
        message.stop()
        self.chosen(message.key)

    def chosen(self, name: str) -> None:
        """Enter on a row."""
        self.host.open(self.kind, name)

    def specific(self, action: Action) -> Verdict:
        if action.id in ("open", *LOOK) and self.table.current is None:
            return HIDDEN
        return YES

    def do_describe(self) -> None:
        self._open("describe")

    def do_yaml(self) -> None:
        self._open("yaml")

    def do_events(self) -> None:
        self._open("events")

    def _open(self, view: str) -> None:
        if (name := self.table.current) is not None:
            self.host.open(self.kind, name, view)

    def do_filter(self) -> None:
        self.prompt.open("filter", "/", self.filter, "word  !not  -f fuzzy  is:unhealthy", check=parse_filter)

    def filtered(self, text: str) -> None:
        text = " ".join(text.split())
        try:
            parse_filter(text)
        except InvalidInput as error:
            self.host.say(error.message, wrong=True)
            return
        if text != self.filter:
            self.filter = text
            if self.is_mounted:
                self.table.start_over()
                self._show_rows()
        self.update_frame()

    def do_wide(self) -> None:
        self.table.wide = not self.table.wide

    def can_go_back(self) -> bool:
        return bool(self.filter)

    def do_open(self) -> None:
        self.table.action_choose()

    def do_back(self) -> None:
        self.filtered("")


class StoresScreen(ObjectsScreen):
    """Key stores: connection, what they hold, what is wrong with them."""

    section = "stores"
    kind = Kind.KEY_STORE
    noun = "key store"
    about = (
        "Key stores: where key material lives and is used. Connection is declared; the server keeps it so.",
        "enter shows the keys of a key store, d everything about it, l what happened to its connection.",
        "LATENCY is the median of recent requests and what 99 of 100 stay under; ! from half of the time limit on.",
    )
    OFFERS: ClassVar[tuple[str, ...]] = ("store-keys", *LOOK, *STORE, "filter", "wide")
    columns = (
        Column("NAME", "name", most=32, least=12),
        Column("TYPE", "type", keep=3, least=6),
        Column("CONNECTION", "connection", least=14),
        Column("SINCE", "since", keep=4, right=True),
        Column("KEYS", "keys", keep=2, right=True, least=7),
        Column("HEALTH", "health", keep=5, least=10),
        Column("LATENCY", "latency", keep=6, least=11),
        Column("CERTIFICATE", "certificate", keep=8, least=11),
        Column("OFFERS", "offers", keep=6, most=30),
        Column("CONDITION", "condition", keep=1, most=30),
        Column("MESSAGE", "message", keep=7, most=60, wide=True),
    )

    def row(self, item: AnyObject, now: datetime) -> Row:
        assert isinstance(item, KeyStore)
        assert self.objects is not None
        specs = item.status.key_specs
        ready = next((each for each in item.status.conditions if each.type.value == "Connected"), None)
        since = age(ready.last_transition, now) if ready is not None else "-"
        return Row(
            item.metadata.name,
            (
                (item.metadata.name, Style.PLAIN),
                (item.spec.type, Style.PLAIN),
                words.CONNECTIONS[item.status.connection],
                (since, Style.MUTED),
                (f"{self.objects.keys.get(item.metadata.name, 0):,}", Style.PLAIN),
                words.HEALTH[item.status.health] if item.status.health is not None else ("-", Style.MUTED),
                words.latency(item.status.latency),
                words.certificate(item.status.certificate_days),
                (f"{len(specs)} key specs" if specs else "-", Style.MUTED),
                words.condition(shown_condition(item)),
                (ready.message if ready is not None and ready.message else "-", Style.MUTED),
            ),
        )

    def specific(self, action: Action) -> Verdict:
        store = self.current()
        if action.id == "store-keys" and store is None:
            return HIDDEN
        if action.id not in STORE or not isinstance(store, KeyStore):
            return HIDDEN if action.id in STORE else super().specific(action)
        return store_verdict(action, store)

    def do_connect(self) -> None:
        store = self.current()
        if isinstance(store, KeyStore):
            self.order(connect_order(store))

    def do_disconnect(self) -> None:
        store = self.current()
        if isinstance(store, KeyStore):
            keys = self.objects.keys.get(store.metadata.name, 0) if self.objects is not None else 0
            ask_disconnect(self, store, keys)

    def chosen(self, name: str) -> None:
        self.host.go("keys", f"@{name}")

    def do_store_keys(self) -> None:
        if (name := self.table.current) is not None:
            self.host.go("keys", f"@{name}")


def store_verdict(action: Action, store: KeyStore) -> Verdict:
    """Whether a key store can be connected or disconnected now."""
    if store.metadata.name == STANDARD:
        return Verdict(False, "the key store standard belongs to the server and is always connected")
    if action.id == "connect":
        connected = store.spec.connected and store.status.connection is ConnectionState.CONNECTED
        return HIDDEN if connected else YES
    return YES if store.spec.connected else HIDDEN


def connect_order(store: KeyStore) -> Edit:
    return Edit(Kind.KEY_STORE, store.metadata.name, {"connected": True}, "is declared connected")


def ask_disconnect(screen: Framed, store: KeyStore, keys: int | None) -> None:
    """Ask, and declare it disconnected. ``keys`` None: nobody counted them."""
    name = store.metadata.name
    what = "Its keys cannot" if keys is None else "1 key cannot" if keys == 1 else f"{keys:,} keys cannot"
    lines = [
        Line("No key lives in it." if keys == 0 else f"{what} be used until it is connected again."),
        Line("Nothing in it is changed. c connects it again.", Style.GOOD),
    ]

    def decided(yes: bool | None) -> None:
        if yes:
            screen.order(Edit(Kind.KEY_STORE, name, {"connected": False}, "is declared disconnected"))

    screen.host.push_screen(ConfirmDialog(f"Disconnect key store {name}", lines, "Disconnect"), decided)


class PrincipalsScreen(ObjectsScreen):
    """Who may call the server."""

    section = "principals"
    kind = Kind.PRINCIPAL
    noun = "principal"
    about = ("Users and roles that may call the server. They are declared in files and applied.",)
    OFFERS: ClassVar[tuple[str, ...]] = ("open", *LOOK, "filter", "wide")
    columns = (
        Column("NAME", "name", most=40, least=12),
        Column("TYPE", "type", keep=2),
        Column("ADMINISTRATOR", "administrator"),
        Column("POLICIES", "policies", keep=3, most=40),
        Column("AGE", "age", keep=4, right=True),
        Column("CONDITION", "condition", keep=1),
    )

    def row(self, item: AnyObject, now: datetime) -> Row:
        assert isinstance(item, Principal)
        administrator = ("! yes", Style.WARNING) if item.spec.administrator else ("no", Style.MUTED)
        return Row(
            item.metadata.name,
            (
                (item.metadata.name, Style.PLAIN),
                (item.spec.type, Style.PLAIN),
                administrator,
                (", ".join(item.spec.policies) or "-", Style.MUTED),
                (age(item.metadata.created_at, now), Style.MUTED),
                words.condition(shown_condition(item)),
            ),
        )


class ProxiesScreen(ObjectsScreen):
    """XKS proxies: where keys of this server serve as external keys of another KMS."""

    section = "proxies"
    kind = Kind.XKS_PROXY
    noun = "XKS proxy"
    about = (
        "XKS proxies: keys of this server as external keys of another KMS. They are declared in files and applied.",
    )
    OFFERS: ClassVar[tuple[str, ...]] = ("open", *LOOK, "filter", "wide")
    columns = (
        Column("NAME", "name", most=40, least=12),
        Column("AGE", "age", keep=2, right=True),
        Column("CONDITION", "condition", keep=1, least=20),
    )

    def row(self, item: AnyObject, now: datetime) -> Row:
        return Row(
            item.metadata.name,
            (
                (item.metadata.name, Style.PLAIN),
                (age(item.metadata.created_at, now), Style.MUTED),
                words.condition(shown_condition(item)),
            ),
        )


class ObjectScreen(KeyActions):
    """One object: ``describe``, ``yaml`` or ``events``, as text to scroll through; actions work on it."""

    about = (
        "One object: d describes it, y shows it as YAML, l what happened to it. It is read again when it changes.",
    )
    OFFERS: ClassVar[tuple[str, ...]] = (*LOOK, *KEY, *STORE)

    def __init__(self, kind: Kind, name: str, view: str = "describe") -> None:
        super().__init__()
        self.kind, self.object_name, self.view = kind, name, view
        self.gone = False
        self._detail: Detail | None = None

    def body(self) -> Iterable[Widget]:
        yield Lines([Line("Reading…", Style.MUTED)], id="object")

    def crumbs(self) -> tuple[str, str]:
        noun = NOUNS[self.kind]
        return f" {noun} › {self.object_name} › {self.view}", "destroyed or removed" if self.gone else "esc goes back"

    def ask(self) -> None:
        self.watch_question(OneObject(self.kind, self.object_name))

    def answered(self, message: Answer) -> None:
        match message.value:
            case Detail() as detail:
                self.gone, self._detail = False, detail
                self.object_name = detail.item.metadata.name
                self._show()
            case Gone(message=why):
                self.gone = True
                if self._detail is None:
                    self.query_one(Lines).show([Line(why, Style.WARNING)])

    def failed(self, message: Trouble) -> None:
        if self._detail is None:
            self.query_one(Lines).show([Line(message.error.message, Style.WARNING)])

    def _show(self) -> None:
        detail = self._detail
        if detail is None:
            return
        now = self.host.now()
        lines: Iterable[Line]
        match self.view:
            case "yaml":
                lines = yaml_lines(detail.item)
            case "events":
                lines = event_lines(detail, now)
            case _:
                lines = (*describe_lines(detail.item, now, detail.refused), *more_lines(detail, now))
        self.query_one(Lines).show(lines)

    def _turn(self, view: str) -> None:
        if view != self.view:
            self.view = view
            self.query_one(Lines).scroll_now(0)
            self._show()
            self.update_frame()

    def do_describe(self) -> None:
        self._turn("describe")

    def do_yaml(self) -> None:
        self._turn("yaml")

    def do_events(self) -> None:
        self._turn("events")

    def specific(self, action: Action) -> Verdict:
        if action.id in LOOK:
            return HIDDEN if action.id == self.view else YES
        item = self._detail.item if self._detail is not None and not self.gone else None
        if action.id in KEY:
            return super().specific(action) if isinstance(item, Key) else HIDDEN
        if action.id in STORE:
            return store_verdict(action, item) if isinstance(item, KeyStore) else HIDDEN
        return YES

    def detail(self) -> Detail | None:
        return self._detail

    def subjects(self) -> Sequence[Subject]:
        item = self._detail.item if self._detail is not None and not self.gone else None
        return [subject_of_key(item)] if isinstance(item, Key) else []

    def do_connect(self) -> None:
        if self._detail is not None and isinstance(self._detail.item, KeyStore):
            self.order(connect_order(self._detail.item))

    def do_disconnect(self) -> None:
        if self._detail is not None and isinstance(self._detail.item, KeyStore):
            ask_disconnect(self, self._detail.item, None)
