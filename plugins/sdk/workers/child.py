"""The program of a worker process: ``python -m plugins.sdk.workers.child FD PARENT``. Started by ``process`` only.

It reads requests from the socket FD, one at a time, in its only thread, and answers each before it looks at the next.
It ends when the socket does. If its parent dies while a call blocks, the call is finished, so that a device is not left
with half a change (SoftHSM's files), and nothing is begun after it; the kernel ends the process ``LAST_SECONDS`` later
whatever the library does.
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
_LAST_CALL = signal.SIGQUIT
LAST_SECONDS = int(_LAST_CALL)
"""How long a call may go on after the parent died. The signal that tells of the death is handled by ``alarm`` of the C
library, and what a handler is given is the signal's number: so many seconds later SIGALRM ends the process. No line of
Python has to run for that, which a library that holds the interpreter's lock would not let."""
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
    """Do not outlive the parent; leave no core file, which would hold the PIN."""
    _die_after(parent)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _die_with(parent: int, by: signal.Signals) -> None:
    """Have the kernel send a signal when the parent dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, by, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        os._exit(0)


def _die_after(parent: int) -> None:
    """Be told by the kernel when the parent dies, and let the call that is under way go on for a while then."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # whatever was inherited, or set by a library as it was loaded
    library = ctypes.CDLL(None)
    library.signal(_LAST_CALL, ctypes.cast(library.alarm, ctypes.c_void_p))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM, _LAST_CALL})
    _die_with(parent, _LAST_CALL)


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
        _die_after(parent)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _serve(channel: socket.socket) -> None:
    frames = wire.Frames()
    target: Any = None
    with contextlib.suppress(ConnectionError):  # nobody is there to hear the answer
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
