"""What a person can do with objects of every kind, on every screen that shows some: look, reconcile, pause.

A screen says which objects (:meth:`Acting.subjects`) and what the server says of the one under the cursor. Keys and key
stores have more: ``keyactions``, ``storeactions``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from controlplane.schema.keys import Management
from controlplane.schema.meta import AnyObject, Kind
from tui.actions import LOOK, Action
from tui.feed.orders import Act
from tui.feed.questions import Detail
from tui.screens.base import HIDDEN, YES, Framed, Verdict

ANY: Final = ("reconcile", "pause")
"""Actions on objects of every kind."""


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What actions need to know of an object."""

    name: str
    kind: Kind = Kind.KEY
    paused: bool = False


def subject_of(item: AnyObject) -> Subject:
    paused = getattr(item.spec, "management", None) is Management.PAUSED
    return Subject(name=item.metadata.name, kind=item.kind, paused=paused)


class Acting(Framed):
    """Base of the screens that show objects."""

    def subjects(self) -> Sequence[Subject]:
        """The marked objects, or the one under the cursor; what actions apply to."""
        return ()

    def detail(self) -> Detail | None:
        """What the server said of the object under the cursor, if it is here already."""
        return None

    def specific(self, action: Action) -> Verdict:
        if action.id not in (*LOOK, *ANY):
            return super().specific(action)
        subjects = self.subjects()
        if not subjects:
            return HIDDEN
        return self.servers_word(action, subjects[0], turned=subjects[0].paused)

    def servers_word(self, action: Action, subject: Subject, *, turned: bool = False) -> Verdict:
        """What the server said of an action on a subject. ``turned``: of its second name, which undoes the first."""
        detail = self.detail()
        if detail is None or detail.item.metadata.name != subject.name or not action.server:
            return YES
        said = detail.verdict(action.server[-1 if turned else 0])
        return YES if said is None or said.allowed else Verdict(False, said.why)

    def label(self, action: Action) -> str:
        subjects = self.subjects()
        if subjects and action.id == "pause":
            return "resume" if subjects[0].paused else "pause"
        return super().label(action)

    def do_describe(self) -> None:
        self._open("describe")

    def do_yaml(self) -> None:
        self._open("yaml")

    def do_events(self) -> None:
        self._open("events")

    def _open(self, view: str) -> None:
        for subject in self.subjects()[:1]:
            self.host.open(subject.kind, subject.name, view)

    def do_reconcile(self) -> None:
        self.order(*(Act("reconcile", subject.name, kind=subject.kind) for subject in self.subjects()))

    def do_pause(self) -> None:
        self.order(
            *(
                Act("resume" if subject.paused else "pause", subject.name, kind=subject.kind)
                for subject in self.subjects()
            )
        )
