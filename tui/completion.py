"""Completion of the jump prompt: sections, objects that were on a screen, and keys that the server finds.

Who calls it: the app makes one for each time the prompt opens. What is asked of the server goes through the feed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from textual.suggester import Suggester

FindKeys = Callable[[str], Awaitable[Sequence[str]]]
"""Names of keys that have this in them. Answers nothing where the server cannot be asked; never raises."""

KEY_WORDS = ("keys", "key", "k", "imports", "import", "i")


class Completion(Suggester):
    """Suggests the first place that begins with what is typed."""

    def __init__(self, places: Sequence[str], find_keys: FindKeys) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._places, self._find_keys = places, find_keys

    async def get_suggestion(self, value: str) -> str | None:
        """The whole text that is suggested; what is typed is its beginning."""
        low = value.lower()
        for place in self._places:
            if place.lower().startswith(low):
                return value + place[len(value) :]
        word, space, begun = value.partition(" ")
        if not space or not begun or " " in begun or word.lower() not in KEY_WORDS or begun[0] in "@/!-":
            return None
        names = await self._find_keys(begun)
        return next((f"{word} {name}" for name in names if name.startswith(begun)), None)
