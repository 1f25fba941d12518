"""Orders: what a person has decided, as data, and how each is carried out. Each has its twin in the command line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from controlplane.client import Client
from controlplane.errors import InvalidInput
from controlplane.schema.documents import declare
from controlplane.schema.keys import Management
from controlplane.schema.meta import AnyObject, Kind


class _Order(msgspec.Struct, frozen=True):
    pass


class KeyOrder(_Order, frozen=True):
    """``action`` as the reconciliation API names it. ``window_days`` is for schedule-deletion."""

    action: str
    name: str
    window_days: int | None = None


class Edit(_Order, frozen=True):
    """Change fields of an object's spec: description, tags, connected, management."""

    kind: Kind
    name: str
    changes: dict[str, Any]
    says: str
    """What was done, for the person who did it: ``is paused``."""


Order = KeyOrder | Edit


async def carry_out(client: Client, order: Order) -> AsyncIterator[tuple[Any, bool]]:
    """Values on the way with False, what came of it with True. Raises :class:`KeysteadError`."""
    match order:
        case KeyOrder():
            yield await _act(client, order), True
        case Edit():
            yield await _edit(client, order), True


async def _act(client: Client, order: KeyOrder) -> AnyObject:
    match order.action:
        case "enable":
            return await client.enable(order.name)
        case "disable":
            return await client.disable(order.name)
        case "schedule-deletion":
            return await client.schedule_deletion(order.name, order.window_days)
        case "cancel-deletion":
            return await client.cancel_deletion(order.name)
        case "reconcile":
            return await client.reconcile(order.name)
    raise InvalidInput(f"there is no action {order.action}")


async def _edit(client: Client, order: Edit) -> AnyObject:
    """Read, change, write what was read: a change by others in between is an error and not overwritten."""
    present = await client.get(order.kind, order.name)
    changes = {name: Management(value) if name == "management" else value for name, value in order.changes.items()}
    spec = msgspec.structs.replace(present.spec, **changes)
    return await client.put(declare(present.metadata.name, spec), version=present.metadata.resource_version)
