"""Kind ``Principal``: a user or role that may call the doors. Credentials are issued apart and never part of it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec

from controlplane.schema.base import Frozen
from controlplane.schema.conditions import Condition
from controlplane.schema.keys import Management, PolicySource


class PrincipalType(StrEnum):
    USER = "user"
    ROLE = "role"


class DesiredPrincipal(Frozen):
    """``spec`` of a Principal. ``administrator`` may do everything; everyone else what the policies allow.

    A role has no credentials of its own: who its ``trustPolicy`` and an identity policy allow assumes it, for a session
    of at most ``maxSessionSeconds`` (one hour if that is absent).
    """

    type: PrincipalType = PrincipalType.USER
    description: Annotated[str, msgspec.Meta(max_length=1000)] = ""
    administrator: bool = False
    policies: dict[Annotated[str, msgspec.Meta(min_length=1, max_length=128)], PolicySource] = msgspec.field(
        default_factory=dict
    )
    """Identity policies, by name."""
    tags: dict[
        Annotated[str, msgspec.Meta(min_length=1, max_length=128)], Annotated[str, msgspec.Meta(max_length=256)]
    ] = msgspec.field(default_factory=dict)
    """``aws:PrincipalTag/NAME`` in policies."""
    trust_policy: PolicySource | None = None
    max_session_seconds: Annotated[int, msgspec.Meta(ge=3_600, le=43_200)] | None = None
    management: Management = Management.FULL


class PrincipalStatus(Frozen):
    """``status`` of a Principal."""

    arn: str
    created_at: datetime
    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
