"""What the AWS doors have in common on the wire: an answer as bytes, and how large a request may be.

Who uses it: ``api.app``, the KMS door and the STS door.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

MAX_BODY: Final = 1_048_576
"""Octets of a request body; a larger one is not read."""

Headers = Sequence[tuple[bytes, bytes]]
"""As ASGI gives them: names in lower case."""


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What goes back over the wire."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
