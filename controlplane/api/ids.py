"""Request ids: random UUIDs (RFC 9562, version 4) without the objects, which cost three times the digits.

They are no secrets, so their octets come from the kernel for many at a time: where system calls are slow (50
microseconds in a sandbox), one for each request cost as much as checking its signature.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

_VARIANT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
_OCTETS: Final = 16
_AT_A_TIME: Final = 256


def request_id() -> str:
    """A new one. For one thread of a process."""
    digits = next(_supply)
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{_VARIANT[digits[16]]}{digits[17:20]}-{digits[20:]}"


def _supplied() -> Iterator[str]:
    while True:
        octets = os.urandom(_OCTETS * _AT_A_TIME)
        for at in range(0, len(octets), _OCTETS):
            yield octets[at : at + _OCTETS].hex()


_supply: Final = _supplied()
