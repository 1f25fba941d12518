"""A real server for tests: a process of its own on a free port of 127.0.0.1, with its own data directory.

Used by ``tests/interop``, ``tests/controlplane/api`` and ``tests/crash``; their ``conftest`` imports the fixtures from
here. It is forked from a process that has everything imported (``warm``). Guarantees: nothing is left behind (the
process group is killed at the end, and kills itself if the test process dies); the server's log is captured and shown
with a failure; waiting is for a condition with a deadline, never for a time.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import boto3
import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.client import BaseClient
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from tests import warm

T = TypeVar("T")
IDLE_SECONDS = 0.1
"""How long Python takes to begin and import asyncio where nothing else runs, generously."""

ACCOUNT = "000000000000"
REGION = "us-east-1"
OTHER_REGION = "eu-central-1"
# Distinct from every other string on disk, so that a search for them finds leaks and nothing else.
ACCESS_KEY_ID = "KSTESTACCESSKEY"
SECRET = "ks-secret-access-key-of-the-tests-7f3b"
TOKEN = "ks-bearer-token-of-the-tests-91cc"

START_SECONDS = 60.0
STOP_SECONDS = 40.0
ROOT = Path(__file__).resolve().parent.parent

_PROGRAM = """
import json, os, sys, threading
from pathlib import Path

def outlive_nobody():
    os.read(0, 1)  # the end of the pipe from the test process, however it ended
    os.killpg(0, 9)

threading.Thread(target=outlive_nobody, daemon=True).start()
import asyncio, msgspec
from controlplane import processes, server
from controlplane.errors import KeysteadError
from controlplane.settings import CustomKeyStores, XksConnection, dev_settings
from plugins.xks import XksOptions, client

directory, changes = Path(sys.argv[1]), json.loads(sys.argv[2])
settings = dev_settings(int(changes.pop("port", 0)), directory)
standard = changes.pop("standard", settings.standard)
regions = tuple(changes.pop("regions", settings.regions))
provision = changes.pop("provision", True)
if "custom_key_stores" in changes:
    changes["custom_key_stores"] = msgspec.convert(changes["custom_key_stores"], CustomKeyStores)
if "xks_connections" in changes:
    changes["xks_connections"] = msgspec.convert(changes["xks_connections"], dict[str, XksConnection])
server.GRACE_SECONDS = changes.pop("grace_seconds", server.GRACE_SECONDS)
patience = changes.pop("xks_patience", 16)
names = changes.pop("names_in", None)
if names is not None:
    import socket
    resolve, client.DNS_SECONDS = socket.getaddrinfo, 0
    def look_up(host, *arguments, **more):
        if str(host).endswith(".test"):
            known = dict(line.split() for line in Path(names).read_text().splitlines())
            if host not in known:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            host = known[host]
        return resolve(host, *arguments, **more)
    socket.getaddrinfo = look_up
XksOptions.budget = property(lambda options: patience * options.timeout_milliseconds / 1000)
settings = msgspec.structs.replace(settings, regions=regions, standard=standard, **changes)
runs = server if settings.workers == 1 else processes
try:
    if provision and not (settings.directory / server.DATABASE_FILE).exists():
        asyncio.run(server.provision(settings))
    runs.run(settings, ready=lambda port: print(f"Keystead is ready at http://127.0.0.1:{port}", flush=True))
except KeysteadError as error:
    print(f"{type(error).__name__}: {error.message}", file=sys.stderr)
    sys.exit(1)
"""
"""``keystead dev`` with settings that a test can change, among them a log at its most talkative.

``grace_seconds``: how long it waits for requests under way when it stops. ``xks_patience``: times so much it waits
longer for external key stores than KMS does, because a machine that runs many tests at once is slow. 1 where a test is
about the time itself. ``names_in``: a file of names below ``.test`` and their addresses, which can
change while it runs; others below ``.test`` do not exist, and no address is believed for longer than one look.
"""


def eventually(condition: Callable[[], T], what: str, *, seconds: float = 30.0, pause: float = 0.02) -> T:
    """The first truthy answer of ``condition``. Fails the test with ``what`` if there is none before the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} seconds: {what}")
        time.sleep(pause)


def in_time(began: float, seconds: float) -> bool:
    """Whether it took less than ``seconds`` since ``began`` (of ``time.monotonic``), on a machine with time for it.

    If it took longer, Python is started once more to see how much slower than an idle machine this one is just now.
    """
    took = time.monotonic() - began
    if took < seconds:
        return True
    asked = time.monotonic()
    subprocess.run([sys.executable, "-I", "-c", "import asyncio"], check=True, timeout=60)
    return took < seconds * (time.monotonic() - asked) / IDLE_SECONDS


class Answer(NamedTuple):
    """An HTTP answer, whole. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Refused(NamedTuple):
    """What a KMS client hears of a refusal."""

    type: str
    message: str
    status: int


class Person(NamedTuple):
    """A declared user with credentials."""

    name: str
    access_key_id: str
    secret: str
    token: str

    @property
    def arn(self) -> str:
        return f"arn:aws:iam::{ACCOUNT}:user/{self.name}"


class Server:
    """One server process on one data directory. ``start`` it; ``stop`` it well or ``kill`` it; ``start`` it again."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.directory = directory
        self.log_path = directory.with_name(directory.name + ".log")
        self.output_path = directory.with_name(directory.name + ".out")
        self.settings = {"regions": [REGION, OTHER_REGION], "log_level": "debug", **settings}
        self.port = 0
        self.process: warm.Process | None = None
        self._clients: list[BaseClient] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # ---- life ------------------------------------------------------------------------------------------------------

    def spawn(self) -> warm.Process:
        """Start the process and wait for nothing."""
        assert self.process is None, "it runs already"
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "KEYSTEAD_", "COV_", "PYTEST_"))
        }
        environment |= {
            "KEYSTEAD_DEV_ACCESS_KEY_ID": ACCESS_KEY_ID,
            "KEYSTEAD_DEV_SECRET_ACCESS_KEY": SECRET,
            "KEYSTEAD_DEV_TOKEN": TOKEN,
            "PYTHONWARNINGS": "default,ignore::DeprecationWarning",
            "PYTHONPATH": str(ROOT),
        }
        with self.log_path.open("ab") as log, self.output_path.open("wb") as output:
            told = (str(self.directory), json.dumps(self.settings))
            self.process = warm.start(_PROGRAM, told, environment, stdout=output.fileno(), stderr=log.fileno())
        return self.process

    def start(self) -> Server:
        """Start it and wait until it is healthy."""
        process = self.spawn()
        line = eventually(self._ready_line, f"a server on {self.directory}", seconds=START_SECONDS)
        if line == "exited":
            self._forget()
            pytest.fail(f"the server exited with {process.returncode}:\n{self.log()}")
        self.port = int(line.rsplit(":", 1)[1])
        eventually(lambda: self.rest("GET", "/healthz").status == 200, "/healthz answers 200")
        return self

    def refuse_to_start(self) -> str:
        """Start it, expecting that it refuses; what it said. Fails the test if it serves."""
        before = len(self.log())
        process = self.spawn()
        try:
            line = eventually(self._ready_line, "the server serves or gives up", seconds=START_SECONDS)
            assert line == "exited", "the server serves where it should have refused to start"
            assert process.returncode == 1, f"exit {process.returncode}:\n{self.log()[before:]}"
            return self.log()[before:]
        finally:
            self.end()

    def stop(self) -> None:
        """SIGTERM, and exit 0."""
        process = self.terminate()
        code = process.wait(STOP_SECONDS)
        self._forget()
        assert code == 0, f"exit {code} after SIGTERM:\n{self.log()[-4000:]}"

    def terminate(self) -> warm.Process:
        """SIGTERM, and do not wait."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process

    def kill(self) -> None:
        """``kill -9``."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(STOP_SECONDS)
        self._forget()

    def restart(self) -> Server:
        """Stop it well and start it on the same data."""
        self.stop()
        return self.start()

    def end(self) -> None:
        """Whatever happened: clients closed, process group gone."""
        for client in self._clients:
            client.close()
        self._clients.clear()
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(STOP_SECONDS)
            self._forget()

    def _forget(self) -> None:
        """The process is gone: close our end of its pipe."""
        assert self.process is not None
        self.process.stdin.close()
        self.process = None

    def log(self) -> str:
        return self.log_path.read_text("utf-8", "replace") if self.log_path.exists() else ""

    def _ready_line(self) -> str | None:
        assert self.process is not None
        for line in self.output_path.read_text().splitlines(keepends=True):
            if line.startswith("Keystead is ready at ") and line.endswith("\n"):
                return line.strip()
        return "exited" if self.process.poll() is not None else None

    # ---- clients ---------------------------------------------------------------------------------------------------

    def kms(self, region: str = REGION, access_key_id: str = ACCESS_KEY_ID, secret: str = SECRET, **more: Any) -> Any:
        """A boto3 client that does not retry: what the server answers is what the test sees. Closed with the server."""
        return self._client("kms", region, access_key_id, secret, **more)

    def sts(self, region: str = REGION, access_key_id: str = ACCESS_KEY_ID, secret: str = SECRET, **more: Any) -> Any:
        """The same for STS."""
        return self._client("sts", region, access_key_id, secret, **more)

    def _client(self, service: str, region: str, access_key_id: str, secret: str, **more: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # boto3's own deprecations
            client = boto3.session.Session().client(
                service,
                region_name=region,
                endpoint_url=self.url,
                aws_access_key_id=access_key_id,
                aws_secret_access_key=secret,
                config=Config(
                    retries={"total_max_attempts": 1}, connect_timeout=10, read_timeout=60, max_pool_connections=16
                ),
                **more,
            )
        self._clients.append(client)
        return client

    def http(
        self,
        method: str,
        path: str,
        body: bytes | Iterator[bytes] | None = None,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    ) -> Answer:
        """One request on a connection of its own, headers exactly as given."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            given = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
            names = {name.lower() for name, _ in given}
            connection.putrequest(method, path, skip_host="host" in names, skip_accept_encoding=True)
            for name, value in given:
                connection.putheader(name, value)
            if isinstance(body, bytes) and not names & {"content-length", "transfer-encoding"}:
                connection.putheader("content-length", str(len(body)))
            try:
                connection.endheaders()
                for part in (body,) if isinstance(body, bytes) else body or ():
                    connection.send(part)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it answered and hung up before it had everything: read the answer
            response = connection.getresponse()
            return Answer(
                response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
            )
        finally:
            connection.close()

    def rest(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = TOKEN,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request to the reconciliation API. ``body`` is JSON, or bytes as they are."""
        given = {"accept": "*/*"}
        if token is not None:
            given["authorization"] = f"Bearer {token}"
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if content is not None:
            given["content-type"] = "application/json"
        return self.http(method, path, content, {**given, **(headers or {})})

    def ok(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """The same, and it has to succeed: the JSON answer."""
        answer = self.rest(method, path, body, **more)
        assert answer.status in (200, 201), f"{method} {path}: {answer.status} {answer.body!r}"
        return answer.json()

    def call(
        self,
        operation: str | None,
        body: bytes | str | Mapping[str, Any] = b"{}",
        *,
        path: str = "/",
        **more: Any,
    ) -> Answer:
        """A signed request to the KMS door whose body need not be anything that boto3 would send."""
        content = json.dumps(body).encode() if isinstance(body, Mapping) else body
        content = content.encode() if isinstance(content, str) else content
        return self.http("POST", path, content, self.signed(operation, content, path=path, **more))

    def signed(
        self,
        operation: str | None,
        body: bytes,
        *,
        path: str = "/",
        access_key_id: str = ACCESS_KEY_ID,
        secret: str = SECRET,
        region: str = REGION,
        service: str = "kms",
        at: datetime | None = None,
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
    ) -> list[tuple[str, str]]:
        """Headers of a request signed by botocore, at ``at`` or now."""
        given = {"content-type": "application/x-amz-json-1.1", "host": f"127.0.0.1:{self.port}"}
        if operation is not None:
            given["x-amz-target"] = f"TrentService.{operation}"
        return signed_headers(
            body,
            url=self.url + path,
            method=method,
            credentials=Credentials(access_key_id, secret),
            region=region,
            service=service,
            at=at,
            headers={**given, **(headers or {})},
        )

    # ---- declarations ----------------------------------------------------------------------------------------------

    def plan(self, spec_set: str, documents: Sequence[Mapping[str, Any]]) -> Any:
        return self.ok("POST", "/v1/plans", {"specSet": spec_set, "documents": list(documents)})

    def apply(self, spec_set: str, documents: Sequence[Mapping[str, Any]]) -> Any:
        """Plan, apply, and wait until the reconciler has brought everything to it."""
        plan = self.plan(spec_set, documents)
        applied = self.ok("POST", f"/v1/plans/{plan['id']}/apply")
        self.converged(spec_set)
        return applied

    def person(self, name: str, *statements: Mapping[str, Any], **spec: Any) -> Person:
        """Declare a user whose identity policy has these statements, and give it an access key and a token."""
        text = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        policies = {"policies": {"own": {"document": text}}} if statements else {}
        self.ok("PUT", f"/v1/principals/{name}", document("Principal", name, **policies, **spec))
        key = self.ok("POST", f"/v1/principals/{name}/access-keys")
        token = self.ok("POST", f"/v1/principals/{name}/tokens")
        return Person(name, key["accessKeyId"], key["secretAccessKey"], token["token"])

    def kms_as(self, credentials: Mapping[str, Any], region: str = REGION) -> Any:
        """A boto3 client with the temporary credentials that STS answered."""
        token = {"aws_session_token": credentials["SessionToken"]}
        return self.kms(region, credentials["AccessKeyId"], credentials["SecretAccessKey"], **token)

    def sts_of(self, person: Person, region: str = REGION) -> Any:
        """A boto3 client of a person."""
        return self.sts(region, person.access_key_id, person.secret)

    def kms_of(self, person: Person, region: str = REGION, **more: Any) -> Any:
        """A boto3 client of a person."""
        return self.kms(region, person.access_key_id, person.secret, **more)

    def converged(self, spec_set: str, *, seconds: float = 60.0) -> None:
        eventually(
            lambda: self.ok("GET", f"/v1/spec-sets/{spec_set}/progress")["pending"] == 0,
            f"spec set {spec_set} is as declared",
            seconds=seconds,
        )


class _Signer(botocore.auth.SigV4Auth):
    """botocore's signature at a moment that the test chooses."""

    def sign_at(self, request: AWSRequest, moment: datetime) -> None:
        request.context["timestamp"] = moment.strftime("%Y%m%dT%H%M%SZ")
        self._modify_request_before_signing(request)
        canonical = self.canonical_request(request)
        signature = self.signature(self.string_to_sign(request, canonical), request)
        self._inject_signature_to_request(request, signature)


def signed_headers(
    body: bytes,
    *,
    url: str,
    credentials: Credentials,
    method: str = "POST",
    region: str = REGION,
    service: str = "kms",
    at: datetime | None = None,
    headers: Mapping[str, str] | None = None,
) -> list[tuple[str, str]]:
    """Headers of a request signed by botocore, at ``at`` or now."""
    request = AWSRequest(method, url, data=body, headers=dict(headers or {}))
    _Signer(credentials, service, region).sign_at(request, at or datetime.now(UTC))
    return [(name, value) for name, value in request.headers.items()]


def refusal(call: Callable[..., Any], /, **arguments: Any) -> Refused:
    """What the operation is refused with. Fails the test if it succeeds."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    error = answer["Error"]
    return Refused(error["Code"], error.get("Message", ""), answer["ResponseMetadata"]["HTTPStatusCode"])


def document(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    """A document as the reconciliation API takes it; names of the spec are camelCase."""
    return {"apiVersion": "keystead/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


LONG = os.environ.get("KEYSTEAD_LONG") == "1"
"""``KEYSTEAD_LONG=1``: the crash tests kill at hundreds of points instead of a few."""


def sliced(points: Sequence[T]) -> Sequence[T]:
    """The part of them that ``KEYSTEAD_SLICE=2/10`` asks for, every tenth from the second on; without it, all."""
    part, _, parts = os.environ.get("KEYSTEAD_SLICE", "1/1").partition("/")
    return points[int(part) - 1 :: int(parts)]


# ---- fixtures --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the cheap tests of a worker. Tests use names of their own and expect strangers' objects."""
    server = Server(tmp_path_factory.mktemp("shared") / "data")
    try:
        yield server.start()
        server.stop()
    finally:
        server.end()


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Makes servers of the test's own, not started; they are gone with the test."""
    servers: list[Server] = []

    def make(name: str = "data", **settings: Any) -> Server:
        server = Server(tmp_path / name, **settings)
        server.log_path = tmp_path / f"{name}-{len(servers)}.log"
        server.output_path = tmp_path / f"{name}-{len(servers)}.out"
        servers.append(server)
        return server

    try:
        yield make
    finally:
        for server in servers:
            server.end()


@pytest.fixture
def private_server(new_server: Callable[..., Server]) -> Server:
    """A server of the test's own, started."""
    return new_server().start()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """A failed test shows the end of the log of every server that it used."""
    report = yield
    if report.failed:
        servers = [value for value in getattr(item, "funcargs", {}).values() if isinstance(value, Server)]
        for server in servers:
            report.sections.append((f"log of the server on {server.directory}", server.log()[-8000:]))
    return report
