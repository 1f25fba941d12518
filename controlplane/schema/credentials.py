"""Credentials of principals as the reconciliation API shows them. What is secret is answered once, when it is made."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from controlplane.schema.base import Frozen


class AccessKeyInfo(Frozen, omit_defaults=False):
    """An access key, for requests that are signed with SigV4."""

    access_key_id: str
    active: bool
    created_at: datetime


class IssuedAccessKey(Frozen, omit_defaults=False):
    """A new access key with its secret."""

    access_key_id: str
    secret_access_key: str
    created_at: datetime

    def __repr__(self) -> str:
        return f"IssuedAccessKey({self.access_key_id})"


class AccessKeyChange(Frozen):
    """Body of a change: a disabled key stays and signs nothing."""

    active: bool


class TokenInfo(Frozen, omit_defaults=False):
    """A bearer token of the reconciliation API."""

    token_id: str
    description: str
    created_at: datetime
    expires_at: datetime | None = None


class TokenRequest(Frozen):
    """Body of a request for a token. Without ``expires_in_days`` it holds until it is revoked."""

    description: Annotated[str, msgspec.Meta(max_length=200)] = ""
    expires_in_days: Annotated[int, msgspec.Meta(ge=1, le=3650)] | None = None


class IssuedToken(Frozen, omit_defaults=False):
    """A new bearer token."""

    token_id: str
    token: str
    created_at: datetime
    expires_at: datetime | None = None

    def __repr__(self) -> str:
        return f"IssuedToken({self.token_id})"
