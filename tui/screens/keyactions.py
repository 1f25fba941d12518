"""What a person can do with keys, on every screen that shows some: the list, the deletions, one key.

A screen says which keys (:meth:`KeyActions.subjects`) and what the server says of the one under the cursor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from controlplane.report import Line, Style, shown_state
from controlplane.schema.browse import KeyRow
from controlplane.schema.keys import KeyState, Management, Origin
from controlplane.schema.meta import Key, Kind
from tui.actions import KEY, LOOK, Action
from tui.feed.orders import Edit, KeyOrder
from tui.feed.questions import Detail
from tui.screens.base import HIDDEN, YES, Framed, Verdict
from tui.screens.dialogs import ConfirmDialog, DescriptionDialog, ScheduleDialog, TagsDialog

GOING: Final = (KeyState.PENDING_DELETION, KeyState.PENDING_REPLICA_DELETION)


class Subject(msgspec.Struct, frozen=True):
    """What actions need to know of a key."""

    name: str
    state: KeyState
    paused: bool
    protected: bool
    aliases: tuple[str, ...]
    external: bool
    """Its material is brought by somebody."""
    material: bool
    """Some of it is here."""


def subject_of_row(row: KeyRow) -> Subject:
    external = row.origin is Origin.EXTERNAL
    material = row.state not in (KeyState.PENDING_IMPORT, KeyState.CREATING)
    return Subject(row.name, row.state, row.paused, row.protected, row.aliases, external, material)


def subject_of_key(key: Key) -> Subject:
    return Subject(
        key.metadata.name,
        KeyState(shown_state(key)),
        key.spec.management is Management.PAUSED,
        key.spec.deletion.protect,
        key.spec.aliases,
        key.spec.origin is Origin.EXTERNAL,
        any(each.present for each in key.status.materials),
    )


class KeyActions(Framed):
    """Mixed into the screens that show keys."""

    def subjects(self) -> Sequence[Subject]:
        """The marked keys, or the one under the cursor; what actions apply to."""
        return ()

    def detail(self) -> Detail | None:
        """What the server said of the key under the cursor, if it is here already."""
        return None

    def specific(self, action: Action) -> Verdict:
        if action.id not in (*KEY, *LOOK):
            return YES
        subjects = self.subjects()
        if not subjects:
            return HIDDEN
        first = subjects[0]
        if action.id == "cancel" and first.state not in GOING:
            return HIDDEN
        if action.id in ("delete", "toggle", "import", "rotate") and first.state in GOING:
            return HIDDEN
        if action.id in ("import", "empty") and not first.external:
            return HIDDEN
        if action.id == "empty" and not first.material:
            return HIDDEN
        if action.id == "delete" and first.protected:
            return Verdict(False, f"{first.name} is protected; lift deletion.protect in an apply of its own first")
        return self._servers_word(action, first)

    def _servers_word(self, action: Action, subject: Subject) -> Verdict:
        detail = self.detail()
        if detail is None or detail.item.metadata.name != subject.name or not action.server:
            return YES
        name = action.server[0]
        if action.id == "toggle" and subject.state is KeyState.DISABLED:
            name = "enable"
        said = detail.verdict(name)
        return YES if said is None or said.allowed else Verdict(False, said.why)

    def label(self, action: Action) -> str:
        subjects = self.subjects()
        if subjects and action.id == "toggle":
            return "enable" if subjects[0].state is KeyState.DISABLED else "disable"
        if subjects and action.id == "pause":
            return "resume" if subjects[0].paused else "pause"
        return action.label

    # ---- doing -----------------------------------------------------------------------------------------------------

    def do_describe(self) -> None:
        self._open("describe")

    def do_yaml(self) -> None:
        self._open("yaml")

    def do_events(self) -> None:
        self._open("events")

    def _open(self, view: str) -> None:
        for subject in self.subjects()[:1]:
            self.host.open(Kind.KEY, subject.name, view)

    def do_reconcile(self) -> None:
        self.order(*(KeyOrder("reconcile", subject.name) for subject in self.subjects()))

    def do_toggle(self) -> None:
        self.order(
            *(
                KeyOrder("enable" if subject.state is KeyState.DISABLED else "disable", subject.name)
                for subject in self.subjects()
                if subject.state not in GOING
            )
        )

    def do_cancel(self) -> None:
        self.order(
            *(KeyOrder("cancel-deletion", subject.name) for subject in self.subjects() if subject.state in GOING)
        )

    def do_rotate(self) -> None:
        self.order(*(KeyOrder("rotate", subject.name) for subject in self.subjects()[:1]))

    def do_import(self) -> None:
        for subject in self.subjects()[:1]:
            self.host.open_import(subject.name)

    def do_empty(self) -> None:
        name = self.subjects()[0].name
        lines = [
            Line("Its imported material is destroyed in every copy, at once."),
            Line("The key waits then. Only the same material makes it usable again: do you have it?", Style.WARNING),
        ]

        def decided(yes: bool | None) -> None:
            if yes:
                self.order(KeyOrder("delete-material", name))

        self.host.push_screen(ConfirmDialog(f"Delete the material of {name}", lines, "Delete material"), decided)

    def do_pause(self) -> None:
        self.order(*(KeyOrder("resume" if subject.paused else "pause", subject.name) for subject in self.subjects()))

    def do_delete(self) -> None:
        """One at a time, marked or not: each has to be named."""
        subject = self.subjects()[0]

        def decided(days: int | None) -> None:
            if days is not None:
                self.order(KeyOrder("schedule-deletion", subject.name, days))

        detail = self.detail()
        window = 30
        if detail is not None and isinstance(detail.item, Key) and detail.item.metadata.name == subject.name:
            window = detail.item.spec.deletion.window_days
        self.host.push_screen(ScheduleDialog(subject.name, subject.aliases, window), decided)

    def do_describe_edit(self) -> None:
        key = self._key()
        if key is None:
            return
        name = key.metadata.name

        def decided(text: str | None) -> None:
            if text is not None:
                self.order(Edit(Kind.KEY, name, {"description": text}, f"has a new description{_owned(key)}"))

        self.host.push_screen(DescriptionDialog(name, key.spec.description), decided)

    def do_tags_edit(self) -> None:
        key = self._key()
        if key is None:
            return
        name = key.metadata.name

        def decided(tags: dict[str, str] | None) -> None:
            if tags is not None:
                self.order(Edit(Kind.KEY, name, {"tags": tags}, f"has new tags{_owned(key)}"))

        self.host.push_screen(TagsDialog(name, key.spec.tags), decided)

    def _key(self) -> Key | None:
        """The key under the cursor as the server told it, to be edited."""
        detail, subjects = self.detail(), self.subjects()
        if detail is None or not subjects or detail.item.metadata.name != subjects[0].name:
            self.host.say("one moment: the key is being read", wrong=True)
            return None
        return detail.item if isinstance(detail.item, Key) else None


def _owned(key: Key) -> str:
    owner = key.metadata.spec_set
    return f"; what spec set {owner} states is put back" if owner is not None else ""
