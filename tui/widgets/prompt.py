"""The prompt at the bottom: ``/`` filters what is shown as it is typed, ``:`` jumps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.suggester import Suggester
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Input, Label

from controlplane.errors import InvalidInput

PAUSE_SECONDS: Final = 0.01
"""After the last key, before a filter is sent: what is pasted, or comes in one burst, is one question. No longer,
because rows are to be there a tenth of a second after a key; a question that is replaced is not waited for."""


class Prompt(Widget):
    """One line to type into, one line that says what can be typed or what is wrong with it."""

    class Typed(Message):
        """What is typed is complete enough to be tried: ``done`` when Enter was pressed."""

        def __init__(self, kind: str, text: str, *, done: bool) -> None:
            super().__init__()
            self.kind, self.text, self.done = kind, text, done

    class Left(Message):
        """Escape was pressed: what was there before ``text`` was typed counts."""

        def __init__(self, kind: str, before: str) -> None:
            super().__init__()
            self.kind, self.before = kind, before

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.kind = ""
        self._before = ""
        self._hint = ""
        self._check: Callable[[str], object] | None = None
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Label("", id="prompt-sign")
            yield Input(id="prompt-input", select_on_focus=False)
        yield Label("", classes="hint", markup=False)

    @property
    def is_open(self) -> bool:
        return self.has_class("-open")

    def open(
        self,
        kind: str,
        sign: str,
        text: str,
        hint: str,
        *,
        check: Callable[[str], object] | None = None,
        suggester: Suggester | None = None,
    ) -> None:
        """``check`` raises :class:`InvalidInput` for text that means nothing; it is told while it is typed."""
        self.kind, self._before, self._hint, self._check = kind, text, hint, check
        self.query_one("#prompt-sign", Label).update(sign)
        field = self.query_one(Input)
        field.suggester = suggester
        with self.prevent(Input.Changed):
            field.value = text
        field.cursor_position = len(text)
        self._say(hint)
        self.add_class("-open")
        self.screen.set_focus(field)  # now: what is typed next is for it

    def close(self) -> None:
        self._stop_timer()
        self.remove_class("-open")

    def key_escape(self) -> None:
        kind, before = self.kind, self._before
        self.close()
        self.post_message(self.Left(kind, before))

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._stop_timer()
        if self._wrong(event.value) is None and self.kind == "filter":
            self._timer = self.set_timer(PAUSE_SECONDS, lambda: self._typed(event.value, done=False))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._stop_timer()
        if self._wrong(event.value) is None:
            self._typed(event.value, done=True)

    def _typed(self, text: str, *, done: bool) -> None:
        kind = self.kind
        if done:
            self.close()
        self.post_message(self.Typed(kind, text, done=done))

    def _wrong(self, text: str) -> str | None:
        if self._check is not None:
            try:
                self._check(text)
            except InvalidInput as error:
                self._say(error.message, wrong=True)
                return error.message
        self._say(self._hint)
        return None

    def _say(self, text: str, *, wrong: bool = False) -> None:
        hint = self.query_one(".hint", Label)
        hint.update(text)
        hint.set_class(wrong, "-wrong")

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
