"""What a person can do with keys beyond what ``acting`` has, on every screen that shows some."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from controlplane.report import Line, Style, shown_state
from controlplane.schema.browse import KeyRow
from controlplane.schema.keys import KeyState, Management, Origin
from controlplane.schema.meta import Key, Kind
from tui.actions import KEY, Action
from tui.feed.orders import Act, Edit
from tui.screens.acting import ANY, Acting, Subject
from tui.screens.base import HIDDEN, Verdict
from tui.screens.dialogs import ConfirmDialog, DescriptionDialog, ScheduleDialog, TagsDialog

GOING: Final = (KeyState.PENDING_DELETION, KeyState.PENDING_REPLICA_DELETION)


class KeySubject(Subject, frozen=True, kw_only=True):
    """What actions need to know of a key."""

    state: KeyState
    protected: bool
    aliases: tuple[str, ...]
    external: bool
    """Its material is brought by somebody."""
    material: bool
    """Some of it is here."""


def subject_of_row(row: KeyRow) -> KeySubject:
    return KeySubject(
        name=row.name,
        paused=row.paused,
        state=row.state,
        protected=row.protected,
        aliases=row.aliases,
        external=row.origin is Origin.EXTERNAL,
        material=row.state not in (KeyState.PENDING_IMPORT, KeyState.CREATING),
    )


def subject_of_key(key: Key) -> KeySubject:
    return KeySubject(
        name=key.metadata.name,
        paused=key.spec.management is Management.PAUSED,
        state=KeyState(shown_state(key)),
        protected=key.spec.deletion.protect,
        aliases=key.spec.aliases,
        external=key.spec.origin is Origin.EXTERNAL,
        material=any(each.present for each in key.status.materials),
    )


class KeyActions(Acting):
    """Mixed into the screens that show keys."""

    def keys(self) -> Sequence[KeySubject]:
        """Those of the subjects that are keys."""
        return [subject for subject in self.subjects() if isinstance(subject, KeySubject)]

    def specific(self, action: Action) -> Verdict:
        if action.id not in KEY or action.id in ANY:
            return super().specific(action)
        keys = self.keys()
        if not keys:
            return HIDDEN
        first = keys[0]
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
        return self.servers_word(action, first, turned=action.id == "toggle" and first.state is KeyState.DISABLED)

    def label(self, action: Action) -> str:
        keys = self.keys()
        if keys and action.id == "toggle":
            return "enable" if keys[0].state is KeyState.DISABLED else "disable"
        return super().label(action)

    # ---- doing -----------------------------------------------------------------------------------------------------

    def do_toggle(self) -> None:
        self.order(
            *(
                Act("enable" if subject.state is KeyState.DISABLED else "disable", subject.name)
                for subject in self.keys()
                if subject.state not in GOING
            )
        )

    def do_cancel(self) -> None:
        self.order(*(Act("cancel-deletion", subject.name) for subject in self.keys() if subject.state in GOING))

    def do_rotate(self) -> None:
        self.order(*(Act("rotate", subject.name) for subject in self.keys()[:1]))

    def do_import(self) -> None:
        for subject in self.keys()[:1]:
            self.host.open_import(subject.name)

    def do_empty(self) -> None:
        name = self.keys()[0].name
        lines = [
            Line("Its imported material is destroyed in every copy, at once."),
            Line("The key waits then. Only the same material makes it usable again: do you have it?", Style.WARNING),
        ]

        def decided(yes: bool | None) -> None:
            if yes:
                self.order(Act("delete-material", name))

        self.host.push_screen(ConfirmDialog(f"Delete the material of {name}", lines, "Delete material"), decided)

    def do_delete(self) -> None:
        """One at a time, marked or not: each has to be named."""
        subject = self.keys()[0]

        def decided(days: int | None) -> None:
            if days is not None:
                self.order(Act("schedule-deletion", subject.name, days))

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
        detail, keys = self.detail(), self.keys()
        if detail is None or not keys or detail.item.metadata.name != keys[0].name:
            self.host.say("one moment: the key is being read", wrong=True)
            return None
        return detail.item if isinstance(detail.item, Key) else None


def _owned(key: Key) -> str:
    owner = key.metadata.spec_set
    return f"; what spec set {owner} states is put back" if owner is not None else ""
