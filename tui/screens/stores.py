"""Key stores: connection, what they hold, what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from controlplane.report import Style, age, shown_condition
from controlplane.schema.browse import ObjectSort
from controlplane.schema.meta import AnyObject, KeyStore, Kind
from tui import words
from tui.actions import LIST, LOOK, Action
from tui.screens.acting import ANY, subject_of
from tui.screens.base import HIDDEN, Verdict
from tui.screens.objects import ObjectsScreen
from tui.screens.storeactions import STORE, StoreActions
from tui.widgets.table import Column, Row


class StoresScreen(ObjectsScreen, StoreActions):
    """See the module."""

    section = "stores"
    kind = Kind.KEY_STORE
    NOUN: ClassVar[tuple[str, str]] = ("key store", "key stores")
    SORTS: ClassVar[tuple[StrEnum, ...]] = (
        ObjectSort.NAME,
        ObjectSort.TYPE,
        ObjectSort.CONNECTION,
        ObjectSort.KEYS,
        ObjectSort.HEALTH,
        ObjectSort.CONDITION,
    )
    about = (
        "Key stores: where key material lives and is used. Connection is declared; the server keeps it so.",
        "enter shows the keys of a key store, d everything about it, l what happened to its connection.",
        "LATENCY is the median of recent requests and what 99 of 100 stay under; ! from half of the time limit on.",
        "A filter finds them by label, too: -l type=xks, or -l set=NAME of the spec set that owns them.",
    )
    OFFERS: ClassVar[tuple[str, ...]] = ("store-keys", *LOOK, *STORE, *ANY, *LIST)
    columns = (
        Column("NAME", "name", most=32, least=12),
        Column("TYPE", "type", keep=3, least=6),
        Column("CONNECTION", "connection", least=14),
        Column("SINCE", "since", keep=4, right=True),
        Column("KEYS", "keys", keep=2, right=True, least=7),
        Column("HEALTH", "health", keep=5, least=10),
        Column("LATENCY", "latency", keep=6, least=11),
        Column("CERTIFICATE", "certificate", keep=8, least=11),
        Column("OFFERS", "offers", keep=6, most=30),
        Column("CONDITION", "condition", keep=1, most=30),
        Column("MESSAGE", "message", keep=7, most=60, wide=True),
    )

    def row(self, item: AnyObject, now: datetime) -> Row:
        assert isinstance(item, KeyStore)
        specs = item.status.key_specs
        ready = next((each for each in item.status.conditions if each.type.value == "Connected"), None)
        since = age(ready.last_transition, now) if ready is not None else "-"
        return Row(
            item.metadata.name,
            (
                (item.metadata.name, Style.PLAIN),
                (item.spec.type, Style.PLAIN),
                words.CONNECTIONS[item.status.connection],
                (since, Style.MUTED),
                (f"{self.keys_in(item.metadata.name) or 0:,}", Style.PLAIN),
                words.HEALTH[item.status.health] if item.status.health is not None else ("-", Style.MUTED),
                words.latency(item.status.latency),
                words.certificate(item.status.certificate_days),
                (f"{len(specs)} key specs" if specs else "-", Style.MUTED),
                words.condition("Paused" if subject_of(item).paused else shown_condition(item)),
                (ready.message if ready is not None and ready.message else "-", Style.MUTED),
            ),
        )

    def stores(self) -> Sequence[KeyStore]:
        return [item for item in self.chosen_items() if isinstance(item, KeyStore)]

    def keys_in(self, name: str) -> int | None:
        return self.page.keys.get(name, 0) if self.page is not None else None

    def specific(self, action: Action) -> Verdict:
        if action.id == "store-keys" and self.table.current is None:
            return HIDDEN
        return super().specific(action)

    def entered(self, name: str) -> None:
        self.host.go("keys", f"@{name}")

    def do_store_keys(self) -> None:
        if (name := self.table.current) is not None:
            self.host.go("keys", f"@{name}")
