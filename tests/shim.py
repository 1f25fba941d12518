"""A PKCS#11 module that fails as a test says, in front of a real one: built from ``shim.c``, steered by shared memory.

Guarantee: a fault strikes the call that was named, once, in whatever worker process it happens; what the shim counts
(calls, logins, wrong PINs, sessions) is over all processes.
"""

from __future__ import annotations

import atexit
import mmap
import secrets
import shutil
import struct
import subprocess
import tempfile
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from tests.hsm import NssToken, SoftToken, need

_FIELDS: Final = (
    "calls",
    "at",
    "effect",
    "code",
    "only",
    "struck",
    "logins",
    "wrong_pins",
    "wrong_pins_allowed",
    "sessions_allowed",
    "other_user",
    "writes_iv",
    "gcm_length",
    "iv_bits",
    "encrypt_us",
)
_PROCESSES: Final = 64
_SIZE: Final = 8 * (len(_FIELDS) + 2 * _PROCESSES)

FUNCTIONS: Final = {
    "C_GetSlotList": 4,
    "C_OpenSession": 12,
    "C_Login": 18,
    "C_DestroyObject": 22,
    "C_FindObjects": 27,
    "C_EncryptInit": 29,
    "C_Encrypt": 30,
    "C_Decrypt": 34,
    "C_GenerateKey": 58,
    "C_GenerateRandom": 64,
}
"""Places in CK_FUNCTION_LIST of the functions that tests strike by name."""

DEVICE_REMOVED: Final = 0x32


class Effect(IntEnum):
    """What happens to a call."""

    NOTHING = 0
    FAIL = 1
    """It does nothing and answers ``code``."""
    FAIL_AFTER = 2
    """It does its work and answers ``code``."""
    HANG = 3
    CRASH = 4
    GONE = 5
    """It and every one after it answers ``code``, until the test says otherwise."""


@cache
def _built() -> Path:
    """The module, compiled once for each process of the test run, and removed when that ends."""
    directory = Path(tempfile.mkdtemp(prefix="keystead-shim-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    library = directory / "shim.so"
    source = Path(__file__).with_name("shim.c")
    command = [need("gcc"), "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-cast-function-type"]
    done = subprocess.run(
        [*command, "-o", library, source, "-ldl"], capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        pytest.fail(f"the shim does not compile: {done.stderr}")
    return library


class Shim:
    """The module in front of a token's own, and what it is told."""

    def __init__(self, token: SoftToken | NssToken) -> None:
        self._token = token
        self._path = token.directory / f"shim-{secrets.token_hex(4)}"
        self._path.write_bytes(bytes(_SIZE))
        with self._path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), _SIZE)

    def __getattr__(self, name: str) -> int:
        if name not in _FIELDS:
            raise AttributeError(name)
        return int(struct.unpack_from("<q", self._shared, 8 * _FIELDS.index(name))[0])

    def set(self, **fields: int) -> None:
        """Write some of the control block's fields."""
        for name, value in fields.items():
            struct.pack_into("<q", self._shared, 8 * _FIELDS.index(name), value)

    def close(self) -> None:
        self._shared.close()

    @property
    def sessions(self) -> int:
        """Open sessions of all processes that the shim ever saw, dead ones too."""
        pairs = struct.unpack_from(f"<{2 * _PROCESSES}q", self._shared, 8 * len(_FIELDS))
        return sum(pairs[1::2])

    def options(self, **more: Any) -> dict[str, Any]:
        """Of a key store on the token through the shim, without the PIN."""
        options = self._token.options()
        environment = {
            **options["environment"],
            "SHIM_MODULE": need(self._token.module),
            "SHIM_CONTROL": str(self._path),
        }
        return {**options, "module": str(_built()), "environment": environment, **more}

    def strike(self, effect: Effect, code: int = 0, *, at: int | None = None, function: str | None = None) -> None:
        """Let a call suffer: the ``at``-th from now, or the next one of a function."""
        assert (at is None) != (function is None)
        only = -1 if function is None else FUNCTIONS[function]
        self.set(calls=0, struck=0, at=-1 if at is None else at, only=only, code=code, effect=effect)

    def pull_out(self, code: int = DEVICE_REMOVED) -> None:
        """From now on every call answers that the device is gone."""
        self.set(code=code, effect=Effect.GONE)

    def heal(self) -> None:
        """Everything works again."""
        self.set(effect=Effect.NOTHING)
