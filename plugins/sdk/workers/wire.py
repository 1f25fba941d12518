"""Frames between a worker and its parent: four octets of length, big-endian, and a MessagePack array.

To the worker: first ``[target, configuration]``, then ``[number, method, arguments]``. From it: ``[number, status,
answer]``, number 0 for the beginning; one answer for each request, in their order, each sent before the next request
is looked at. The parent counts on that order: what is unanswered behind the first unanswered request was never begun.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

import msgspec

from plugins.sdk.secret import SecretBytes

HEADER: Final = 4
MAX_FRAME: Final = 16 * 1024 * 1024
START: Final = 0
"""Number of the answer that says that the target is there."""


def _plain(value: Any) -> Any:
    """The one place where a secret leaves its wrapping: on the way into the worker's socket."""
    if isinstance(value, SecretBytes):
        return value.expose()
    raise NotImplementedError(f"a {type(value).__name__} does not travel to or from a worker")


_encode = msgspec.msgpack.Encoder(enc_hook=_plain).encode
_decode = msgspec.msgpack.Decoder().decode


class Status(IntEnum):
    """How a call ended."""

    ANSWERED = 0
    FAILED = 1
    REPLACE = 2
    """It failed, and the worker ends itself."""


class BrokenFrame(Exception):
    """What came is no frame of this protocol: the worker's memory cannot be trusted any more."""


def frame(*fields: Any) -> bytes:
    """One frame."""
    body = _encode(fields)
    if len(body) > MAX_FRAME:
        raise BrokenFrame(f"a frame of {len(body)} octets is larger than {MAX_FRAME}")
    return len(body).to_bytes(HEADER, "big") + body


class Frames:
    """Frames out of a stream of octets."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, octets: bytes) -> list[list[Any]]:
        """The frames that are complete now. Raises :class:`BrokenFrame`."""
        buffer = self._buffer
        buffer += octets
        whole: list[list[Any]] = []
        position = 0
        while len(buffer) - position >= HEADER:
            length = int.from_bytes(buffer[position : position + HEADER], "big")
            if length > MAX_FRAME:
                raise BrokenFrame(f"a frame of {length} octets is larger than {MAX_FRAME}")
            end = position + HEADER + length
            if len(buffer) < end:
                break
            try:
                fields = _decode(bytes(buffer[position + HEADER : end]))
            except msgspec.DecodeError:
                raise BrokenFrame("a frame does not decode") from None
            if not isinstance(fields, list):
                raise BrokenFrame("a frame is not an array")
            whole.append(fields)
            position = end
        del buffer[:position]
        return whole
