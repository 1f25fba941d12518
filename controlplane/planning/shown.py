"""Fields of a change as a plan shows them: secrets masked, what cannot change named.

Who calls it: ``planner``, and whoever shows fields that drifted.
"""

from __future__ import annotations

from typing import Any, Final

from controlplane.domain.diff import FieldChange
from controlplane.schema.meta import Kind
from controlplane.schema.plans import FieldPlan

_SECRET_WORDS: Final = ("pin", "password", "passphrase", "secret", "accesskey", "token", "credential", "apikey")
"""Ends of names of options that hold secrets, in lower case: ``userPin`` and ``clientSecret`` as well as ``pin``."""


def shown_field(change: FieldChange, kind: Kind) -> FieldPlan:
    """One field of a change, masked if it may hold a secret."""
    # Options of key stores are the one place where a spec can hold a secret; a tag named `token` is none.
    sensitive = kind is Kind.KEY_STORE and (
        any(_secret_name(part) for part in change.path.split("."))
        or _holds_secret(change.before)
        or _holds_secret(change.after)
    )
    return FieldPlan(
        path=change.path,
        before=_masked(change.before) if sensitive else change.before,
        after=_masked(change.after) if sensitive else change.after,
        sensitive=sensitive,
        immutable=change.immutable,
    )


def _secret_name(name: str) -> bool:
    return name.lower().endswith(_SECRET_WORDS)


def _holds_secret(value: Any) -> bool:
    """Lists are compared as a whole, so a secret may stand deep in one."""
    if isinstance(value, dict):
        return any(_secret_name(name) or _holds_secret(item) for name, item in value.items())
    return isinstance(value, list) and any(_holds_secret(item) for item in value)


def _masked(value: Any) -> Any:
    return None if value is None else "(sensitive)"
