"""Session tokens: they open for their own access key, end when they should, and hold nothing that can be read."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from controlplane.access.authentication import Authenticator
from controlplane.access.sealing import Purpose, Sealer
from controlplane.access.sessions import Session, Sessions
from controlplane.api.sts.xml import answer
from controlplane.clock import ManualClock
from controlplane.errors import Unauthenticated
from controlplane.keystores.calls import Calls
from controlplane.keystores.connections import Connections
from controlplane.store.catalog import Catalog
from controlplane.store.database import Database
from controlplane.store.material import StoredPluginState
from plugins.sdk import SecretBytes
from tests.controlplane.store.samples import ACCOUNT, REGION, add_principal
from tests.harness import signed_headers


@pytest.fixture
async def sealer(database: Database, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Sealer]:
    """On the real key store."""
    calls = Calls(Connections(lambda name: StoredPluginState(database, name), clock))
    root_key = {"rootKey": {"provider": "file", "path": str(tmp_path / "root.key")}}
    connection = calls.connections.prepare("standard", "standard", root_key)
    await calls.provision(connection)
    await calls.open(connection)
    calls.connections.install(connection)
    made = Sealer(database, calls)
    await made.open()
    yield made
    await calls.close(connection)


def session(uid: str = "u", *, until: float = 2_000_000_000.0, **more: object) -> Session:
    return Session(uid=uid, name="s", secret=b"", issued_at=0.0, expires_at=until, **more)  # type: ignore[arg-type]


async def test_a_token_opens_for_its_access_key_and_holds_what_was_put_in(sealer: Sealer) -> None:
    sessions = Sessions(sealer)
    wanted = session(policy="{}", tags={"a": "b"}, source_identity="alice")
    issued = await sessions.issue(wanted)
    assert issued is not None
    opened = await sessions.open(issued.access_key_id, issued.session_token.encode())
    assert opened is not None
    assert opened.secret == issued.secret_access_key.encode()
    assert (opened.uid, opened.name, opened.policy, opened.tags) == ("u", "s", "{}", {"a": "b"})
    assert opened.source_identity == "alice"
    assert await sessions.open("ASIA" + "A" * 16, issued.session_token.encode()) is None
    for secret in (issued.secret_access_key, issued.session_token):
        assert secret not in repr(issued)
        assert secret not in repr(opened)
    assert issued.secret_access_key.encode() not in base64.b64decode(issued.session_token)


async def test_no_two_tokens_or_secrets_are_alike(sealer: Sealer) -> None:
    sessions = Sessions(sealer)
    issued = [await sessions.issue(session()) for _ in range(20)]
    for name in ("access_key_id", "secret_access_key", "session_token"):
        assert len({getattr(each, name) for each in issued}) == 20


async def test_what_was_sealed_for_another_purpose_is_no_session(sealer: Sealer) -> None:
    sealed = await sealer.seal(Purpose.ACCESS_KEY, "ASIAX", SecretBytes(b"\x98"))
    assert await Sessions(sealer).open("ASIAX", base64.b64encode(sealed)) is None


async def test_a_session_that_is_too_large_for_a_header_is_none(sealer: Sealer) -> None:
    assert await Sessions(sealer).issue(session(tags={str(n): "v" * 256 for n in range(50)})) is None


@given(token=st.binary(max_size=200))
async def test_garbage_is_no_token(sealer: Sealer, token: bytes) -> None:
    assert await Sessions(sealer).open("ASIAX", token) is None
    assert await Sessions(sealer).open("ASIAX", base64.b64encode(token)) is None


async def test_a_session_ends_on_time(database: Database, sealer: Sealer, clock: ManualClock) -> None:
    principal = await database.write(lambda tx: add_principal(tx, "p"))
    authenticator = Authenticator(database, Catalog(database), sealer, clock, account=ACCOUNT, regions=(REGION,))
    until = clock.time() + 900
    issued = await authenticator.sessions.issue(session(principal.metadata.uid, until=until))
    assert issued is not None

    async def ask() -> str:
        credentials = Credentials(issued.access_key_id, issued.secret_access_key, issued.session_token)
        headers = signed_headers(
            b"{}", url="http://localhost/", credentials=credentials, at=clock.now(), headers={"host": "localhost"}
        )
        raw = [(name.lower().encode(), value.encode()) for name, value in headers]
        caller = await authenticator.signed("POST", b"/", b"", raw, b"{}", service="kms", request_id="r", source="s")
        return caller.principal

    assert await ask() == principal.status.arn
    clock.advance(899.0)
    assert await ask() == principal.status.arn
    clock.advance(1.0)
    with pytest.raises(Unauthenticated, match="The security token included in the request is expired") as caught:
        await ask()
    assert caught.value.kind == "ExpiredToken"


@given(text=st.text())
def test_whatever_is_answered_is_read_as_it_was_but_for_what_xml_cannot_say(text: str) -> None:
    tree = ElementTree.fromstring(answer("A", {"B": {"C": text}}, "r"))
    said = tree.find("{*}AResult/{*}B/{*}C")
    assert said is not None
    sayable = [c in "\t\n\r" or 0x20 <= ord(c) < 0xD800 or 0xE000 <= ord(c) <= 0xFFFD or ord(c) > 0xFFFF for c in text]
    assert (said.text or "") == "".join(c if can else "?" for c, can in zip(text, sayable, strict=True))
