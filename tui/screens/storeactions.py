"""What a person can do with key stores, on every screen that shows some: the list of them, one key store."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from controlplane.report import Line, Style
from controlplane.schema.keystores import STANDARD, ConnectionState
from controlplane.schema.meta import KeyStore, Kind
from tui.actions import Action
from tui.feed.orders import Edit
from tui.screens.acting import Acting, subject_of
from tui.screens.base import HIDDEN, YES, Verdict
from tui.screens.dialogs import ConfirmDialog, ProbeDialog

XKS: Final = "xks"
"""The type of key store that has external keys."""
STORE: Final = ("connect", "disconnect", "probe")


class StoreActions(Acting):
    """Mixed into the screens that show key stores."""

    def stores(self) -> Sequence[KeyStore]:
        """The marked key stores, or the one under the cursor."""
        return ()

    def keys_in(self, name: str) -> int | None:  # noqa: ARG002 - screens that count them need it
        """How many keys live in a key store; None: nobody counted them."""
        return None

    def specific(self, action: Action) -> Verdict:
        if action.id not in STORE:
            return super().specific(action)
        stores = self.stores()
        if not stores:
            return HIDDEN
        first = stores[0]
        found = _fits(action, first, self.host.probing)
        return self.servers_word(action, subject_of(first)) if found.allowed else found

    def do_connect(self) -> None:
        self.order(
            *(
                Edit(Kind.KEY_STORE, store.metadata.name, {"connected": True}, "is declared connected")
                for store in self.stores()
                if _fits_connect(store)
            )
        )

    def do_disconnect(self) -> None:
        """Ask, and declare them disconnected."""
        stores = [store for store in self.stores() if store.spec.connected and store.metadata.name != STANDARD]
        names = [store.metadata.name for store in stores]
        counts = [self.keys_in(name) for name in names]
        keys = None if None in counts else sum(count for count in counts if count is not None)
        one = len(names) == 1
        it, its, is_ = ("it", "Its", "is") if one else ("them", "Their", "are")
        what = f"{its} keys cannot"
        if keys is not None:
            what = "1 key cannot" if keys == 1 else f"{keys:,} keys cannot"
        lines = [
            Line(
                f"No key lives in {it}."
                if keys == 0
                else f"{what} be used until {'it' if one else 'they'} {is_} connected again."
            ),
            Line(f"Nothing in {it} is changed. c connects {it} again.", Style.GOOD),
        ]
        if not one:
            lines.insert(0, Line(", ".join(names)))

        def decided(yes: bool | None) -> None:
            if yes:
                says = "is declared disconnected"
                self.order(*(Edit(Kind.KEY_STORE, name, {"connected": False}, says) for name in names))

        title = f"Disconnect key store {names[0]}" if one else f"Disconnect {len(names)} key stores"
        self.host.push_screen(ConfirmDialog(title, lines, "Disconnect"), decided)

    def do_probe(self) -> None:
        """Ask, and have the server try the one under the cursor."""
        store = self.stores()[0]
        name = store.metadata.name

        def decided(external_key: str | None) -> None:
            if external_key is not None:
                self.host.probe(name, external_key or None)

        self.host.push_screen(ProbeDialog(name, external=store.spec.type == XKS), decided)


def _fits(action: Action, store: KeyStore, probing: Collection[str]) -> Verdict:
    if action.id == "probe":
        if store.metadata.name in probing:
            return Verdict(False, "it is being probed; the report comes by itself")
        connected = store.status.connection is ConnectionState.CONNECTED
        return YES if connected else Verdict(False, "it is not connected; c connects it")
    if store.metadata.name == STANDARD:
        return Verdict(False, "the key store standard belongs to the server and is always connected")
    if action.id == "connect":
        return YES if _fits_connect(store) else HIDDEN
    return YES if store.spec.connected else HIDDEN


def _fits_connect(store: KeyStore) -> bool:
    """It is not connected as declared; connecting it again tries at once."""
    connected = store.spec.connected and store.status.connection is ConnectionState.CONNECTED
    return not connected and store.metadata.name != STANDARD
