"""A process that has Keystead imported and forks for each program that a test starts: a server's start costs a tenth of
one from nothing, a command's a fifth.

Used by ``harness`` for servers and by the tests that run many commands. What runs is what would run from nothing: a
process and a session of its own, with its own environment, working directory and streams. Where the environment says
something to the dynamic linker, which a fork would not hear, a server is started from nothing.

Guarantees: a server that was started is a child of the test process, so that it is waited for as any other; nothing
outlives the test process.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_PR_SET_CHILD_SUBREAPER = 36
_ONE_AT_A_TIME = threading.Lock()
_CLIENT = """#!{python} -SEs
import json, os, socket, sys
asked = {{"argv": ["keystead", *sys.argv[1:]], "cwd": os.getcwd(), "environment": dict(os.environ)}}
with socket.socket(socket.AF_UNIX) as line:
    line.connect({place!r})
    socket.send_fds(line, [b"x"], [0, 1, 2])
    line.sendall(json.dumps(asked).encode())
    line.shutdown(socket.SHUT_WR)
    code = line.recv(16)
sys.exit(int(code) if code else 137)
"""


class Forked:
    """A process that was forked for us: the part of ``subprocess.Popen`` that tests use."""

    def __init__(self, pid: int, stdin: Any) -> None:
        self.pid = pid
        self.stdin = stdin
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float) -> int:
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.005)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


Process = Forked | subprocess.Popen[bytes]


def start(program: str, argv: Sequence[str], environment: Mapping[str, str], *, stdout: int, stderr: int) -> Process:
    """Start a Python program as ``python -c`` does, with a pipe as its standard input, in a session of its own."""
    if "LD_PRELOAD" in environment:
        return subprocess.Popen(
            [sys.executable, "-c", program, *argv],
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            env=environment,
            cwd=ROOT,
            start_new_session=True,
        )
    theirs, ours = os.pipe()
    asked = {"program": program, "argv": ["-c", *argv], "cwd": str(ROOT), "environment": dict(environment)}
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(place())
        with _ONE_AT_A_TIME:
            # An orphan is given to us, not to the first process of the machine, while this is so.
            _prctl(_PR_SET_CHILD_SUBREAPER, 1)
            try:
                socket.send_fds(line, [b"x"], [theirs, stdout, stderr])
                line.sendall(json.dumps(asked).encode())
                line.shutdown(socket.SHUT_WR)
                pid = int(line.recv(16))
            finally:
                _prctl(_PR_SET_CHILD_SUBREAPER, 0)
                os.close(theirs)
    return Forked(pid, os.fdopen(ours, "wb", buffering=0))


def command(directory: Path) -> Path:
    """``keystead`` as a program in that directory."""
    made = directory / "keystead"
    made.write_text(_CLIENT.format(python=sys.executable, place=place()))
    made.chmod(0o755)
    return made


@cache
def place() -> str:
    """The socket of the process that forks; there is one for each process of the test run."""
    directory = tempfile.TemporaryDirectory(prefix="keystead-warm-")
    listener = socket.socket(socket.AF_UNIX)
    path = str(Path(directory.name) / "socket")
    listener.bind(path)
    listener.listen(16)
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "KEYSTEAD_", "COV_", "PYTEST_", "PYTHON", "LD_PRELOAD"))
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.warm", str(listener.fileno())],
        stdin=subprocess.PIPE,  # its end says that we have ended
        stdout=subprocess.DEVNULL,
        env={**environment, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        pass_fds=(listener.fileno(),),
        start_new_session=True,
    )
    listener.close()

    @atexit.register
    def end() -> None:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(20)
        directory.cleanup()

    return path


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


# ---- the process that forks ------------------------------------------------------------------------------------------


def main() -> None:
    listener = socket.socket(fileno=int(sys.argv[1]))
    listener.setblocking(True)
    _import_all()
    gc.collect()
    gc.freeze()  # no fork copies what it shares
    while True:
        ready, _, _ = select.select([listener, 0], [], [])
        if 0 in ready:
            os._exit(0)
        line, _ = listener.accept()
        _, streams, _, _ = socket.recv_fds(line, 1, 3)
        asked = json.loads(b"".join(iter(lambda: line.recv(65_536), b"")))  # noqa: B023 - done before the next one
        if "program" in asked:
            line.sendall(str(_fork_twice(asked, streams, (listener, line))).encode())
        elif os.fork() == 0:
            try:
                listener.close()
                code = _run(asked, streams)
                line.sendall(str(code).encode())
            finally:
                os._exit(0)
        for descriptor in streams:
            os.close(descriptor)
        line.close()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _fork_twice(asked: Mapping[str, Any], streams: Sequence[int], sockets: Sequence[socket.socket]) -> int:
    """Run it in a process whose parent is gone; its pid, once that is so."""
    reading, writing = os.pipe()
    middle = os.fork()
    if middle == 0:
        code = 1
        try:
            child = os.fork()
            if child == 0:
                for each in sockets:
                    each.close()
                os.close(reading)
                os.close(writing)
                os.setsid()
                code = _run(asked, streams)
            else:
                os.write(writing, str(child).encode())
        finally:
            os._exit(code)
    os.close(writing)
    pid = int(os.read(reading, 16))
    os.close(reading)
    os.waitpid(middle, 0)
    return pid


def _run(asked: Mapping[str, Any], streams: Sequence[int]) -> int:
    """Become what was asked for; the exit code."""
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115 - for as long as it lives
    sys.stderr = open(2, "w", closefd=False, errors="backslashreplace", buffering=1)  # noqa: SIM115
    try:
        os.chdir(asked["cwd"])
        os.environ.clear()
        os.environ.update(asked["environment"])
        sys.argv[:] = asked["argv"]
        if "PYTHONWARNINGS" in os.environ:
            warnings._processoptions(os.environ["PYTHONWARNINGS"].split(","))  # type: ignore[attr-defined]
        if "program" in asked:
            exec(compile(asked["program"], "<string>", "exec"), {"__name__": "__main__"})
        else:
            importlib.import_module("controlplane.cli.main").run()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    return code


def _import_all() -> None:
    """What servers and commands import, but for the terminal UI."""
    for package in ("controlplane", "plugins.software", "plugins.memory", "plugins.pkcs11", "plugins.xks"):
        module = importlib.import_module(package)
        for found in pkgutil.walk_packages(module.__path__, f"{package}."):
            if not found.name.endswith(("__main__", "worker")):
                importlib.import_module(found.name)
    for name in ("uvloop", "uvicorn.protocols.http.httptools_impl", "uvicorn.lifespan.on"):
        importlib.import_module(name)


if __name__ == "__main__":
    main()
