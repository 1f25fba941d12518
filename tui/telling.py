"""How an order ended, as a sentence, in the words of the command line."""

from __future__ import annotations

from datetime import datetime

from controlplane.client import Unreachable
from controlplane.errors import KeysteadError
from controlplane.report import moment, time_left
from controlplane.schema.meta import Key
from tui.feed.messages import Outcome
from tui.feed.orders import Edit, KeyOrder

_DOING = {
    "enable": "enabled",
    "disable": "disabled",
    "schedule-deletion": "scheduled for deletion",
    "cancel-deletion": "kept",
    "reconcile": "looked at",
}


def told(outcome: Outcome, now: datetime) -> tuple[str, bool]:
    """The sentence, and whether it is a failure."""
    order, error = outcome.order, outcome.error
    match order:
        case KeyOrder(action=action, name=name):
            if error is not None:
                return f"Key {name} was not {_DOING.get(action, action)}: {_why(error)}", True
            return _done(action, name, outcome.value, now), False
        case Edit(kind=kind, name=name, says=says):
            if error is not None:
                return f"{kind} {name} was not changed: {_why(error)}", True
            return f"{kind} {name} {says}.", False


def _done(action: str, name: str, value: object, now: datetime) -> str:
    if action == "schedule-deletion" and isinstance(value, Key) and value.metadata.deletion is not None:
        due = value.metadata.deletion.due_at
        when = "after its last replica" if due is None else f"at {moment(due)} ({time_left(due, now)})"
        return f"Key {name} is scheduled for deletion: destroyed {when} unless cancelled (u)."
    if action == "cancel-deletion":
        return f"The deletion of key {name} is cancelled. It is disabled now; in Keys (2), x enables it."
    if action == "reconcile":
        return f"Key {name} is being compared with its key store."
    return f"Key {name} is {_DOING[action]}."


def _why(error: KeysteadError) -> str:
    unsure = " It may have been done nevertheless: look again." if isinstance(error, Unreachable) else ""
    return f"{error.message}.{unsure}".replace("..", ".")
