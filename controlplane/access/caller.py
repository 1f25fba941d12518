"""Who calls: what authentication hands to everything behind it. Holds no credential."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec


class CallerType(StrEnum):
    """Values of ``aws:PrincipalType`` that callers of this server have."""

    USER = "User"
    ROLE = "AssumedRole"


class Identity(msgspec.Struct, frozen=True, gc=False):
    """A principal, or a session of one, as it stands at one generation. Made once and kept."""

    arn: str
    account: str
    type: CallerType
    name: str
    """Of the user or role, without the session's name."""
    user_id: str
    """``aws:userid``: the principal's unique id; for a session with a colon and the session's name behind it."""
    policies: tuple[str, ...]
    """Identity policies."""
    tags: Mapping[str, str] = msgspec.field(default_factory=dict)
    """``aws:PrincipalTag``: the principal's tags and, over them, the session's."""
    role_arn: str | None = None
    """Of a session: the role's."""
    session_policy: str | None = None
    """Of a session: it allows nothing that this policy does not."""
    issued_at: float | None = None
    """Of a session: when it began, in seconds since the epoch."""
    source_identity: str | None = None
    """Of a session: ``aws:SourceIdentity``, which sessions of sessions keep."""


class Caller(msgspec.Struct, frozen=True, gc=False):
    """One authenticated request's principal and circumstances."""

    identity: Identity
    region: str
    request_id: str
    source: str
    """Address of the peer, for the audit record."""
    secure: bool = False
    """Whether the request came over TLS."""
    user_agent: str = ""

    @property
    def principal(self) -> str:
        """ARN."""
        return self.identity.arn

    @property
    def account(self) -> str:
        return self.identity.account

    @property
    def identity_policies(self) -> tuple[str, ...]:
        return self.identity.policies
