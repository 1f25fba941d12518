"""The picture of the terminal UI that README shows is made here, and shows what the program shows now.

``KEYSTEAD_UPDATE_GOLDEN=1`` makes it anew.
"""

from __future__ import annotations

import html
import os
import re

from controlplane.client import Client
from tests.harness import ROOT, TOKEN
from tests.tui.canned import Canned
from tests.tui.driving import Person
from tests.tui.test_screens import settled
from tui.app import KeysteadApp

PICTURE = ROOT / "tui" / "picture.svg"
SIZE = (112, 28)
FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
TEXT = re.compile(r"<text [^>]*>(.*?)</text>", re.DOTALL)


async def test_the_picture_in_readme_shows_the_program_as_it_is(canned: Canned) -> None:
    url = "https://keystead.example"
    app = KeysteadApp(lambda: Client(canned.url, TOKEN), url, clock=canned.clock)
    async with app.run_test(size=SIZE) as pilot:
        person = Person(app, pilot)
        await person.sees("● live", "Needs a person: 4", "1,497/min")
        await settled(person, canned)
        # Without the fonts, which it would load from elsewhere.
        made = FONTS.sub("", app.export_screenshot(title="keystead tui"))
    if os.environ.get("KEYSTEAD_UPDATE_GOLDEN") == "1":
        PICTURE.write_text(made, encoding="utf-8")
    kept = PICTURE.read_text("utf-8")
    assert said(kept) == said(made), "make it anew: KEYSTEAD_UPDATE_GOLDEN=1"
    assert "Needs a person: 4" in " ".join(said(kept))
    assert "http" not in kept.replace("http://www.w3.org/2000/svg", "").replace(url, "").replace(
        "https://www.textualize.io", ""
    )
    assert "](tui/picture.svg)" in (ROOT / "README.md").read_text("utf-8")


def said(svg: str) -> list[str]:
    """The texts of a picture in their order. Names of classes, which say nothing, may differ."""
    return [html.unescape(text).replace("\xa0", " ") for text in TEXT.findall(svg)]
