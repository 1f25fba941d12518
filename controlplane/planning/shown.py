"""Fields of a change as a plan shows them: secrets masked, what cannot change named.

Who calls it: ``planner``, and whoever shows fields that drifted.
"""

from __future__ import annotations

from typing import Any

from controlplane.domain.diff import FieldChange
from controlplane.schema.meta import Kind
from controlplane.schema.plans import FieldPlan
from controlplane.schema.secrets import holds_secret


def shown_field(change: FieldChange, kind: Kind) -> FieldPlan:
    """One field of a change, masked if it may hold a secret."""
    # Options of key stores are the one place where a spec can hold a secret; a tag named `token` is none.
    sensitive = kind is Kind.KEY_STORE and any(
        holds_secret(change.path, value) for value in (change.before, change.after)
    )
    return FieldPlan(
        path=change.path,
        before=_masked(change.before) if sensitive else change.before,
        after=_masked(change.after) if sensitive else change.after,
        sensitive=sensitive,
        immutable=change.immutable,
    )


def _masked(value: Any) -> Any:
    return None if value is None else "(sensitive)"
