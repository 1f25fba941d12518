"""What the feed tells: how the connection stands, answers, and how orders end."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Any

import msgspec
from textual.message import Message

from controlplane.errors import KeysteadError
from controlplane.schema.browse import Access
from controlplane.schema.plans import ServerInfo
from tui.feed.orders import Order
from tui.feed.questions import Question


class Standing(Enum):
    """How the connection to the server stands."""

    CONNECTING = "connecting"
    LIVE = "live"
    LOST = "lost"
    """It was there; what is on the screen is stale."""
    REFUSED = "refused"
    """It cannot work like this: the server does not let us in, or the address or token cannot be used."""


class Link(msgspec.Struct, frozen=True):
    """The connection to the server, as the frame shows it. ``since`` is when it began to stand like this."""

    standing: Standing
    since: datetime
    why: str = ""
    retry_at: datetime | None = None
    server: ServerInfo | None = None
    access: Access | None = None

    @property
    def live(self) -> bool:
        return self.standing is Standing.LIVE


class LinkChanged(Message):
    """The connection stands otherwise than before."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self.link = link


class _About(Message):
    """About a standing question. ``slot`` is the one in which it was asked."""

    bubble = False

    def __init__(self, question: Question, slot: str) -> None:
        super().__init__()
        self.question, self.slot = question, slot


class Answer(_About):
    """What the server answered, and when by the server's clock."""

    def __init__(self, question: Question, slot: str, value: Any, at: datetime) -> None:
        super().__init__(question, slot)
        self.value, self.at = value, at


class Trouble(_About):
    """It was not answered. What was answered before stays as it was."""

    def __init__(self, question: Question, slot: str, error: KeysteadError) -> None:
        super().__init__(question, slot)
        self.error = error


class Progressed(Message):
    """An order that takes its time is this far."""

    bubble = False

    def __init__(self, order: Order, value: Any) -> None:
        super().__init__()
        self.order, self.value = order, value


class Outcome(Message):
    """How an order ended: what came of it, or why it was not done."""

    bubble = False

    def __init__(self, order: Order, value: Any = None, error: KeysteadError | None = None) -> None:
        super().__init__()
        self.order, self.value, self.error = order, value, error
