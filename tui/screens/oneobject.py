"""One object: described, as YAML, what happened to it. Actions work on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

from textual.widget import Widget

from controlplane.report import Line, Style, describe_lines, yaml_lines
from controlplane.schema.meta import Key, KeyStore, Kind
from tui.actions import KEY, LOOK, Action
from tui.cards import event_lines, more_lines
from tui.feed.messages import Answer, Trouble
from tui.feed.questions import Detail, Gone, OneObject
from tui.screens.acting import Subject, subject_of
from tui.screens.base import HIDDEN, YES, Verdict
from tui.screens.keyactions import KeyActions, subject_of_key
from tui.screens.storeactions import STORE, StoreActions
from tui.widgets.lines import Lines

NOUNS: Final = {
    Kind.KEY: "keys",
    Kind.KEY_STORE: "key stores",
    Kind.PRINCIPAL: "principals",
    Kind.XKS_PROXY: "XKS proxies",
}


class ObjectScreen(KeyActions, StoreActions):
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
        return super().specific(action)

    def detail(self) -> Detail | None:
        return self._detail

    def subjects(self) -> Sequence[Subject]:
        item = self._detail.item if self._detail is not None and not self.gone else None
        if item is None:
            return []
        return [subject_of_key(item) if isinstance(item, Key) else subject_of(item)]

    def stores(self) -> Sequence[KeyStore]:
        item = self._detail.item if self._detail is not None and not self.gone else None
        return [item] if isinstance(item, KeyStore) else []
