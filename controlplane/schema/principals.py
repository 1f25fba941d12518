"""Kind ``Principal``: a user or role that may call the doors. Credentials are issued apart and never part of it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec

from controlplane.schema.base import Frozen
from controlplane.schema.conditions import Condition
from controlplane.schema.keys import PolicySource


class PrincipalType(StrEnum):
    USER = "user"
    ROLE = "role"


class DesiredPrincipal(Frozen):
    """``spec`` of a Principal. ``administrator`` may do everything; everyone else what the policies allow."""

    type: PrincipalType = PrincipalType.USER
    description: Annotated[str, msgspec.Meta(max_length=1000)] = ""
    administrator: bool = False
    policies: dict[Annotated[str, msgspec.Meta(min_length=1, max_length=128)], PolicySource] = msgspec.field(
        default_factory=dict
    )


class PrincipalStatus(Frozen):
    """``status`` of a Principal."""

    arn: str
    created_at: datetime
    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
