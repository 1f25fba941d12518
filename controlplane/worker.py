"""One of several server processes: ``python -m controlplane.worker CONTROL LISTENER``, both open file descriptors.

Who starts it: ``processes``. Settings are read from the control socket, ``ready`` or a refusal is written to it, and
its end means that the parent is gone: then this process stops as if it had been told to.
"""

from __future__ import annotations

import signal
import socket
import sys

import msgspec

from controlplane import server
from controlplane.errors import KeysteadError
from controlplane.processes import Said
from controlplane.settings import Settings


def main(control: socket.socket, listener: socket.socket) -> int:
    """Serve until told to stop; the exit code."""
    # A Ctrl-C reaches the whole process group; until this process serves, stopping it is the parent's.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    received = b""
    while not received.endswith(b"\n"):
        part = control.recv(65_536)
        if not part:
            return 0  # the parent is gone already
        received += part
    settings = msgspec.json.decode(received, type=Settings)

    def say(said: Said) -> None:
        control.sendall(msgspec.json.encode(said) + b"\n")

    try:
        server.run(settings, listener=listener, parent=control, ready=lambda port: say(Said(port=port)))
    except KeysteadError as error:
        say(Said(refused=error.message))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(socket.socket(fileno=int(sys.argv[1])), socket.socket(fileno=int(sys.argv[2]))))
