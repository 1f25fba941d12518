"""Dialogs: they ask one thing and answer with it, or with None. The focus of a dangerous one is on Cancel."""

from __future__ import annotations

from typing import ClassVar, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, TextArea

from controlplane.report import Line, Style
from tui.widgets.lines import Lines

T = TypeVar("T")

MIN_WINDOW, MAX_WINDOW = 7, 30
"""Days of the waiting period; the server decides."""


class Dialog(ModalScreen[T | None]):
    """Base: Escape answers None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "Cancel", show=False)]

    def action_cancel(self) -> None:
        self.dismiss(None)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        if event.button.id == "cancel":
            self.dismiss(None)
        else:
            self.confirmed()

    def confirmed(self) -> None:
        """The other button was pressed."""


class ConfirmDialog(Dialog[bool]):
    """Yes or no to something that has consequences."""

    AUTO_FOCUS = "#cancel"

    def __init__(self, title: str, lines: list[Line], yes: str) -> None:
        super().__init__()
        self._title, self._lines, self._yes = title, lines, yes

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Label(self._title, classes="dialog-title", markup=False)
            for line in self._lines:
                yield Label(line.text, classes=f"say--{line.style.value}", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Cancel", id="cancel", variant="primary")
                yield Button(self._yes, id="yes", variant="error")

    def confirmed(self) -> None:
        self.dismiss(True)


class ScheduleDialog(Dialog[int]):
    """Schedule a deletion: its alias has to be typed. Answers the window in days."""

    AUTO_FOCUS = "#cancel"

    def __init__(self, name: str, aliases: tuple[str, ...], window_days: int) -> None:
        super().__init__()
        self._name, self._window = name, window_days
        self._word = aliases[0] if aliases else name
        self._what = "alias" if aliases else "name"

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Label(f"Schedule key {self._name} for deletion", classes="dialog-title", markup=False)
            yield Label(
                "From now on every use is refused. When the window has passed, the key and all its material are "
                "destroyed: what it encrypted cannot be read any more, by anyone."
            )
            yield Label("Until then you can cancel: Deletions (5), then u.", classes="say--good")
            yield Label(f"Type its {self._what} to go on:  {self._word}", classes="field", markup=False)
            yield Input(id="word", placeholder="type it here")
            yield Label(f"Window in days, {MIN_WINDOW} to {MAX_WINDOW}:", classes="field")
            yield Input(str(self._window), id="days", type="integer", max_length=2)
            yield Label("", id="wrong", classes="say--bad", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Cancel", id="cancel", variant="primary")
                yield Button("Schedule deletion", id="yes", variant="error", disabled=True)
            yield Label("tab moves between the fields, esc leaves", classes="say--muted")

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.query_one("#yes", Button).disabled = self._wrong() is not None
        typed = self.query_one("#word", Input).value
        self.query_one("#wrong", Label).update((self._wrong() or "") if typed else "")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if self._wrong() is None:
            self.query_one("#yes", Button).focus()

    def _wrong(self) -> str | None:
        if self.query_one("#word", Input).value.strip().removeprefix("alias/") != self._word:
            return f"this is not its {self._what}"
        days = self.query_one("#days", Input).value
        if not days.isdigit() or not MIN_WINDOW <= int(days) <= MAX_WINDOW:
            return f"the window is {MIN_WINDOW} to {MAX_WINDOW} days"
        return None

    def confirmed(self) -> None:
        if self._wrong() is None:
            self.dismiss(int(self.query_one("#days", Input).value))


class ProbeDialog(Dialog[str]):
    """Try a key store. Answers the external key that may be used, or an empty text."""

    AUTO_FOCUS = "#cancel"

    def __init__(self, name: str, *, external: bool) -> None:
        super().__init__()
        self._name, self._external = name, external

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Label(f"Probe key store {self._name}", classes="dialog-title", markup=False)
            if self._external:
                yield Label("A message of the probe is encrypted and decrypted with an external key that you name.")
                yield Label("External key; without one only its health is looked at:", classes="field")
                yield Input(id="key", placeholder="its id", max_length=128)
            else:
                yield Label("A few keys are made in it, used, and destroyed at once.")
            yield Label("No key of anybody is used or changed.", classes="say--good")
            with Horizontal(classes="buttons"):
                yield Button("Cancel", id="cancel", variant="primary")
                yield Button("Probe", id="yes")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.query_one("#yes", Button).focus()

    def confirmed(self) -> None:
        self.dismiss(self.query_one("#key", Input).value.strip() if self._external else "")


class DescriptionDialog(Dialog[str]):
    """Edit a description."""

    AUTO_FOCUS = "#text"

    def __init__(self, name: str, text: str) -> None:
        super().__init__()
        self._name, self._text = name, text

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Label(f"Description of key {self._name}", classes="dialog-title", markup=False)
            yield Input(self._text, id="text", max_length=8192)
            with Horizontal(classes="buttons"):
                yield Button("Save", id="yes", variant="primary")
                yield Button("Cancel", id="cancel")
            yield Label("enter saves, esc leaves", classes="say--muted")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.confirmed()

    def confirmed(self) -> None:
        self.dismiss(self.query_one("#text", Input).value)


class TagsDialog(Dialog[dict[str, str]]):
    """Edit tags, one ``name=value`` a line."""

    AUTO_FOCUS = "#tags"

    def __init__(self, name: str, tags: dict[str, str]) -> None:
        super().__init__()
        self._name, self._tags = name, tags

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Label(f"Tags of key {self._name}", classes="dialog-title", markup=False)
            yield Label("One name=value a line.", classes="say--muted")
            text = "\n".join(f"{name}={value}" for name, value in self._tags.items())
            yield TextArea(text, id="tags", tab_behavior="focus")
            yield Label("", id="wrong", classes="say--bad", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Save", id="yes", variant="primary")
                yield Button("Cancel", id="cancel")
            yield Label("tab moves to the buttons, esc leaves", classes="say--muted")

    def confirmed(self) -> None:
        tags: dict[str, str] = {}
        for number, line in enumerate(self.query_one("#tags", TextArea).text.splitlines(), 1):
            name, equals, value = line.partition("=")
            if not line.strip():
                continue
            if not equals or not name.strip() or name.strip() in tags:
                what = "stands twice" if name.strip() in tags else "is not name=value"
                self.query_one("#wrong", Label).update(f"line {number} {what}")
                return
            tags[name.strip()] = value.strip()
        self.dismiss(tags)


class TextDialog(Dialog[None]):
    """A text to read."""

    def __init__(self, title: str, lines: list[Line]) -> None:
        super().__init__()
        self._title, self._lines = title, lines

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog dialog-tall"):
            yield Label(self._title, classes="dialog-title", markup=False)
            yield Lines(self._lines)
            yield Label("arrows scroll, esc leaves", classes="say--muted")


__all__ = [
    "ConfirmDialog",
    "DescriptionDialog",
    "Dialog",
    "ProbeDialog",
    "ScheduleDialog",
    "Style",
    "TagsDialog",
    "TextDialog",
]
