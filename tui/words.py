"""A word, a symbol and a tone for everything that has a state, so that colour never says anything alone.

Who calls it: screens and widgets. Pure. Symbols are one cell wide in every terminal font that draws boxes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from controlplane.report import Style
from controlplane.schema.browse import AttentionReason
from controlplane.schema.conditions import ConditionStatus
from controlplane.schema.keys import KeyState
from controlplane.schema.keystores import ConnectionState, LatencyStatus
from plugins.sdk import HealthLevel

Cell = tuple[str, Style]

STATES: Final[Mapping[KeyState, Cell]] = {
    KeyState.ENABLED: ("● Enabled", Style.GOOD),
    KeyState.DISABLED: ("○ Disabled", Style.MUTED),
    KeyState.PENDING_IMPORT: ("… PendingImport", Style.UPDATE),
    KeyState.PENDING_DELETION: ("! PendingDeletion", Style.BAD),
    KeyState.PENDING_REPLICA_DELETION: ("! PendingReplicaDeletion", Style.BAD),
    KeyState.CREATING: ("◌ Creating", Style.MUTED),
    KeyState.UPDATING: ("◐ Updating", Style.UPDATE),
    KeyState.UNAVAILABLE: ("✗ Unavailable", Style.BAD),
}

CONNECTIONS: Final[Mapping[ConnectionState, Cell]] = {
    ConnectionState.CONNECTED: ("● Connected", Style.GOOD),
    ConnectionState.CONNECTING: ("◌ Connecting", Style.UPDATE),
    ConnectionState.DISCONNECTING: ("◌ Disconnecting", Style.UPDATE),
    ConnectionState.DISCONNECTED: ("○ Disconnected", Style.MUTED),
    ConnectionState.FAILED: ("✗ Failed", Style.BAD),
}

CONDITIONS: Final[Mapping[ConditionStatus, Cell]] = {
    ConditionStatus.TRUE: ("✓", Style.GOOD),
    ConditionStatus.FALSE: ("!", Style.WARNING),
    ConditionStatus.UNKNOWN: ("?", Style.WARNING),
}

HEALTH: Final[Mapping[HealthLevel, Cell]] = {
    HealthLevel.ACTIVE: ("● Active", Style.GOOD),
    HealthLevel.DEGRADED: ("! Degraded", Style.WARNING),
    HealthLevel.UNAVAILABLE: ("✗ Unavailable", Style.BAD),
}

ATTENTION: Final[Mapping[AttentionReason, Cell]] = {
    AttentionReason.OUTCOME_UNKNOWN: ("? outcome unknown", Style.BAD),
    AttentionReason.NOT_AS_DECLARED: ("! not as declared", Style.WARNING),
    AttentionReason.USED_WHILE_PENDING_DELETION: ("! used, about to go", Style.BAD),
    AttentionReason.MATERIAL_EXPIRES_SOON: ("! expires soon", Style.WARNING),
    AttentionReason.STORE_NOT_CONNECTED: ("✗ not connected", Style.BAD),
    AttentionReason.STORE_UNHEALTHY: ("! unhealthy", Style.WARNING),
}


def condition(word: str) -> Cell:
    """The condition of an object in a list: ``Synced``, ``Reconciling``, or the reason why it is not as declared."""
    if word == "Synced":
        return "✓ Synced", Style.GOOD
    if word == "Reconciling":
        return "◌ Reconciling", Style.MUTED
    if word == "Paused":
        return "‖ Paused", Style.MUTED
    return f"! {word}", Style.WARNING


NEAR_LIMIT: Final = 0.5
"""Of the time after which a request is given up: from there on, slow is worth a look."""


def latency(found: LatencyStatus | None) -> Cell:
    """The median of recent requests to a key store, and what 99 of 100 stay under."""
    if found is None:
        return "-", Style.MUTED
    slow = found.p99 >= NEAR_LIMIT * found.limit
    return f"{'! ' if slow else ''}{found.p50} / {found.p99} ms", Style.WARNING if slow else Style.PLAIN


def certificate(days: int | None) -> Cell:
    """How long the certificate of a key store's server is still good."""
    if days is None:
        return "-", Style.MUTED
    soon = days < CERTIFICATE_DAYS
    said = "has ended" if days < 0 else f"{days} days" if days != 1 else "1 day"
    return f"{'! ' if soon else ''}{said}", Style.WARNING if soon else Style.PLAIN


CERTIFICATE_DAYS: Final = 30
BLOCKS: Final = " ▏▎▍▌▋▊▉█"


def bar(share: float, width: int) -> str:
    """``share`` (0 to 1) of ``width`` cells, in eighths. Something is never shown as nothing."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    if share > 0 and eighths == 0:
        eighths = 1
    full, rest = divmod(eighths, 8)
    return (BLOCKS[8] * full + (BLOCKS[rest] if rest else "")).ljust(width)


def countdown(share: float, width: int) -> str:
    """A bar of what is left, on a track that shows what has passed."""
    return bar(share, width).replace(" ", "░")


def sparkline(values: tuple[int, ...], width: int) -> str:
    """The newest values as heights, oldest first; neighbours are summed where there are more than cells."""
    if not values or width <= 0:
        return ""
    group = max(1, -(-len(values) // width))
    start = len(values) % group
    sums = [sum(values[at : at + group]) for at in range(start, len(values), group)][-width:]
    most = max(sums)
    heights = "▁▂▃▄▅▆▇█"
    return "".join(heights[0] if not most else heights[round(value / most * 7)] for value in sums).rjust(width)
