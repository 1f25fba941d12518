"""``kill -9`` at every await point of what changes a key store, over all plugins; and the same with the power lost.

Promises: what was acknowledged is there after the restart; after one look at everything no material is anywhere that no
key names, and no attempt is open; the database and the audit journal are whole. At half of the points what was written
since the last sync of each file is lost, too (``powerloss.c``). At half of them the recovery is killed as well, at an
await point of its own, and recovered from. 80 points and 40 more in recoveries; 6,000 and 3,000 with
``KEYSTEAD_LONG=1`` (``make crash``), of which ``make crash SLICE=2/10`` runs a tenth.

Rotation and import are the standard store's alone: keys in custom key stores have neither, as in AWS. Adoption is
for devices: what somebody else had there becomes a key, or stays theirs.
"""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from controlplane.audit.verifying import verify
from tests.harness import LONG, ROOT, TOKEN, Server, document, sliced
from tests.hsm import SoftToken, need, pin_file
from tests.xksclient import HOST, ProxyFiles
from tests.xksproxied import ACCESS_KEY_ID, SECRET, start

PLUGINS = ("software", "memory", "pkcs11", "xks")
POINTS = 1_500 if LONG else 20
"""Of each plugin, spread evenly over the ten thousand await points of its scenario."""
STRANGER = "somebody-elses"
MEMORY = Path("/dev/shm")
"""Where a sync costs nothing. What a disk would lose is what ``powerloss.c`` says."""
PARTS = 30 if LONG else 1
"""Tests that share the points of a plugin."""


@cache
def powerloss() -> Path:
    """The library, compiled once for each process of the test run."""
    library = Path(tempfile.mkdtemp(prefix="keystead-powerloss-")) / "powerloss.so"
    source = Path(__file__).with_name("powerloss.c")
    command = [need("gcc"), "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", library, source, "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        pytest.fail(f"the library does not compile: {done.stderr}")
    return library


class Driver:
    """The program that forks the runs."""

    def __init__(self, log: Path) -> None:
        self.log = log
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KEYSTEAD_")}
        environment |= {"LD_PRELOAD": str(powerloss()), "PYTHONPATH": str(ROOT), "KEYSTEAD_DEV_TOKEN": TOKEN}
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.crash.driver"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                cwd=ROOT,
                start_new_session=True,
            )

    def ask(self, **asked: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(asked).encode() + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the driver ended:\n{self.log.read_text()[-4000:]}"
        answer = json.loads(line)
        assert "error" not in answer, f"{asked}:\n{answer['error']}\n{self.log.read_text()[-4000:]}"
        return answer

    def end(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(20)


class Store:
    """The key store of one plugin, and what it holds."""

    rotates = imports = external = False
    adopts: str | None = None
    """What somebody else has in the device, to be taken over."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def document(self) -> dict[str, Any] | None:
        return None

    def names(self) -> set[str] | None:
        """What the device holds, or None if it holds nothing."""
        return None

    def clear(self) -> None:
        """It is as it was before there was a server."""


class Software(Store):
    rotates = imports = True


class Memory(Store):
    adopts = STRANGER

    def document(self) -> dict[str, Any]:
        return document("KeyStore", "device", type="memory", memory={"device": str(self.directory / "device.json")})

    def names(self) -> set[str]:
        path = self.directory / "device.json"
        return set(json.loads(path.read_bytes())) if path.exists() else set()

    def clear(self) -> None:
        slot = {"key_spec": "SYMMETRIC_DEFAULT", "secret": base64.b64encode(bytes(32)).decode(), "external_id": "slot"}
        (self.directory / "device.json").write_text(json.dumps({STRANGER: slot}))


class Hsm(Store):
    adopts = STRANGER

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.token = SoftToken(directory / "hsm")
        self.pin = pin_file(directory)
        self.token.tool("--keygen", "--key-type", "AES:32", "--label", STRANGER, "--extractable")
        self.new = directory / "new"
        shutil.copytree(self.token.tokens, self.new)

    def document(self) -> dict[str, Any]:
        return document("KeyStore", "hsm", type="pkcs11", pkcs11=self.token.options(pin=self.pin, workers=1))

    def names(self) -> set[str]:
        lines = (line.strip() for line in self.token.objects().splitlines())
        labels = {line.partition(":")[2].strip() for line in lines if line.startswith("label:")}
        # SoftHSM makes an object's file first and writes it then; a process that dies between leaves one without a
        # label, and without a key. A device does both or neither.
        return labels - {""}

    def clear(self) -> None:
        shutil.rmtree(self.token.tokens)
        shutil.copytree(self.new, self.token.tokens)


class External(Store):
    external = True

    def __init__(self, directory: Path, server: Server) -> None:
        super().__init__(directory)
        files = ProxyFiles(directory / "files")
        self.proxied = start(server, files)
        self.proxied.declare(keys={f"external-{name}": {"key": "payments"} for name in "abc"})
        self.authority = directory / "ca.pem"
        files.ca.cert_pem.write_to_path(str(self.authority))
        self.secret = files.secret("client", SECRET)

    def document(self) -> dict[str, Any]:
        options = {
            "uriEndpoint": f"https://{HOST}",
            "uriPath": "/bank/kms/xks/v1",
            "port": self.proxied.port,
            "authority": str(self.authority),
            "credential": {"accessKeyId": ACCESS_KEY_ID, "secret": self.secret},
        }
        return document("KeyStore", "external", type="xks", xks=options)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory for the runs; in memory, if there is a file system for that."""
    with tempfile.TemporaryDirectory(prefix="keystead-crash-", dir=MEMORY if MEMORY.is_dir() else None) as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    made = Driver(tmp_path_factory.mktemp("driver") / "log")
    try:
        yield made
    finally:
        made.end()


class Runs:
    """Runs of one plugin's scenario, each from a new server."""

    def __init__(self, driver: Driver, store: Store, directory: Path) -> None:
        self.driver = driver
        self.store = store
        self.data = directory / "run" / "data"
        self.shadow = directory / "shadow"
        self.new = directory / "new"
        self.clock = directory / "clock"
        self.acks = directory / "acks"
        self.data.parent.mkdir()
        self.shadow.mkdir()
        assert self._ask("provision") == {}
        self.data.rename(self.new)

    def _ask(self, do: str, **more: Any) -> Any:
        return self.driver.ask(
            do=do,
            data=str(self.data),
            clock=str(self.clock),
            acks=str(self.acks),
            store=self.store.document(),
            rotates=self.store.rotates,
            imports=self.store.imports,
            adopts=self.store.adopts,
            external=self.store.external,
            environment={"POWERLOSS_PREFIX": str(self.data.resolve()), "POWERLOSS_SHADOW": str(self.shadow)},
            counted=do != "recover" or "killAt" in more,
            **more,
        )

    def points(self) -> tuple[int, int]:
        """How many await points a whole run has, and a recovery after it."""
        self.begin()
        run = self._ask("run")["points"]
        found = self._ask("recover", killAt=None)
        self.check(found, "a run that nobody killed")
        return run, found["points"]

    def begin(self) -> None:
        for place in (self.data, self.shadow):
            shutil.rmtree(place, ignore_errors=True)
        for file in (self.clock, self.acks):
            file.unlink(missing_ok=True)
        shutil.copytree(self.new, self.data)
        self.shadow.mkdir()
        self.store.clear()

    def kill_at(self, point: int, again: int | None, chance: random.Random) -> None:
        """Kill a run at its await point ``point``, and the recovery from that at ``again``."""
        self.begin()
        where = "killed" + self._killed("run", point, chance)
        if again is not None:
            where += ", then in its recovery" + self._killed("recover", again, chance)
        self.check(self._ask("recover"), where)

    def _killed(self, do: str, point: int, chance: random.Random) -> str:
        """Where it was killed, and what else happened."""
        ended = self._ask(do, killAt=point)
        if "killed" not in ended:
            return " after its end"
        assert ended["killed"] == 9, ended
        if chance.random() < 0.5:
            return f" at await point {point}"
        self.lose_power()
        return f" at await point {point}, power lost"

    def lose_power(self) -> None:
        """Every file is as it was when it was last synced."""
        for file in [path for path in self.data.rglob("*") if path.is_file()]:
            relative = file.relative_to(self.data)
            kept = self.shadow / str(relative).replace("/", "%")
            known = kept if kept.exists() else self.new / relative
            if known.exists():
                shutil.copyfile(known, file)
            elif file.name != "lock":
                file.unlink()

    # ---- what has to hold ------------------------------------------------------------------------------------------

    def check(self, found: Any, where: str) -> None:
        assert found["lost"] == [], where
        objects = {(kind, name): uid for kind, name, uid in found["objects"]}
        acknowledged = [json.loads(line) for line in self.acks.read_text().splitlines()] if self.acks.exists() else []
        deleted = {each["name"] for each in acknowledged if each["what"] == "deleted"}
        for each in acknowledged:
            name = each.get("name")
            if each["what"] == "object" and name not in deleted:
                assert objects.get((each["kind"], name)) == each["uid"], f"{where}: {each} is lost"
            elif each["what"] == "rotated":
                assert len(found["materials"][name]) == 2, f"{where}: {each} is lost or was done twice"
            elif each["what"] == "imported":
                assert each["material"] in found["materialIds"], f"{where}: {each}"
            elif each["what"] == "deleted":
                gone = ("Key", name) not in objects
                assert gone or name in found["deleting"], f"{where}: {each} is lost"
        named = {held for materials in found["materials"].values() for held in materials}
        device = self.store.names()
        tokens = {name for (name,) in self.rows("SELECT name FROM tokens WHERE uid != 'system'")}
        if device is not None:
            theirs = {STRANGER} if ("Key", "e") not in objects else set()
            assert device == named | theirs, f"{where}: the device holds other material than keys name"
        assert tokens == (set() if device is not None else named), f"{where}: key tokens are not those that keys name"
        keys = {uid for (kind, _), uid in objects.items() if kind == "Key"}
        taken = [uid for (uid,) in self.rows("SELECT uid FROM external_keys")]
        assert sorted(taken) == (sorted(keys) if self.store.external else []), (
            f"{where}: the external keys that are taken are not those of the keys"
        )
        assert self.rows("PRAGMA integrity_check") == [("ok",)], where
        assert self.rows("PRAGMA foreign_key_check") == [], where
        assert self.rows("SELECT * FROM attempts WHERE ended_at IS NULL") == [], where
        journal = verify(self.data / "audit")
        assert journal.ok, f"{where}: {journal.bad}"

    def rows(self, query: str) -> list[Any]:
        connection = sqlite3.connect(self.data / "keystead.db")
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()


@pytest.mark.points
@pytest.mark.parametrize("part", sliced(range(PARTS)))
@pytest.mark.parametrize("plugin", PLUGINS)
def test_whatever_is_killed_nothing_that_was_acknowledged_is_lost_and_nothing_leaks(
    driver: Driver, place: Path, request: pytest.FixtureRequest, plugin: str, part: int
) -> None:
    directory = place / "store"
    directory.mkdir()
    match plugin:
        case "software":
            store: Store = Software(directory)
        case "memory":
            store = Memory(directory)
        case "pkcs11":
            store = Hsm(directory)
        case _:
            store = External(directory, request.getfixturevalue("new_server")("behind"))
    runs = Runs(driver, store, place)
    total, recovery = runs.points()
    assert total > 500, "the scenario does next to nothing"
    chance = random.Random(f"{plugin} {part}")
    width = total / POINTS
    for index in range(part, POINTS, PARTS):
        point = int(width * index + chance.uniform(1, width))
        runs.kill_at(point, chance.randint(1, recovery) if chance.random() < 0.5 else None, chance)
