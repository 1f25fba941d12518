"""The overview: keys by state, key stores, what needs a person, and how much keys are used."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Final

from textual.containers import Horizontal, Vertical
from textual.widget import Widget

from controlplane.report import Line, Style, age
from controlplane.schema.browse import AttentionReason, Summary
from controlplane.schema.keys import KeyState
from controlplane.schema.keystores import ConnectionState
from controlplane.schema.meta import KeyStore, Kind
from tui import words
from tui.feed.messages import Answer, Trouble
from tui.feed.questions import Glance, Overview
from tui.screens.base import Framed
from tui.widgets.lines import Lines
from tui.widgets.table import Column, Row, Table

ALWAYS: Final = (KeyState.ENABLED, KeyState.DISABLED, KeyState.PENDING_IMPORT, KeyState.PENDING_DELETION)
"""States that are counted even when no key is in them."""
LEAST_BAR: Final = 4
OF_STORES: Final = (AttentionReason.STORE_NOT_CONNECTED, AttentionReason.STORE_UNHEALTHY)
LISTS: Final = {
    AttentionReason.USED_WHILE_PENDING_DELETION: ("deletions", ""),
    AttentionReason.MATERIAL_EXPIRES_SOON: ("imports", ""),
    AttentionReason.OUTCOME_UNKNOWN: ("keys", "condition:createoutcomeunknown"),
    AttentionReason.STORE_NOT_CONNECTED: ("stores", "is:unhealthy"),
    AttentionReason.STORE_UNHEALTHY: ("stores", "is:unhealthy"),
    AttentionReason.NOT_AS_DECLARED: ("keys", "is:unhealthy"),
}
"""Where everything that needs a person for a reason is listed: section and filter."""
ATTENTION: Final = (
    Column("WHAT", "what", least=20),
    Column("NAME", "name", most=40, least=12),
    Column("SINCE", "at", keep=2, right=True),
    Column("WHY", "why", keep=1, most=120, least=24),
)
STORES: Final = (
    Column("NAME", "name", most=32, least=8),
    Column("CONNECTION", "connection"),
    Column("KEYS", "keys", right=True),
    Column("SINCE", "since", keep=2, right=True),
)


class OverviewScreen(Framed):
    """See the module."""

    section = "overview"
    about = (
        "How things are: keys by state, key stores, what needs a person, and how much keys are used.",
        "Tab moves between the panels; enter opens what is under the cursor: one object, or the list of a number.",
    )
    OFFERS: ClassVar[tuple[str, ...]] = ("open",)

    def __init__(self) -> None:
        super().__init__()
        self.glance: Glance | None = None

    def body(self) -> Iterable[Widget]:
        reading = Line("Reading…", Style.MUTED)
        left = Vertical(id="left")
        left.compose_add_child(_titled(Lines([reading], id="states"), "Keys"))
        left.compose_add_child(_titled(Lines([], id="uses"), "Uses of keys, last 10 minutes"))
        right = Vertical(id="right")
        stores, attention = (
            Table(STORES, one_of_several=True, id="stores"),
            Table(ATTENTION, one_of_several=True, id="attention"),
        )
        stores.notice(reading)
        attention.notice(reading)
        right.compose_add_child(_titled(stores, "Key stores"))
        right.compose_add_child(_titled(attention, "Needs a person"))
        panels = Horizontal(id="panels")
        panels.compose_add_child(left)
        panels.compose_add_child(right)
        yield panels

    def crumbs(self) -> tuple[str, str]:
        server = self.host.link.server
        about = f"version {server.version} · account {server.account}" if server is not None else ""
        return " overview", about

    def focus_body(self) -> None:
        self.set_focus(self.query_one("#attention"))

    def on_mount(self) -> None:
        self.focus_body()

    def ask(self) -> None:
        self.watch_question(Overview())

    def answered(self, message: Answer) -> None:
        glance = message.value
        if not isinstance(glance, Glance):
            return
        self.glance = glance
        self.query_one("#states", Lines).fit(lambda width: self._states(glance.summary, width))
        self.query_one("#uses", Lines).fit(lambda width: self._uses(glance.summary, width))
        self._show_stores(glance)
        self._show_attention(glance.summary)

    def failed(self, message: Trouble) -> None:
        if self.glance is None:
            self.query_one("#states", Lines).show(
                [Line("This could not be read.", Style.WARNING), Line(message.error.message, Style.MUTED)]
            )
            self.query_one("#stores", Table).notice(Line("-", Style.MUTED))
            self.query_one("#attention", Table).notice(Line("-", Style.MUTED))

    # ---- panels ----------------------------------------------------------------------------------------------------

    def _states(self, summary: Summary, width: int) -> Iterable[Line]:
        shown = [state for state in KeyState if summary.states.get(state) or state in ALWAYS]
        names = {state: words.STATES[state] for state in shown}
        longest = max(len(word) for word, _ in names.values())
        digits = max(len(f"{summary.states.get(state, 0):,}") for state in shown)
        room = width - longest - digits - 2
        for state in shown:
            count, (word, style) = summary.states.get(state, 0), names[state]
            share = count / summary.keys if summary.keys else 0.0
            tone = style if count else Style.MUTED
            yield Line(
                f"{word:<{longest}} {count:>{digits},} {words.bar(share, room) if room >= LEAST_BAR else ''}".rstrip(),
                tone,
            )
        yield Line(f"{'all':<{longest}} {summary.keys:>{digits},}", Style.HEADING)

    def _uses(self, summary: Summary, width: int) -> Iterable[Line]:
        rates = summary.rates
        per_minute = 60 // rates.seconds
        for title, values, style in (
            ("allowed", rates.allowed, Style.GOOD),
            ("refused", rates.refused, Style.WARNING if any(rates.refused) else Style.MUTED),
        ):
            lately = sum(values[-per_minute - 1 : -1])
            end = f" {lately:,}/min"
            yield Line(f"{title} {words.sparkline(values, width - len(title) - 2 - len(end))} {end}", style)
        if not any(rates.allowed) and not any(rates.refused):
            yield Line("nobody used a key lately", Style.MUTED)

    def _show_stores(self, glance: Glance) -> None:
        now = self.host.now()
        rows = [self._store_row(store, glance.summary.stores.get(store.metadata.name, 0)) for store in glance.stores]
        table = self.query_one("#stores", Table)
        table.show([Row(name, (*cells, (age(at, now) if at else "-", Style.MUTED))) for name, cells, at in rows])

    def _store_row(self, store: KeyStore, keys: int):  # type: ignore[no-untyped-def]
        connected = next((each for each in store.status.conditions if each.type.value == "Connected"), None)
        word = words.CONNECTIONS[store.status.connection]
        if not store.spec.connected and store.status.connection is ConnectionState.DISCONNECTED:
            word = ("○ Disconnected, as declared", Style.MUTED)
        cells = ((store.metadata.name, Style.PLAIN), word, (f"{keys:,}", Style.PLAIN))
        return store.metadata.name, cells, connected.last_transition if connected is not None else None

    def _show_attention(self, summary: Summary) -> None:
        table, now = self.query_one("#attention", Table), self.host.now()
        panel = table.parent
        if isinstance(panel, Widget):
            total = summary.attention_total
            panel.border_title = f"Needs a person: {total:,}" if total else "Needs a person"
        if not summary.attention:
            table.notice(Line("✓ Nothing needs a person.", Style.GOOD))
            return
        rows: list[Row] = []
        for reason, count in summary.attention_counts.items():
            one, several = ("key store", "key stores") if reason in OF_STORES else ("key", "keys")
            what = (f"{count:,} {one if count == 1 else several}", Style.HEADING)
            lists = (f"enter lists {'it' if count == 1 else 'them'}", Style.MUTED)
            rows.append(Row(f"all/{reason}", (words.ATTENTION[reason], what, ("", Style.MUTED), lists)))
            rows += [
                Row(
                    f"{each.kind}/{each.name}/{each.reason}",
                    (
                        ("", Style.MUTED),
                        (each.name, Style.PLAIN),
                        (age(each.at, now) if each.at is not None else "-", Style.MUTED),
                        (each.message, Style.MUTED),
                    ),
                )
                for each in summary.attention
                if each.reason is reason
            ]
        table.show(rows)

    def do_open(self) -> None:
        if isinstance(self.focused, Table):
            self.focused.action_choose()

    def on_table_chosen(self, message: Table.Chosen) -> None:
        message.stop()
        if message.table.id == "stores":
            self.host.go("keys", f"@{message.key}")
            return
        kind, name, *_ = message.key.split("/", 2)
        if kind == "all":
            self.host.go(*LISTS[AttentionReason(name)])
            return
        self.host.open(Kind(kind), name)


def _titled(widget: Widget, title: str) -> Widget:
    panel = Vertical(widget, classes="panel")
    panel.border_title = title
    return panel
