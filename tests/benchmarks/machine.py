"""The machine: what it is, its cores, and what ``/proc`` says of a process."""

from __future__ import annotations

import os
import platform
import socket
import sqlite3
import ssl
import statistics
import sysconfig
import tempfile
import time
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def server_core() -> int:
    return cores()[-1]


def load_core() -> int:
    return cores()[0]


def describe() -> str:
    """One line that a figure is worth nothing without."""
    import cryptography
    from cryptography.hazmat.backends.openssl import backend

    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return (
        f"{len(cores())} cores of {model}; Python {platform.python_version()} ({_build()}); "
        f"{ssl.OPENSSL_VERSION} in Python, {backend.openssl_version_text()} in cryptography "
        f"{cryptography.__version__}; "
        f"SQLite {sqlite3.sqlite_version}; Linux {platform.release()}; "
        f"fdatasync of 4 KiB {sync_microseconds():,.0f} us"
    )


def load_average() -> float:
    """Over the last minute: how much else the machine does, and so how far a figure in seconds can be trusted."""
    return os.getloadavg()[0]


def _build() -> str:
    """A Python that was built without its optimizations runs a third slower; say which it is."""
    optimized = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    return "optimized build" if optimized else "not an optimized build"


def sync_microseconds(rounds: int = 50) -> float:
    """How long the disk under the temporary directory takes to keep 4 KiB, median."""
    with tempfile.NamedTemporaryFile() as file:
        took = []
        for _ in range(rounds):
            started = time.perf_counter()
            os.write(file.fileno(), b"x" * 4096)
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - started)
    return statistics.median(took) * 1e6


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process and of its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return (int(fields[11]) + int(fields[12])) / _TICKS + sum(cpu_seconds(int(child)) for child in children)


def memory_megabytes(pid: int, name: str = "VmRSS") -> float:
    """``VmRSS`` now, ``VmHWM`` at most, in 10^6 bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError(name)


def forget_peak(pid: int) -> None:
    """Begin to count ``VmHWM`` anew (proc_pid_clear_refs(5))."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def wait_until_idle(pid: int, *, quiet: float = 1.0, most: float = 120.0) -> float:
    """Wait until a process used less than 5 % of a core for ``quiet`` seconds; the seconds until that began."""
    started = time.monotonic()
    while time.monotonic() - started < most:
        used = cpu_seconds(pid)
        time.sleep(quiet)
        if cpu_seconds(pid) - used < 0.05 * quiet:
            return max(time.monotonic() - started - quiet, 0.0)
    raise TimeoutError(f"process {pid} did not become idle in {most:.0f} s")
