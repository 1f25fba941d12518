"""``set``, ``connect``, ``disconnect``: changes of one field of one object, as the terminal UI makes them; ``probe``.

Called by ``edit_commands`` with parsed arguments; each function answers the exit code and raises
:class:`KeysteadError` for everything that is wrong. What changed in between is never overwritten.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from controlplane.cli.output import Output, interactive
from controlplane.errors import InvalidInput
from controlplane.report import Line, Style, probe_lines
from controlplane.schema.keys import Management
from controlplane.schema.meta import AnyObject, Key, Kind

if TYPE_CHECKING:
    from controlplane.client import Client

T = TypeVar("T")


def set_fields(
    name: str,
    output: Output,
    *,
    url: str | None,
    description: str | None,
    tags: Sequence[str],
    untags: Sequence[str],
) -> int:
    """Description and tags of a key."""
    wanted = dict(_tag(each) for each in tags)
    if description is None and not wanted and not untags:
        raise InvalidInput("say what is to change: --description TEXT, --tag TAG=VALUE or --untag TAG")
    if both := wanted.keys() & set(untags):
        raise InvalidInput(f"{', '.join(sorted(both))}: a tag is given or taken away, not both")

    async def ask(client: Client) -> AnyObject:
        key = await client.get(Kind.KEY, name)
        assert isinstance(key, Key)
        if unknown := set(untags) - key.spec.tags.keys():
            raise InvalidInput(f"key {name} has no tag {', '.join(sorted(unknown))}")
        changes: dict[str, Any] = {} if description is None else {"description": description}
        if wanted or untags:
            kept = {tag: value for tag, value in key.spec.tags.items() if tag not in untags}
            changes["tags"] = {**kept, **wanted}
        return await client.edit(Kind.KEY, key.metadata.name, changes)

    done = _ask(url, ask)
    lines = [Line(f"Key {done.metadata.name} is changed.", Style.GOOD)]
    left_alone = done.spec.management in (Management.OBSERVE, Management.PAUSED)
    if (owner := done.metadata.spec_set) is not None and not left_alone:
        lines.append(Line(f"What spec set {owner} states is put back: change that in its files.", Style.WARNING))
    output.answer(done, lines)
    return 0


def connect(name: str, output: Output, *, url: str | None) -> int:
    """Declare a key store connected."""
    done = _ask(url, lambda client: client.edit(Kind.KEY_STORE, name, {"connected": True}))
    return _say(done, Line(f"Key store {name} is declared connected. See: keystead describe keystore {name}"), output)


def disconnect(name: str, output: Output, *, url: str | None, yes: bool) -> int:
    """Declare a key store disconnected. ``yes`` false asks first."""
    if not yes:
        if output.json or not interactive():
            raise InvalidInput("nobody can be asked here, so nothing was changed; pass --yes to go on without asking")
        if not output.ask(
            f"Disconnect key store {name}, so that none of its keys can be used? Only 'yes' is accepted:"
        ):
            raise InvalidInput("not confirmed; nothing was changed")
    done = _ask(url, lambda client: client.edit(Kind.KEY_STORE, name, {"connected": False}))
    line = Line(f"Key store {name} is declared disconnected. Connect it with: keystead connect {name}", Style.WARNING)
    return _say(done, line, output)


def probe(name: str, output: Output, *, url: str | None, external_key: str | None) -> int:
    """Have the server try a key store. 0, or 1 if it broke a promise."""
    report = _ask(url, lambda client: client.probe(name, external_key))
    output.answer(report, probe_lines(report))
    return 0 if report.passed else 1


def _tag(text: str) -> tuple[str, str]:
    tag, separator, value = text.partition("=")
    if not tag or not separator:
        raise InvalidInput(f"{text!r} is no tag; write TAG=VALUE, such as team=payments")
    return tag, value


def _say(done: AnyObject, line: Line, output: Output) -> int:
    output.answer(done, [line])
    return 0


def _ask(url: str | None, ask: Callable[[Client], Awaitable[T]]) -> T:
    from controlplane.client import Client

    async def run() -> T:
        async with Client.from_environment(url) as client:
            return await ask(client)

    return asyncio.run(run())
