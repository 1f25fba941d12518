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
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from plugins.sdk.workers import wire
from plugins.sdk.workers.target import ReplaceWorker, spell
from plugins.sdk.workers.wire import Status

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_READ = 1 << 16
_BEGIN_SECONDS = 60
"""A beginning that takes longer is ended here, in case that its parent, which waits less long, is gone."""


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
    _die_with(parent, signal.SIGKILL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _die_with(parent: int, by: signal.Signals) -> None:
    """Have the kernel send a signal when the parent dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, by, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        os._exit(0)


@contextlib.contextmanager
def _finishing() -> Iterator[None]:
    """What is begun here is finished even if the parent dies: killed in a login, SoftHSM leaves an empty token file."""
    parent = int(sys.argv[2])
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    _die_with(parent, signal.SIGTERM)
    signal.alarm(_BEGIN_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        _die_with(parent, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


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
        make = getattr(import_module(module), factory)
        with _finishing():
            target = make(configuration)
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
