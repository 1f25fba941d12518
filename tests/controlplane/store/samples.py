"""Objects for the store's tests, and a second process that shares the database."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, cast

from controlplane.schema.keys import DesiredKey, Origin
from controlplane.schema.keystores import STANDARD, ConnectionState, DesiredKeyStore, KeyStoreStatus
from controlplane.schema.meta import Key, KeyStore, Kind, Principal
from controlplane.schema.principals import DesiredPrincipal, PrincipalStatus
from controlplane.store import keys, objects
from controlplane.store.database import Tx

ACCOUNT, REGION = "000000000000", "us-east-1"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROOT = Path(__file__).parents[3]


def add_key(
    tx: Tx, name: str, *aliases: str, region: str = REGION, spec_set: str | None = None, store: str = STANDARD
) -> Key:
    desired = DesiredKey(key_store=store, region=region, origin=Origin.AWS_KMS, aliases=aliases)
    return keys.create(tx, desired=desired, account=ACCOUNT, now=NOW, name=name, spec_set=spec_set)


def add_store(tx: Tx, name: str, *, spec_set: str | None = None) -> KeyStore:
    added = objects.insert(
        tx,
        now=NOW,
        kind=Kind.KEY_STORE,
        uid=str(uuid.uuid4()),
        name=name,
        spec=DesiredKeyStore(type="memory"),
        status=KeyStoreStatus(created_at=NOW, connection=ConnectionState.CONNECTED),
        spec_set=spec_set,
    )
    return cast(KeyStore, added)


def add_principal(tx: Tx, name: str) -> Principal:
    added = objects.insert(
        tx,
        now=NOW,
        kind=Kind.PRINCIPAL,
        uid=str(uuid.uuid4()),
        name=name,
        spec=DesiredPrincipal(),
        status=PrincipalStatus(arn=f"arn:aws:iam::{ACCOUNT}:user/{name}", created_at=NOW),
    )
    return cast(Principal, added)


class Other:
    """A second Python process that was given a script and a database; talks in lines."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def hears(self) -> str:
        """The next line it prints; at its end, what went wrong with it."""
        line = cast(IO[str], self.process.stdout).readline()
        assert line, cast(IO[str], self.process.stderr).read()
        return line.rstrip("\n")

    def say(self, line: str) -> None:
        stdin = cast(IO[str], self.process.stdin)
        stdin.write(line + "\n")
        stdin.flush()

    def ask(self, line: str) -> str:
        self.say(line)
        return self.hears()


@contextmanager
def other_process(script: str, *arguments: str) -> Iterator[Other]:
    """It is killed at the end whatever happened."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Other(process)
    finally:
        process.kill()
        process.communicate()
