"""A library that blocks, crashes and lies, for the tests of the worker base. Runs in worker processes."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

from plugins.sdk import CredentialsRefused, InvalidRequest, OutcomeUnknown, Unavailable
from plugins.sdk.workers import ReplaceWorker

SECRET = "hunter2-of-the-worker-tests"


class Library:
    """``configuration`` is a mapping with a directory to leave marks in and, perhaps, a fault to begin with."""

    def __init__(self, configuration: dict[str, Any]) -> None:
        self._marks = Path(configuration["marks"])
        self.secret = configuration.get("secret", "")
        self._log("begin")
        refusal = self._marks / "refuse"
        if refusal.exists():
            raise CredentialsRefused("the PIN is wrong", reason="PinIncorrect")
        if (self._marks / "absent").exists():
            raise Unavailable("the device is not there", reason="DeviceRemoved")
        if (self._marks / "explode").exists():
            raise RuntimeError(f"driver failure, pin={SECRET}")
        if (self._marks / "slow").exists():
            time.sleep(0.5)
            self._log("begun")
        if (self._marks / "sleep").exists():
            time.sleep(3600)

    def describe(self) -> dict[str, Any]:
        return {"pid": os.getpid(), "threads": threading.active_count()}

    def close(self) -> None:
        self._log("close")
        if (self._marks / "stay").exists():
            time.sleep(3600)

    def echo(self, value: Any) -> Any:
        return value

    def pid(self) -> int:
        return os.getpid()

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def count(self, name: str) -> int:
        """How often it was called under that name, over all processes."""
        self._log(name)
        return (self._marks / name).read_text().count("\n")

    def hang(self) -> NoReturn:
        self._log("hang")
        while True:  # a signal ends one sleep
            ctypes.PyDLL(None).sleep(
                3600
            )  # holds the interpreter's lock, as a library that knows nothing of Python may

    def change(self) -> None:
        """Half of it is done until the test says "go on"."""
        self._log("half")
        while not (self._marks / "go on").exists():
            time.sleep(0.01)
        self._log("whole")

    def hang_once(self, name: str) -> int:
        if self.count(name) == 1:
            self.hang()
        return self.count(name)

    def crash(self) -> None:
        self._log("crash")
        ctypes.string_at(0)

    def crash_once(self, name: str) -> str:
        if self.count(name) == 1:
            os.abort()
        return "done"

    def sleep(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    def refuse(self) -> None:
        raise InvalidRequest("the input is too long", reason="TooLong")

    def explode(self) -> None:
        raise RuntimeError(f"driver failure, pin={SECRET}")

    def replace(self, name: str, unknown: bool = False) -> str:
        if self.count(name) == 1:
            error = OutcomeUnknown("no answer came") if unknown else Unavailable("the module has to be loaded anew")
            raise ReplaceWorker(error)
        return "done"

    def garbage(self, octets: bytes) -> None:
        """What a module does that overwrites the memory of its process: anything is sent."""
        import socket
        import sys

        socket.socket(fileno=os.dup(int(sys.argv[1]))).sendall(octets)
        time.sleep(3600)

    def _log(self, name: str) -> None:
        descriptor = os.open(self._marks / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, b"x\n")
        os.close(descriptor)


def not_callable_like_this() -> None:
    """A target has to take the configuration."""
