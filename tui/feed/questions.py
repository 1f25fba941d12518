"""Questions that the screens ask, as data; how each is asked; and which changes can alter its answer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from controlplane.client import Client
from controlplane.client.api import EVERYTHING, AuditFilter, Change
from controlplane.errors import NotFound
from controlplane.schema.browse import KeyAbout, KeySort, ObjectSort, Summary, Verdict
from controlplane.schema.events import Event
from controlplane.schema.keys import RefusedUse
from controlplane.schema.meta import AnyObject, KeyStore, Kind
from controlplane.specfiles import FORMATS

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
    """The same of another kind. Answered with :class:`~controlplane.schema.browse.ObjectRows`."""

    kind: Kind
    filter: str = ""
    sort: ObjectSort = ObjectSort.NAME
    descending: bool = False
    offset: int = 0
    limit: int = WINDOW


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


class ImportOf(_Question, frozen=True):
    """How far the import of a key is. Answered with :class:`~controlplane.schema.imports.ImportReport` or ``Gone``."""

    name: str

    @property
    def every(self) -> float | None:
        return 10.0


class AuditTail(_Question, frozen=True):
    """The newest records of the audit journal. Answered with :class:`~controlplane.audit.records.AuditPage`."""

    wanted: AuditFilter = EVERYTHING
    limit: int = 200

    @property
    def every(self) -> float | None:
        return 2.0


class Entries(_Question, frozen=True):
    """What may be planned in a directory of this machine, or in that of a file. Answered with
    :class:`DirectoryEntries`, which says which directory that is."""

    directory: str


Question = KeyList | ObjectList | Overview | OneObject | ImportOf | AuditTail | Entries


class Glance(msgspec.Struct, frozen=True):
    summary: Summary
    stores: tuple[KeyStore, ...]


class Detail(msgspec.Struct, frozen=True):
    """One object with what goes with it, events newest first; ``about`` is of a key only, ``actions`` of others."""

    item: AnyObject
    events: tuple[Event, ...] = ()
    about: KeyAbout | None = None
    actions: tuple[Verdict, ...] = ()

    @property
    def refused(self) -> tuple[RefusedUse, ...]:
        return self.about.refused if self.about is not None else ()

    def verdict(self, action: str) -> Verdict | None:
        actions = self.about.actions if self.about is not None else self.actions
        return next((each for each in actions if each.action == action), None)


class DirectoryEntries(msgspec.Struct, frozen=True):
    """Directories and spec files in it, by name, directories first. ``wrong`` says why it cannot be read."""

    directory: str
    directories: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    wrong: str = ""


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
        case ObjectList():
            return await client.search_objects(
                question.kind,
                question.filter,
                sort=question.sort,
                descending=question.descending,
                offset=question.offset,
                limit=question.limit,
            )
        case Overview():
            stores = await client.page(Kind.KEY_STORE, limit=MOST_OBJECTS)
            summary = await client.summary()
            return Glance(summary, tuple(store for store in stores.items if isinstance(store, KeyStore)))
        case OneObject(kind=kind, name=name):
            return await _detail(client, kind, name)
        case ImportOf(name=name):
            try:
                return await client.import_report(name)
            except NotFound as error:
                return Gone(error.message)
        case AuditTail(wanted=wanted, limit=limit):
            return await client.audit_page(wanted, limit=limit)
        case Entries(directory=directory):
            return await asyncio.to_thread(_entries, directory)


def _entries(directory: str) -> DirectoryEntries:
    directory = os.path.abspath(os.path.expanduser(directory))  # noqa: PTH100, PTH111
    if not os.path.isdir(directory):  # noqa: PTH112
        directory = os.path.dirname(directory)  # noqa: PTH120
    try:
        with os.scandir(directory) as found:
            shown = sorted((each for each in found if not each.name.startswith(".")), key=lambda each: each.name)
            directories = tuple(each.name for each in shown if each.is_dir())
            files = tuple(each.name for each in shown if each.is_file() and Path(each.name).suffix in FORMATS)
    except OSError as error:
        return DirectoryEntries(directory, wrong=f"{directory} cannot be read: {error.strerror}")
    return DirectoryEntries(directory, directories, files)


async def _detail(client: Client, kind: Kind, name: str) -> Detail | Gone:
    try:
        item = await client.get(kind, name)
        events = tuple(reversed((await client.events(uid=item.metadata.uid)).items))
        if kind is Kind.KEY:
            return Detail(item, events, await client.key_about(item.metadata.name))
        return Detail(item, events, actions=tuple(await client.actions(kind, name)))
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
        case ImportOf(name=name):
            return any(change.kind is Kind.KEY and change.name == name for change in changes)
        case AuditTail() | Entries():
            return False
        case OneObject(kind=kind):
            # By kind: a key's state hangs on its key store, and the object may be asked for by alias.
            return any(change.kind in (kind, Kind.KEY_STORE) for change in changes)
