"""How an order ended, as a sentence, in the words of the command line."""

from __future__ import annotations

from datetime import datetime

from controlplane.client import Unreachable
from controlplane.errors import KeysteadError
from controlplane.report import moment, time_left
from controlplane.schema.meta import Key, Kind
from tui.feed.messages import Outcome
from tui.feed.orders import Act, Edit

_DOING = {
    "enable": "enabled",
    "disable": "disabled",
    "schedule-deletion": "scheduled for deletion",
    "cancel-deletion": "kept",
    "reconcile": "looked at",
    "rotate": "rotated",
    "delete-material": "emptied",
    "pause": "paused",
    "resume": "resumed",
}

_NOUNS = {
    Kind.KEY: "Key",
    Kind.KEY_STORE: "Key store",
    Kind.PRINCIPAL: "Principal",
    Kind.XKS_PROXY: "XKS proxy",
}


def told(outcome: Outcome, now: datetime) -> tuple[str, bool] | None:
    """The sentence, and whether it is a failure; None for what the screen itself shows."""
    order, error = outcome.order, outcome.error
    match order:
        case Act(action=action, name=name, kind=kind):
            if error is not None:
                return f"{_NOUNS[kind]} {name} was not {_DOING.get(action, action)}: {_why(error)}", True
            return _done(action, kind, name, outcome.value, now), False
        case Edit(kind=kind, name=name, says=says):
            if error is not None:
                return f"{_NOUNS[kind]} {name} was not changed: {_why(error)}", True
            return f"{_NOUNS[kind]} {name} {says}.", False
        case _:
            return None


def _done(action: str, kind: Kind, name: str, value: object, now: datetime) -> str:
    if action == "schedule-deletion" and isinstance(value, Key) and value.metadata.deletion is not None:
        due = value.metadata.deletion.due_at
        when = "after its last replica" if due is None else f"at {moment(due)} ({time_left(due, now)})"
        return f"Key {name} is scheduled for deletion: destroyed {when} unless cancelled (u)."
    if action == "cancel-deletion":
        return f"The deletion of key {name} is cancelled. It is disabled now; in Keys (2), x enables it."
    if action == "rotate":
        return f"Key {name} gets new material; what was encrypted before stays readable."
    if action == "delete-material":
        return f"The imported material of key {name} is deleted. Import the same again to make it usable."
    if action == "pause":
        return f"{_NOUNS[kind]} {name} is paused: nothing is done about it until it is resumed (p)."
    if action == "resume":
        return f"{_NOUNS[kind]} {name} is looked after again."
    if action == "reconcile":
        what = "compared with its key store" if kind is Kind.KEY else "looked at"
        return f"{_NOUNS[kind]} {name} is being {what}."
    return f"Key {name} is {_DOING[action]}."


def _why(error: KeysteadError) -> str:
    unsure = " It may have been done nevertheless: look again." if isinstance(error, Unreachable) else ""
    return f"{error.message}.{unsure}".replace("..", ".")
