"""``get``, ``describe``, the actions on a key, ``schema`` and ``completion``.

Called by ``main`` with parsed arguments; each function answers the exit code and raises :class:`KeysteadError` for
everything that is wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from controlplane.cli.output import Output, interactive
from controlplane.errors import InvalidInput, KeysteadError
from controlplane.report import Line, Style, describe_lines, moment, table_lines
from controlplane.schema.events import Event
from controlplane.schema.keys import RefusedUse
from controlplane.schema.meta import AnyObject, DeletionRequest, Key, Kind

if TYPE_CHECKING:
    import click

KeyAction = Literal["enable", "disable", "schedule-deletion", "cancel-deletion", "rotate", "make-primary"]

_PLURALS = {
    Kind.KEY: "keys",
    Kind.KEY_STORE: "key stores",
    Kind.PRINCIPAL: "principals",
    Kind.XKS_PROXY: "XKS proxies",
}


def get(kind: Kind, name: str | None, output: Output, *, url: str | None, spec_set: str | None = None) -> int:
    """A table of the objects of a kind, or of the one with this name."""
    items, now = asyncio.run(_get(kind, name, url, spec_set))
    if name is not None:
        output.answer(items[0], table_lines(kind, items, now))
        return 0
    where = f" in spec set {spec_set}" if spec_set else ""
    nothing = [] if items else [Line(f"There are no {_PLURALS[kind]}{where}.", Style.MUTED)]
    output.answer({"items": items}, [*table_lines(kind, items, now), *nothing])
    return 0


async def _get(kind: Kind, name: str | None, url: str | None, spec_set: str | None) -> tuple[list[AnyObject], datetime]:
    from controlplane.client import Client

    async with Client.from_environment(url) as client:
        if name is None:
            found = [item async for item in client.objects(kind, spec_set=spec_set)]
        else:
            found = [await client.get(kind, name)]
    return found, datetime.now(UTC)


EVENTS: Final = 10
"""The newest ones of the object that is described."""


def describe(kind: Kind, name: str, output: Output, *, url: str | None) -> int:
    """Everything about one object."""
    item, refused, events = asyncio.run(_describe(kind, name, url))
    value = msgspec.to_builtins(item)
    if item.kind is Kind.KEY:
        value["refusedUses"] = refused
    value["events"] = events
    output.answer(value, describe_lines(item, datetime.now(UTC), refused, events))
    return 0


async def _describe(kind: Kind, name: str, url: str | None) -> tuple[AnyObject, list[RefusedUse], Sequence[Event]]:
    from controlplane.client import Client

    async with Client.from_environment(url) as client:
        item = await client.get(kind, name)
        refused = await client.refused_uses(item.metadata.name) if item.kind is Kind.KEY else []
        return item, refused, (await client.events(uid=item.metadata.uid, limit=EVENTS)).items


def act(
    action: KeyAction,
    name: str,
    output: Output,
    *,
    url: str | None,
    window_days: int | None = None,
    yes: bool = True,
) -> int:
    """One action on one key. ``yes`` false asks first."""
    if not yes and (refusal := _ask(name, output, url)):
        raise refusal
    key = asyncio.run(_act(action, name, url, window_days))
    output.answer(key, [_done(action, key)])
    return 0


async def _act(action: KeyAction, name: str, url: str | None, window_days: int | None) -> Key:
    from controlplane.client import Client

    async with Client.from_environment(url) as client:
        match action:
            case "enable":
                return await client.enable(name)
            case "disable":
                return await client.disable(name)
            case "schedule-deletion":
                return await client.schedule_deletion(name, window_days)
            case "cancel-deletion":
                return await client.cancel_deletion(name)
            case "rotate":
                return await client.rotate(name)
            case "make-primary":
                return await client.make_primary(name)


def _ask(name: str, output: Output, url: str | None) -> KeysteadError | None:
    """Why the key must not be scheduled for deletion, or None for a ``yes``."""
    from controlplane.client import Client

    if output.json or not interactive():
        return InvalidInput("nobody can be asked here, so nothing was changed; pass --yes to go on without asking")
    server = Client.from_environment(url).url
    if output.ask(f"Schedule key {name} on {server} for deletion? Only 'yes' is accepted:"):
        return None
    return InvalidInput("not confirmed; nothing was changed")


def _done(action: KeyAction, key: Key) -> Line:
    name, deletion = key.metadata.name, key.metadata.deletion
    if action == "schedule-deletion" and deletion is not None:
        return Line(
            f"Key {name} is scheduled for deletion: destroyed {_when(deletion)} "
            f"unless cancelled with: keystead cancel-deletion {name}",
            Style.DELETE,
        )
    if action == "cancel-deletion":
        enabled = "enabled" if key.spec.enabled else f"disabled; enable it with: keystead enable {name}"
        return Line(f"The deletion of key {name} is cancelled. It is {enabled}.", Style.GOOD)
    if action == "rotate":
        return Line(
            f"Key {name} gets new material; what it encrypted stays readable. See: keystead describe key {name}"
        )
    if action == "make-primary":
        return Line(f"Key {name} is the primary key now; the former primary is a replica of it.", Style.GOOD)
    return Line(f"Key {name} is {'enabled' if key.spec.enabled else 'disabled'}.", Style.GOOD)


def _when(deletion: DeletionRequest) -> str:
    if deletion.due_at is None:
        return f"{deletion.window_days} days after its last replica key is gone"
    return f"at {moment(deletion.due_at)} ({deletion.window_days} days)"


def schema(output: Output) -> int:
    """The JSON Schema of a document; JSON with and without ``--json``."""
    from controlplane.schema.jsonschema import json_schema

    output.text(msgspec.json.format(msgspec.json.encode(json_schema()), indent=2).decode())
    return 0


def completion(shell: str, command: click.Command, output: Output) -> int:
    """The script that makes a shell complete ``keystead``."""
    from click.shell_completion import get_completion_class

    complete = get_completion_class(shell)
    assert complete is not None, shell
    script = complete(command, {}, "keystead", "_KEYSTEAD_COMPLETE").source()
    if output.json:
        output.answer({"shell": shell, "script": script}, ())
    else:
        output.text(script)
    return 0
