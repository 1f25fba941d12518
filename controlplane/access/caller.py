"""Who calls: what authentication hands to everything behind it."""

from __future__ import annotations

import msgspec


class Caller(msgspec.Struct, frozen=True):
    """One authenticated request's principal and circumstances. Holds no credential."""

    principal: str
    """ARN."""
    account: str
    region: str
    identity_policies: tuple[str, ...]
    request_id: str
    source: str
    """Address of the peer, for the audit record."""
