"""The command palette: the actions of the screen by their words, and the themes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider

from tui.actions import BY_ID, EVERYWHERE, shown_key
from tui.screens.base import Framed

if TYPE_CHECKING:
    from tui.app import KeysteadApp


class Commands(Provider):
    """What can be done here, and what cannot with its reason."""

    def _commands(self) -> Iterator[tuple[str, str, partial[None]]]:
        screen = self.screen
        if isinstance(screen, Framed):
            for each in dict.fromkeys((*screen.OFFERS, *EVERYWHERE)):
                action, verdict = BY_ID[each], screen.verdict(BY_ID[each])
                if verdict.hidden:
                    continue
                says = action.says if verdict.allowed else f"Not now: {verdict.why}"
                yield f"{screen.label(action)}  ({shown_key(action)})", says, partial(screen.perform, each)
        app = cast("KeysteadApp", self.app)
        for name in app.available_themes:
            yield f"theme {name}", "Colours of this program.", partial(setattr, app, "theme", name)

    async def discover(self) -> Hits:
        for title, says, run in self._commands():
            yield DiscoveryHit(title, run, help=says)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for title, says, run in self._commands():
            score = max(matcher.match(title), matcher.match(says) / 2)
            if score > 0:
                yield Hit(score, matcher.highlight(title), run, text=title, help=says)
