"""The program of a worker process: ``python -m plugins.sdk.workers.child FD PARENT``. Started by ``process`` only.

It reads requests from the socket FD, one at a time, in its only thread, and answers each before it looks at the next.
It ends when the socket does, and the kernel ends it if its parent dies while a call blocks.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import sys
from importlib import import_module
from typing import Any

from plugins.sdk.workers import wire
from plugins.sdk.workers.target import ReplaceWorker, spell
from plugins.sdk.workers.wire import Status

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_READ = 1 << 16


def main() -> None:
    """Serve until the parent closes the socket."""
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    _harden(parent)
    with socket.socket(fileno=descriptor) as channel:
        _serve(channel)
    # Past every destructor: a module that hangs in its unloading would keep the process.
    os._exit(0)


def _harden(parent: int) -> None:
    """Die with the parent; leave no core file, which would hold the PIN."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        os._exit(0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _serve(channel: socket.socket) -> None:
    frames = wire.Frames()
    target: Any = None
    while octets := channel.recv(_READ):
        for fields in frames.feed(octets):
            if target is None:
                target = _begin(channel, *fields)
            else:
                _answer(channel, target, *fields)
    close = getattr(target, "close", None)
    if close is not None:
        with contextlib.suppress(Exception):
            close()


def _begin(channel: socket.socket, name: str, configuration: Any) -> Any:
    """Make the target. If it cannot be made, say why and end: the parent decides whether to try again."""
    module, _, factory = name.partition(":")
    try:
        target = getattr(import_module(module), factory)(configuration)
        said = target.describe() if hasattr(target, "describe") else None
        channel.sendall(wire.frame(wire.START, Status.ANSWERED, said))
    except Exception as error:
        channel.sendall(wire.frame(wire.START, Status.REPLACE, spell(_cause(error))))
        os._exit(0)
    return target


def _answer(channel: socket.socket, target: Any, number: int, method: str, arguments: list[Any]) -> None:
    try:
        answer = wire.frame(number, Status.ANSWERED, getattr(target, method)(*arguments))
    except ReplaceWorker as going:
        channel.sendall(wire.frame(number, Status.REPLACE, spell(going.error)))
        os._exit(0)
    except Exception as error:
        answer = wire.frame(number, Status.FAILED, spell(error))
    channel.sendall(answer)


def _cause(error: Exception) -> Exception:
    return error.error if isinstance(error, ReplaceWorker) else error


if __name__ == "__main__":
    main()
