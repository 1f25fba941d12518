"""The frame around every section: the line on top, the sections, the banner when something is amiss, the keys below.

They read the app and the screen they are on, and draw one line each.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from textual.content import Content
from textual.events import Click
from textual.widget import Widget

from controlplane.report import moment, printable
from tui.actions import ALWAYS_SHOWN, BY_ID, SECTIONS, shown_key
from tui.feed.messages import Standing

if TYPE_CHECKING:
    from tui.app import KeysteadApp
    from tui.screens.base import Framed

STANDINGS = {
    Standing.CONNECTING: ("◌ connecting", "$warning"),
    Standing.LIVE: ("● live", "$success"),
    Standing.LOST: ("! stale", "$error bold"),
    Standing.REFUSED: ("✗ no access", "$error bold"),
}

Part = str | tuple[str, str]


class _Line(Widget):
    @property
    def host(self) -> KeysteadApp:
        return cast("KeysteadApp", self.app)

    @property
    def framed(self) -> Framed:
        return cast("Framed", self.screen)

    def spread(self, left: list[Part], right: list[Part]) -> Content:
        """Left and right of one line; what does not fit on the left is cut off."""
        start, end = Content.assemble(*left), Content.assemble(*right)
        room = self.size.width - end.cell_length
        if start.cell_length > room:
            start = start.truncate(max(0, room), ellipsis=True)
        return Content.assemble(start, " " * max(0, room - start.cell_length), end)


class TopLine(_Line):
    """Who talks to which server as whom, whether it may write, the server's time, how the connection stands."""

    def render(self) -> Content:
        link = self.host.link
        access = link.access.principal.rpartition("/")[2] if link.access is not None else "?"
        mode: Part = ("read-only", "$warning bold") if self.host.read_only else ("read-write", "$foreground")
        muted = "$muted"
        left: list[Part] = [
            (" Keystead ", "$primary bold"),
            f" {printable(self.host.address)}",
            (" as ", muted),
            printable(access),
            (" · ", muted),
            mode,
        ]
        word, style = STANDINGS[link.standing]
        right: list[Part] = [f"{self.host.now():%H:%M:%S} UTC  ", (word, style), " "]
        return self.spread(left, right)


class SectionBar(_Line):
    """The sections with their number keys; the one that is shown stands out."""

    def render(self) -> Content:
        parts: list[Part] = [" "]
        for section in SECTIONS:
            if section.id == self.host.current_mode:
                parts += [(f"▸{section.key} {section.title}", "$primary bold"), " "]
            else:
                parts += [(f" {section.key}", "$muted"), f" {section.title} "]
        return self.spread(parts, [])

    def on_click(self, event: Click) -> None:
        at = 1
        for section in SECTIONS:
            width = len(section.title) + 4
            if at <= event.x < at + width:
                self.host.go(section.id)
                return
            at += width


class Crumbs(_Line):
    """Where this is, how many rows of how many, and by what they are filtered and sorted."""

    def render(self) -> Content:
        left, right = self.framed.crumbs()
        return self.spread([(printable(left), "$foreground")], [(f"{printable(right)} ", "$muted")])


class Banner(_Line):
    """Shown while the server is not there, or a question was not answered: since when, why, and what happens now."""

    def render(self) -> Content:
        return Content(printable(self.text()))

    def text(self) -> str:
        link = self.host.link
        retry = ""
        if link.retry_at is not None:
            seconds = max(0, round((link.retry_at - self.host.now()).total_seconds()))
            retry = f" Trying again in {seconds} s." if seconds else " Trying again now."
        if link.standing is Standing.LOST:
            return f"! Stale since {moment(link.since)}: {link.why}.{retry} What you see stays."
        if link.standing is Standing.CONNECTING and link.why:
            return f"◌ Not connected yet: {link.why}.{retry}"
        if link.standing is Standing.REFUSED:
            return f"✗ {link.why}{retry and '.'}{retry}"
        return f"! {self.framed.trouble}" if self.framed.trouble else ""

    def update(self) -> None:
        self.set_class(bool(self.text()), "-shown")
        self.refresh(layout=True)


class KeyLine(_Line):
    """The keys that work now. What would be refused is grey and in brackets; pressing it says why, and help does."""

    def render(self) -> Content:
        right = self._parts(ALWAYS_SHOWN, self.size.width)
        room = self.size.width - Content.assemble(*right).cell_length - 1
        left = self._parts([each for each in self.framed.offered() if each not in ALWAYS_SHOWN], room)
        return self.spread([" ", *left], right)

    def _parts(self, ids: Iterable[str], room: int) -> list[Part]:
        parts: list[Part] = []
        for each in ids:
            if each not in self.framed.offered():
                continue
            action = BY_ID[each]
            verdict = self.framed.verdict(action)
            key, label = shown_key(action), self.framed.label(action)
            needed = len(key) + len(label) + (3 if verdict.allowed else 4)
            if verdict.hidden:
                continue
            if needed > room:
                break
            room -= needed
            parts += [(key, "$accent bold"), f" {label}  "] if verdict.allowed else [(f"({key} {label}) ", "$muted")]
        return parts
