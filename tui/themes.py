"""Three themes of our own: dark, light, high contrast. Textual's are there too, in the palette.

``NO_COLOR`` is honoured by Textual, which then draws in shades of grey; every state has a word and a symbol besides.
"""

from __future__ import annotations

from typing import Final

from textual.theme import Theme

DARK: Final = Theme(
    name="keystead-dark",
    primary="#5fb3b3",
    secondary="#7a8aa0",
    accent="#e0b45c",
    foreground="#d6dae0",
    background="#12161c",
    surface="#12161c",
    panel="#1b212a",
    success="#7cc27c",
    warning="#e0b45c",
    error="#f07a78",
    dark=True,
    variables={"block-cursor-text-style": "none", "muted": "#8b95a3", "cursor": "#263444"},
)
LIGHT: Final = Theme(
    name="keystead-light",
    primary="#0b6b6b",
    secondary="#51606f",
    accent="#8a5a00",
    foreground="#1c2126",
    background="#fbfbf9",
    surface="#fbfbf9",
    panel="#ecece7",
    success="#1f6f2b",
    warning="#8a5a00",
    error="#b3261e",
    dark=False,
    variables={"muted": "#5d6772", "cursor": "#d3e3e3"},
)
CONTRAST: Final = Theme(
    name="keystead-contrast",
    primary="#00ffff",
    secondary="#ffffff",
    accent="#ffff00",
    foreground="#ffffff",
    background="#000000",
    surface="#000000",
    panel="#000000",
    success="#00ff00",
    warning="#ffff00",
    error="#ff8080",
    dark=True,
    variables={"muted": "#ffffff", "cursor": "#0000c0"},
)
THEMES: Final = (DARK, LIGHT, CONTRAST)
"""In the order in which one follows the other."""
