"""Questions that the screens ask, as data; how each is asked; and which changes can alter its answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from controlplane.client import Change, Client
from controlplane.errors import NotFound
from controlplane.schema.browse import KeySort, Summary, Verdict
from controlplane.schema.events import Event
from controlplane.schema.keys import RefusedUse
from controlplane.schema.meta import AnyObject, KeyStore, Kind

WINDOW: Final = 200
"""Rows of a list that are held at once."""
MOST_OBJECTS: Final = 500


class _Question(msgspec.Struct, frozen=True):
    @property
    def every(self) -> float | None:
        """Seconds after which it is asked again though nothing is known to have changed."""
        return None


class KeyList(_Question, frozen=True):
    """A window of the keys that match a filter. Answered with :class:`~controlplane.schema.browse.KeyRows`."""

    filter: str = ""
    sort: KeySort = KeySort.NAME
    descending: bool = False
    offset: int = 0
    limit: int = WINDOW
    poll: float | None = None

    @property
    def every(self) -> float | None:
        return self.poll


class ObjectList(_Question, frozen=True):
    """All objects of a kind that is few. Answered with :class:`Objects`."""

    kind: Kind


class Overview(_Question, frozen=True):
    """Answered with :class:`Glance`."""

    @property
    def every(self) -> float | None:
        return 5.0  # uses and their refusals change no object


class OneObject(_Question, frozen=True):
    """Everything about one object. Answered with :class:`Detail`, or with :class:`Gone`."""

    kind: Kind
    name: str

    @property
    def every(self) -> float | None:
        return 10.0


Question = KeyList | ObjectList | Overview | OneObject


class Objects(msgspec.Struct, frozen=True):
    """``more`` says that there are others beyond those."""

    items: tuple[AnyObject, ...]
    more: bool
    keys: dict[str, int]
    """Keys by key store."""


class Glance(msgspec.Struct, frozen=True):
    summary: Summary
    stores: tuple[KeyStore, ...]


class Detail(msgspec.Struct, frozen=True):
    """One object with what goes with it; the last three are of a key only, events newest first."""

    item: AnyObject
    events: tuple[Event, ...] = ()
    refused: tuple[RefusedUse, ...] = ()
    actions: tuple[Verdict, ...] = ()

    def verdict(self, action: str) -> Verdict | None:
        return next((each for each in self.actions if each.action == action), None)


class Gone(msgspec.Struct, frozen=True):
    """There is no such object (any more)."""

    message: str


async def ask(client: Client, question: Question) -> object:
    """One answer. Raises :class:`KeysteadError`."""
    match question:
        case KeyList():
            return await client.search_keys(
                question.filter,
                sort=question.sort,
                descending=question.descending,
                offset=question.offset,
                limit=question.limit,
            )
        case ObjectList(kind=kind):
            page = await client.page(kind, limit=MOST_OBJECTS)
            counts = (await client.summary()).stores if kind is Kind.KEY_STORE else {}
            return Objects(page.items, page.next is not None, counts)
        case Overview():
            stores = await client.page(Kind.KEY_STORE, limit=MOST_OBJECTS)
            summary = await client.summary()
            return Glance(summary, tuple(store for store in stores.items if isinstance(store, KeyStore)))
        case OneObject(kind=kind, name=name):
            return await _detail(client, kind, name)


async def _detail(client: Client, kind: Kind, name: str) -> Detail | Gone:
    try:
        item = await client.get(kind, name)
        events = tuple(reversed((await client.events(uid=item.metadata.uid)).items))
        if kind is not Kind.KEY:
            return Detail(item, events)
        plain = item.metadata.name
        return Detail(item, events, tuple(await client.refused_uses(plain)), tuple(await client.key_actions(plain)))
    except NotFound as error:
        return Gone(error.message)


def concerns(question: Question, changes: Sequence[Change]) -> bool:
    """Whether these changes can alter the answer."""
    match question:
        case KeyList() | Overview():
            return any(change.kind is not Kind.PRINCIPAL for change in changes)
        case ObjectList(kind=Kind.KEY_STORE):
            return any(change.kind is not Kind.PRINCIPAL for change in changes)  # keys are counted there
        case ObjectList(kind=kind):
            return any(change.kind is kind for change in changes)
        case OneObject(kind=kind):
            # By kind: a key's state hangs on its key store, and the object may be asked for by alias.
            return any(change.kind in (kind, Kind.KEY_STORE) for change in changes)
