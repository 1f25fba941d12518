"""Base of every Struct on the wire, and the patterns that names follow."""

from __future__ import annotations

from typing import Annotated, Final, dataclass_transform

import msgspec

API_VERSION: Final = "keystead/v1"

# Python's `$` also matches before a final line feed, so "payments\n" would pass as a name; JSON Schema has no `\Z`.
NAME_PATTERN = r"^[a-z0-9]([a-z0-9._-]{0,125}[a-z0-9])?$(?!\n)"
ALIAS_PATTERN = r"^[a-zA-Z0-9/_-]{1,250}$(?!\n)"
EXTERNAL_KEY_ID_PATTERN = r"^(?!\.{1,2}$)[A-Za-z0-9._-]{1,128}$(?!\n)"
REGION_PATTERN = r"^[a-z]{2}(-[a-z]+)+-[0-9]{1,2}$(?!\n)"
ACCOUNT_PATTERN = r"^[0-9]{12}$(?!\n)"

Name = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN, description="Lower-case letters, digits, '.', '_' and '-'.")]
Alias = Annotated[
    str, msgspec.Meta(pattern=ALIAS_PATTERN, description="An alias without its 'alias/' prefix, unique in its Region.")
]
ExternalKeyId = Annotated[
    str,
    msgspec.Meta(pattern=EXTERNAL_KEY_ID_PATTERN, description="1 to 128 letters, digits, '.', '_' and '-'."),
]
"""``.`` and ``..`` alone are left out: whoever signs a URI path removes such segments."""
Region = Annotated[str, msgspec.Meta(pattern=REGION_PATTERN, description="An AWS Region name such as eu-central-1.")]


class Wire(msgspec.Struct, rename="camel", forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """camelCase on the wire, unknown fields refused, defaults left out."""


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))  # mypy does not see frozen inherited
class Frozen(
    msgspec.Struct,
    frozen=True,
    rename="camel",
    forbid_unknown_fields=True,
    omit_defaults=True,
    kw_only=True,
    gc=False,
):
    """The same, immutable: desired state is replaced, never edited in place.

    So it is a tree, and the garbage collector need not walk it: a process keeps a hundred thousand keys.
    """
