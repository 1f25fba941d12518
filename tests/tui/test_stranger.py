"""Somebody who has never seen it, and knows nothing but ``?``: every key they press was read on the screen before."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from textual.widgets import Button

from tests.harness import ROOT, Server, document
from tests.tui.driving import MIDDLE, Person, person_at

KEYS = {"esc": "escape", "arrows": "down"}
"""What a word of the help is on a keyboard; all others are the keys of their names."""
TASK = re.compile(r"(\d) \(\w+\), choose the key(?: with the (\w+))?, (\w)[.,]")


class Stranger:
    """Reads, and presses what it says."""

    def __init__(self, person: Person) -> None:
        self.person = person

    async def ask_how(self, task: str) -> tuple[str, str, str]:
        """What help says of a task: the key of its section, the one that chooses, the one that does it."""
        await self.person.press("question_mark")
        text = await self.person.sees("The usual things", task)
        said = " ".join(re.sub(r"[│▁-█]", " ", text).split())
        found = TASK.search(said, said.index(task))
        assert found is not None, f"help does not say which keys to press for {task}"
        leave = re.search(r"(\w+) leaves", said)
        assert leave is not None, "help does not say how to leave it"
        await self.press(leave[1])
        await self.person.sees_not("The usual things")
        return found[1], found[2] or "arrows", found[3]

    async def press(self, word: str) -> None:
        await self.person.press(KEYS.get(word, word))

    async def choose(self, name: str, key: str) -> None:
        """Go on with the key that moves until the row is chosen."""
        await self.person.sees(name)
        for _ in range(200):
            if f"› {name}" in self.person.text:
                return
            await self.press(key)
        pytest.fail(f"{name} was never under the cursor\n{self.person.text}")

    async def sees_key(self, key: str, label: str) -> None:
        """The line of keys says that this key does it now."""
        await self.person.until(lambda: f" {key} {label}" in f" {self.person.lines[-1]}", f"{key} {label}")

    async def press_button(self, reach: str, press: str) -> str:
        """Reach the button on the right of Back and press it, with the keys that help named. What it is called."""
        shown = next(line for line in reversed(self.person.lines) if " Back " in line)
        label = shown.partition(" Back ")[2].strip()
        for _ in range(20):
            focused = self.person.app.focused
            if isinstance(focused, Button) and str(focused.label) == label:
                await self.press(press)
                return label
            await self.press(reach)
        pytest.fail(f"{reach} does not reach {label}\n{self.person.text}")


async def test_with_nothing_but_the_question_mark_a_key_is_imported_and_a_deletion_cancelled(
    shared_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"t-{uuid.uuid4().hex[:8]}"
    brought, going = f"{name}-brought", f"{name}-going"
    shared_server.apply(name, [document("Key", brought, origin="EXTERNAL"), document("Key", going)])
    shared_server.ok("POST", f"/v1/keys/{going}/actions/schedule-deletion", {"windowDays": 7})
    (tmp_path / "key.bin").write_bytes(os.urandom(32))
    async with person_at(shared_server.url, size=MIDDLE) as person:
        stranger = Stranger(person)

        section, move, act = await stranger.ask_how("Cancel a deletion")
        await stranger.press(section)
        await stranger.choose(going, move)
        await stranger.sees_key(act, "cancel deletion")
        await stranger.press(act)
        await person.hears(f"The deletion of key {going} is cancelled")

        section, move, act = await stranger.ask_how("Import a key's material")
        await stranger.press(section)
        await stranger.choose(brought, move)
        await stranger.sees_key(act, "import…")
        await stranger.press(act)
        await person.sees("1 Parameters ●", "Back")
        await person.press("question_mark")
        text = " ".join((await person.sees("are buttons")).replace("│", " ").split())
        buttons = re.search(r"(\w+) reaches them, (\w+) presses them", text)
        assert buttons is not None
        await stranger.press("esc")
        await person.sees("1 Parameters ●", "Back")
        await stranger.press_button(*buttons.groups())
        text = await person.sees("2 Wrap ●", "--out")
        command = re.search(r"keystead (import-material wrap .*?wrapped\.bin)", " ".join(text.split()))
        assert command is not None, "step 2 does not show the command that wraps"
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        wrap = [sys.executable, "-m", "controlplane", *command[1].split()]
        subprocess.run(wrap, check=True, cwd=tmp_path, env=environment, capture_output=True)  # noqa: ASYNC221
        for step in ("3 Upload ●", "4 Expiry ●", "5 Review ●", "✓ Imported"):
            await stranger.press_button(*buttons.groups())
            await person.sees(step, "the length is right" if step.startswith("3") else "")
        await person.sees(f"✓ Imported into {brought}. The key is ● Enabled")
    assert "deletion" not in shared_server.ok("GET", f"/v1/keys/{going}")["metadata"]
    assert shared_server.ok("GET", f"/v1/keys/{brought}")["status"]["materials"][0]["imported"]["state"] == "IMPORTED"
