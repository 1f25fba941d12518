"""``keystead access-key ...`` and ``keystead token ...``: credentials of principals over the reconciliation API.

Called by ``main``. A secret goes to standard output once, when it is made, and is never an argument: arguments stand
in process lists and shell histories.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from controlplane.cli.output import Output
from controlplane.client import Client
from controlplane.report import Line, Style, moment

T = TypeVar("T")


def create_access_key(principal: str, output: Output, *, url: str | None) -> int:
    """A new access key, as lines for a shell."""
    made = _run(url, lambda client: client.create_access_key(principal))
    output.answer(
        made,
        [
            Line(f"# An access key of {principal}. Its secret is shown this once.", Style.MUTED),
            Line(f"export AWS_ACCESS_KEY_ID={made.access_key_id}"),
            Line(f"export AWS_SECRET_ACCESS_KEY={made.secret_access_key}"),
        ],
    )
    return 0


def list_access_keys(principal: str, output: Output, *, url: str | None) -> int:
    """The access keys of a principal, without secrets."""
    found = _run(url, lambda client: client.access_keys(principal))
    lines = [
        Line(
            f"{key.access_key_id}  {'active  ' if key.active else 'disabled'}  made {moment(key.created_at)}",
            Style.PLAIN if key.active else Style.MUTED,
        )
        for key in found
    ]
    output.answer({"accessKeys": found}, lines or [Line(f"{principal} has no access keys.", Style.MUTED)])
    return 0


def switch_access_key(principal: str, access_key_id: str, output: Output, *, active: bool, url: str | None) -> int:
    """Let an access key sign, or not."""
    key = _run(url, lambda client: client.switch_access_key(principal, access_key_id, active=active))
    word = "signs again" if key.active else "signs nothing any more"
    output.answer(key, [Line(f"Access key {key.access_key_id} {word}.", Style.GOOD)])
    return 0


def delete_access_key(principal: str, access_key_id: str, output: Output, *, url: str | None) -> int:
    """Take an access key away."""
    key = _run(url, lambda client: client.delete_access_key(principal, access_key_id))
    output.answer(key, [Line(f"Access key {key.access_key_id} is gone.", Style.GOOD)])
    return 0


def create_token(
    principal: str, output: Output, *, url: str | None, description: str, expires_in_days: int | None
) -> int:
    """A new bearer token, as a line for a shell."""
    made = _run(url, lambda client: client.create_token(principal, description, expires_in_days=expires_in_days))
    until = f" until {moment(made.expires_at)}" if made.expires_at else ""
    output.answer(
        made,
        [
            Line(f"# Token {made.token_id} of {principal}{until}. It is shown this once.", Style.MUTED),
            Line(f"export KEYSTEAD_TOKEN={made.token}"),
        ],
    )
    return 0


def list_tokens(principal: str, output: Output, *, url: str | None) -> int:
    """The bearer tokens of a principal, without the tokens themselves."""
    found = _run(url, lambda client: client.tokens(principal))
    lines = [
        Line(
            f"{token.token_id}  made {moment(token.created_at)}"
            + (f"  until {moment(token.expires_at)}" if token.expires_at else "")
            + (f"  {token.description}" if token.description else "")
        )
        for token in found
    ]
    output.answer({"tokens": found}, lines or [Line(f"{principal} has no tokens.", Style.MUTED)])
    return 0


def revoke_token(principal: str, token_id: str, output: Output, *, url: str | None) -> int:
    """Take a bearer token away."""
    token = _run(url, lambda client: client.revoke_token(principal, token_id))
    output.answer(token, [Line(f"Token {token.token_id} is revoked.", Style.GOOD)])
    return 0


def _run(url: str | None, ask: Callable[[Client], Awaitable[T]]) -> T:
    async def run() -> T:
        async with Client.from_environment(url) as client:
            return await ask(client)

    return asyncio.run(run())
