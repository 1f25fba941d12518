"""Who caused a call: for stores that pass it on, such as an external key store whose manager decides by it.

The host sets it around the work of one request; a plugin asks with :func:`call_info` inside a method of the contract.
It travels beside the arguments (a context variable of the running task), so plugins that do not care have nothing to
do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token

import msgspec


class CallInfo(msgspec.Struct, frozen=True):
    """One request as the caller made it. ``operation`` is that of the KMS API, such as ``GenerateDataKey``."""

    operation: str
    principal: str
    """ARN."""
    request_id: str
    via_service: str | None = None
    source_vpc: str | None = None
    source_vpce: str | None = None


_current: ContextVar[CallInfo | None] = ContextVar("keystead_call", default=None)


def call_info() -> CallInfo | None:
    """The request that caused the present call; None if the server itself did (a probe, a pass of the reconciler)."""
    return _current.get()


@contextmanager
def caused_by(info: CallInfo | None) -> Iterator[None]:
    """The host's: within this, what the task calls is caused by that request."""
    token = set_call_info(info)
    try:
        yield
    finally:
        reset_call_info(token)


def set_call_info(info: CallInfo | None) -> Token[CallInfo | None]:
    """The host's, where every microsecond counts: the same, until :func:`reset_call_info`."""
    return _current.set(info)


def reset_call_info(token: Token[CallInfo | None]) -> None:
    """The host's: the request is over."""
    _current.reset(token)
