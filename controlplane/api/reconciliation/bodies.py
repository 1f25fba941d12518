"""Bodies of requests, decoded strictly: what the type does not say is refused, and nothing is converted.

Who calls it: handlers that take a body. The framework's own decoding would take ``"7"`` for a number, and would answer
brackets without end with a failure of the server.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from controlplane.errors import InvalidInput

T = TypeVar("T")


def decode(body: bytes, type_: type[T]) -> T:
    """The body as ``type_``. Raises :class:`InvalidInput` with the path of what is wrong."""
    try:
        return msgspec.json.decode(body, type=type_)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"the body is wrong: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidInput("the body is not valid JSON") from None
