"""Servers as child processes, pinned if asked: ours by its own command, and moto's from a throw-away virtualenv.

Guarantee: leaving the context ends the process (it alone, by its id) and removes its directory.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import boto3
import msgspec
from botocore.config import Config

from tests.benchmarks import machine

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0
REGION = "us-east-1"
TOKEN = "test"
MOTO = "moto[kms,server]"


class Server:
    """A running server: where it is, which process it is, and an access key that may do everything."""

    def __init__(
        self,
        name: str,
        port: int,
        process: subprocess.Popen[bytes],
        started: float,
        *,
        access_key: tuple[str, str] = ("test", "test"),
        token: str = TOKEN,
    ) -> None:
        self.name = name
        self.port = port
        self.pid = process.pid
        self.process = process
        self.start_seconds = started
        self.access_key = access_key
        self.token = token

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kms(self) -> Any:
        """A boto3 client for what is not measured."""
        return boto3.client(
            "kms",
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=self.access_key[0],
            aws_secret_access_key=self.access_key[1],
            config=Config(retries={"max_attempts": 0}, read_timeout=60),
        )

    def ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """One request of the reconciliation API on a connection of its own. Raises unless it is answered 2xx."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        if not 200 <= response.status < 300:
            raise RuntimeError(f"{self.name} answered {response.status} to {method} {path}: {content[:500]!r}")
        return content


@contextlib.contextmanager
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="keystead-bench-") as path:
        yield Path(path)


@contextlib.contextmanager
def keystead(data: Path, *, core: int | None = None, program: str | None = None) -> Iterator[Server]:
    """``keystead dev`` on a free port, with its data in ``data``. ``program`` is Python that runs in the command's
    place."""
    entry = ["-m", "controlplane"] if program is None else ["-c", program]
    command = [sys.executable, *entry, "dev", "--port", "0", "--data-dir", str(data)]
    started = time.monotonic()
    with _process(command, data.with_name(data.name + ".log"), core, stdout=subprocess.PIPE) as process:
        line = _first_line(process, data.with_name(data.name + ".log"))
        port = int(line.split("http://127.0.0.1:")[1].split()[0])
        yield Server("keystead", port, process, time.monotonic() - started)


@contextlib.contextmanager
def workers(work: Path, number: int, *, cores: Collection[int], settings: str = "") -> Iterator[Server]:
    """``keystead serve --workers`` on these cores, of a new server in ``work``. ``settings`` are added to its own."""
    keystead_ = [sys.executable, "-m", "controlplane"]
    made = subprocess.run(
        [*keystead_, "init", str(work), "--listen", "127.0.0.1:0", "--json"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=START_SECONDS,
    )
    issued = msgspec.json.decode(made.stdout)
    with Path(issued["settings"]).open("a", encoding="utf-8") as file:
        file.write(settings)
    command = [*keystead_, "serve", "--config", issued["settings"], "--workers", str(number), "--json"]
    log = work.with_name(work.name + ".log")
    started = time.monotonic()
    with _process(command, log, cores, stdout=subprocess.PIPE) as process:
        port = int(msgspec.json.decode(_first_line(process, log))["url"].rsplit(":", 1)[1])
        yield Server(
            f"{number} workers",
            port,
            process,
            time.monotonic() - started,
            access_key=(issued["accessKeyId"], issued["secretAccessKey"]),
            token=issued["token"],
        )


@contextlib.contextmanager
def moto(python: Path, work: Path, *, core: int | None = None) -> Iterator[Server]:
    """moto's server, of the interpreter that has it."""
    port = machine.free_port()
    command = [str(python), "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    started = time.monotonic()
    log = work / "moto.log"
    with _process(command, log, core, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=work) as process:
        while not _answers(port):
            if process.poll() is not None or time.monotonic() - started > START_SECONDS:
                raise RuntimeError("moto's server did not start")
            time.sleep(0.1)
        yield Server("moto", port, process, time.monotonic() - started)


def install_moto(work: Path) -> Path:
    """Install moto into a virtualenv of its own in ``work``, so that our pins stay; its interpreter.

    Raises ``RuntimeError`` with pip's last words. Takes half a minute to a minute.
    """
    place = work / "moto-venv"
    python = place / "bin" / "python"
    steps: Sequence[Sequence[str]] = (
        (sys.executable, "-m", "venv", str(place)),
        (str(python), "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check", MOTO),
    )
    for command in steps:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RuntimeError(f"{type(error).__name__} while installing {MOTO}") from None
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr[-200:]]
            raise RuntimeError(lines[-1])
    return python


@contextlib.contextmanager
def _process(
    command: Sequence[str], log: Path, cores: int | Collection[int] | None, **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    def pin() -> None:
        if cores is not None:
            os.sched_setaffinity(0, {cores} if isinstance(cores, int) else set(cores))

    environment: Mapping[str, str] = {
        name: value for name, value in os.environ.items() if not name.startswith(("KEYSTEAD_", "AWS_", "MOTO_"))
    }
    with log.open("wb") as stderr:
        options = {"cwd": ROOT, "stderr": stderr, **options}
        process = subprocess.Popen(command, env=environment, preexec_fn=pin, start_new_session=True, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _first_line(process: subprocess.Popen[bytes], log: Path) -> str:
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], START_SECONDS)
    line = process.stdout.readline().decode() if readable else ""
    if "http://" not in line:
        raise RuntimeError(f"keystead did not start: {line}{log.read_text()[-2000:]}")
    return line


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/moto-api/data.json")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
