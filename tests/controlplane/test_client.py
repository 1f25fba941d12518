"""The HTTP client against a server on a real socket: what it sends, what it makes of every kind of answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest
from aiohttp import web

from controlplane import errors
from controlplane.client import MAX_EVENT, Client, ServerFailure, UnexpectedAnswer, Unreachable
from controlplane.schema.documents import declare
from controlplane.schema.events import EventPage
from controlplane.schema.keys import DesiredKey, RefusedUse
from controlplane.schema.meta import Kind
from controlplane.schema.plans import Applied, ObjectPage, Progress, ServerInfo
from tests.controlplane.fakeapi import Answer, FakeApi, answer, problem, serving
from tests.controlplane.samples import NOW, create, key, key_store, plan

TOKEN = "a-token-that-nobody-prints"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with serving() as fake:
        yield fake


@pytest.fixture
async def client(api: FakeApi) -> AsyncIterator[Client]:
    async with Client(api.url, TOKEN, timeout=5) as client:
        yield client


# ---- what it asks ----------------------------------------------------------------------------------------------------


async def test_a_plan_is_asked_for_with_the_documents_and_the_token(api: FakeApi, client: Client) -> None:
    made = plan(create())
    api.answers["POST", "/v1/plans"] = answer(made, 201)
    assert await client.plan("quickstart", [declare("payments", DesiredKey(aliases=("payments",)))]) == made
    (asked,) = api.asked
    assert asked.headers["Authorization"] == f"Bearer {TOKEN}"
    assert asked.headers["Content-Type"] == "application/json"
    assert asked.json == {
        "specSet": "quickstart",
        "documents": [
            {
                "apiVersion": "keystead/v1",
                "kind": "Key",
                "metadata": {"name": "payments"},
                "spec": {"aliases": ["payments"]},
            }
        ],
    }


async def test_every_endpoint_is_reached_under_its_path(api: FakeApi, client: Client) -> None:
    applied = Applied(plan_id="8c21", spec_set="quickstart", objects=())
    progress = Progress(spec_set="quickstart", total=1, pending=0, problems=())
    refused = [RefusedUse(principal="user/a", operation="Decrypt", count=2, last_at=NOW)]
    happened = EventPage(items=(), version=7)
    info = ServerInfo(
        server_id="s", version="1", account="0" * 12, region="r", regions=("r",), key_store_types=(), time=NOW
    )
    api.answers = {
        ("GET", "/v1/plans/8c21"): answer(plan()),
        ("POST", "/v1/plans/8c21/apply"): answer(applied),
        ("GET", "/v1/spec-sets/quickstart/progress"): answer(progress),
        ("GET", "/v1/keystores/hsm-a"): answer(key_store()),
        ("GET", "/v1/keys/payments/refused-uses"): answer(refused),
        ("GET", "/v1/events"): answer(happened),
        ("GET", "/v1/server"): answer(info),
        **{
            ("POST", f"/v1/keys/payments/actions/{action}"): answer(key())
            for action in ("enable", "disable", "schedule-deletion", "cancel-deletion", "reconcile")
        },
    }
    assert await client.get_plan("8c21") == plan()
    assert await client.apply("8c21") == applied
    assert await client.progress("quickstart") == progress
    assert await client.get(Kind.KEY_STORE, "hsm-a") == key_store()
    assert await client.refused_uses("payments") == refused
    assert await client.events(uid="u-1", since=7) == happened
    assert api.asked[-1].path == "/v1/events?uid=u-1&since=7&limit=200"
    assert await client.server() == info
    assert await client.enable("payments") == key()
    assert await client.disable("payments") == key()
    assert await client.schedule_deletion("payments") == key()
    assert api.asked[-1].json == {}
    assert await client.schedule_deletion("payments", 7) == key()
    assert api.asked[-1].json == {"windowDays": 7}
    assert await client.cancel_deletion("payments") == key()
    assert await client.reconcile("payments") == key()


async def test_a_put_names_what_was_seen_a_version_or_nothing(api: FakeApi, client: Client) -> None:
    api.answers["PUT", "/v1/keys/payments"] = answer(key())
    document = declare("payments", DesiredKey())
    conditions = []
    for wanted in ({}, {"version": 7}, {"new": True}):
        await client.put(document, **wanted)  # type: ignore[arg-type]
        conditions.append({name: api.asked[-1].headers.get(name) for name in ("If-Match", "If-None-Match")})
    assert conditions == [
        {"If-Match": None, "If-None-Match": None},
        {"If-Match": '"7"', "If-None-Match": None},
        {"If-Match": None, "If-None-Match": "*"},
    ]


async def test_an_alias_or_arn_is_looked_up_and_names_never_leave_their_segment(api: FakeApi, client: Client) -> None:
    api.answers["GET", "/v1/keys"] = answer(ObjectPage(items=(key(),), next=None))
    assert await client.get(Kind.KEY, "alias/payments") == key()
    assert api.asked[-1].path == "/v1/keys?ref=alias%2Fpayments"
    api.answers["POST", "/v1/keys/payments/actions/disable"] = answer(key())
    assert await client.disable("arn:aws:kms:us-east-1:000000000000:alias/payments") == key()
    with pytest.raises(errors.NotFound):
        await client.get(Kind.PRINCIPAL, "../keys?x=y#z")
    assert api.asked[-1].path == "/v1/principals/..%2Fkeys%3Fx%3Dy%23z"
    for name in ("", ".", ".."):
        with pytest.raises(errors.InvalidInput):
            await client.get(Kind.PRINCIPAL, name)


async def test_all_pages_are_read(api: FakeApi, client: Client) -> None:
    api.answers["GET", "/v1/keys"] = [
        answer(ObjectPage(items=(key("a"), key("b")), next="b")),
        answer(ObjectPage(items=(key("c"),), next=None)),
    ]
    found = [item.metadata.name async for item in client.objects(Kind.KEY, spec_set="quickstart", page_size=2)]
    assert found == ["a", "b", "c"]
    assert [each.path for each in api.asked] == [
        "/v1/keys?limit=2&specSet=quickstart",
        "/v1/keys?limit=2&after=b&specSet=quickstart",
    ]


async def test_pages_that_do_not_move_on_end_in_an_error(api: FakeApi, client: Client) -> None:
    api.answers["GET", "/v1/keys"] = answer(ObjectPage(items=(key("a"),), next="a"))
    with pytest.raises(UnexpectedAnswer, match="does not move on"):
        [item async for item in client.objects(Kind.KEY)]


# ---- what it makes of problems ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        (404, errors.NotFound),
        (409, errors.StalePlan),
        (409, errors.Blocked),
        (403, errors.AccessDenied),
        (409, errors.OwnedElsewhere),
        (503, errors.KeyStoreUnavailable),
        (500, errors.AuditUnavailable),
    ],
)
async def test_a_problem_is_raised_as_the_class_of_its_code(
    api: FakeApi, client: Client, status: int, wanted: type[errors.KeysteadError]
) -> None:
    api.answers["GET", "/v1/plans/1"] = problem(status, wanted.code, "what is wrong", requestId="r-1")
    with pytest.raises(wanted) as caught:
        await client.get_plan("1")
    assert type(caught.value) is wanted
    assert caught.value.message == "what is wrong" + (" (request id r-1)" if status >= 500 else "")


async def test_problems_of_documents_come_with_their_places(api: FakeApi, client: Client) -> None:
    problems = [errors.Problem("unknown field", document=2, path="spec.keySpek", hint="did you mean keySpec?")]
    api.answers["POST", "/v1/plans"] = problem(422, "InvalidSpec", "1 problem", problems=problems)
    with pytest.raises(errors.InvalidSpec) as caught:
        await client.plan("a", [])
    assert caught.value.problems == problems


async def test_401_says_to_set_the_token_and_never_shows_it(api: FakeApi, client: Client) -> None:
    api.answers["GET", "/v1/server"] = problem(401, "Unauthenticated", "unknown token")
    with pytest.raises(errors.Unauthenticated, match="refuses the token in KEYSTEAD_TOKEN") as caught:
        await client.server()
    assert TOKEN not in caught.value.message
    assert "export KEYSTEAD_TOKEN=test" in caught.value.message
    async with Client(api.url) as nobody:
        with pytest.raises(errors.Unauthenticated, match="set KEYSTEAD_TOKEN"):
            await nobody.server()
    assert "Authorization" not in api.asked[-1].headers


@pytest.mark.parametrize(
    ("said", "error", "words"),
    [
        (Answer(b"<html>hello</html>", 200, "text/html"), UnexpectedAnswer, "is it a Keystead server"),
        (Answer(b'{"a": 1}'), UnexpectedAnswer, "is it a Keystead server"),
        (Answer(b"[" * 100_000), UnexpectedAnswer, "is it a Keystead server"),
        (Answer(b"\xff"), UnexpectedAnswer, "is it a Keystead server"),
        (Answer(b"<h1>Bad gateway</h1>", 502, "text/html"), ServerFailure, "HTTP 502"),
        (Answer(b"{broken", 500, "application/problem+json"), ServerFailure, "cannot be read"),
        (problem(418, "Teapot", "short and stout"), ServerFailure, "HTTP 418 Teapot: short and stout"),
        (problem(422, "InvalidSpec", "no list"), errors.InvalidSpec, "no list"),
        (problem(500, "InternalError", "the server failed", requestId="r-9"), ServerFailure, "request id r-9"),
    ],
)
async def test_garbage_is_told_in_a_sentence(
    api: FakeApi, client: Client, said: Answer, error: type[errors.KeysteadError], words: str
) -> None:
    api.answers["GET", "/v1/server"] = said
    with pytest.raises(error, match=words):
        await client.server()


async def test_a_redirect_is_not_followed_so_the_token_stays(api: FakeApi, client: Client) -> None:
    with serving() as elsewhere:
        for status in (301, 302, 307, 308):
            api.answers["GET", "/v1/server"] = Answer(b"", status, headers={"Location": f"{elsewhere.url}/v1/server"})
            with pytest.raises(UnexpectedAnswer, match="redirects"):
                await client.server()
        assert elsewhere.asked == []


async def test_an_answer_that_is_too_large_is_refused(api: FakeApi) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(10_000):
            await response.write(b" " * 65_536)
        return response

    api.answers["GET", "/v1/server"] = endless
    async with Client(api.url, TOKEN, max_body=1_000_000) as client:
        with pytest.raises(UnexpectedAnswer, match=r"more than 1,000,000 bytes"):
            await client.server()


async def test_a_compressed_answer_is_not_unfolded(api: FakeApi, client: Client) -> None:
    api.answers["GET", "/v1/server"] = Answer(b"\x1f\x8b" + b"x" * 50, headers={"Content-Encoding": "gzip"})
    with pytest.raises(UnexpectedAnswer):
        await client.server()
    assert api.asked[-1].headers["Accept-Encoding"] == "identity"


# ---- the way to the server -------------------------------------------------------------------------------------------


async def test_nobody_there_says_what_to_do() -> None:
    with serving() as gone:
        url = gone.url
    async with Client(url, TOKEN) as client:
        with pytest.raises(Unreachable) as caught:
            await client.server()
        assert not await client.healthy()
    assert caught.value.message == (
        f"cannot reach Keystead at {url}: Connection refused; is it running? set KEYSTEAD_URL or start one with "
        "`keystead dev`"
    )


async def test_a_server_that_does_not_answer_is_left_at_the_deadline(api: FakeApi) -> None:
    async def silent(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    api.answers["GET", "/v1/server"] = silent
    async with Client(api.url, timeout=0.2) as client:
        with pytest.raises(Unreachable, match="did not answer in time"):
            await client.server()


async def test_a_connection_that_breaks_is_told_as_such(api: FakeApi, client: Client) -> None:
    async def breaking(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    api.answers["GET", "/v1/server"] = breaking
    with pytest.raises(Unreachable, match="the connection broke"):
        await client.server()


async def test_plain_http_on_a_tls_url_is_told_as_such(api: FakeApi) -> None:
    async with Client(api.url.replace("http:", "https:"), timeout=5) as client:
        with pytest.raises(Unreachable, match="TLS"):
            await client.server()


async def test_health_is_a_yes_or_no(api: FakeApi, client: Client) -> None:
    assert not await client.healthy()
    api.answers["GET", "/healthz"] = Answer(b"ok")
    assert await client.healthy()


@pytest.mark.parametrize(
    "url",
    ["ftp://host", "file:///etc/passwd", "127.0.0.1:8470", "", "http://", "http://host:99999", "http://[::1",
     "http://127.0.0.1/?a=b", "http://127.0.0.1/#x", "http://a b", "javascript:alert(1)", "http://127.0.0.1\n.evil.com"],
)  # fmt: skip
def test_what_is_no_http_url_is_refused(url: str) -> None:
    with pytest.raises(errors.InvalidInput):
        Client(url)


def test_credentials_in_a_url_are_refused_and_not_repeated() -> None:
    for url in ("https://user:hunter2@keystead.example", "user:hunter2@keystead.example", "ftp://u:hunter2@host"):
        with pytest.raises(errors.InvalidInput) as caught:
            Client(url)
        assert "hunter2" not in caught.value.message


@pytest.mark.parametrize("host", ["keystead.example", "10.0.0.1", "0.0.0.0", "127.0.0.1.evil.example", "[::2]"])
def test_a_token_is_not_sent_in_clear_beyond_this_machine(host: str) -> None:
    with pytest.raises(errors.InvalidInput, match="in clear"):
        Client(f"http://{host}:8470")
    assert Client(f"https://{host}:8470").url == f"https://{host}:8470"
    environ = {"KEYSTEAD_URL": f"http://{host}:8470/", "KEYSTEAD_INSECURE": "1"}
    assert Client.from_environment(environ=environ).url == f"http://{host}:8470"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.8.8.8"])
def test_plain_http_is_fine_on_this_machine(host: str) -> None:
    assert Client(f"http://{host}:8470").url == f"http://{host}:8470"


def test_the_environment_names_the_server_and_the_token() -> None:
    client = Client.from_environment(environ={"KEYSTEAD_TOKEN": f" {TOKEN}\n"})
    assert client.url == "http://127.0.0.1:8470"
    assert TOKEN not in repr(client)
    with pytest.raises(errors.InvalidInput) as caught:
        Client.from_environment(environ={"KEYSTEAD_TOKEN": f"{TOKEN}\nX-Evil: 1"})
    assert TOKEN not in caught.value.message


# ---- the change feed -------------------------------------------------------------------------------------------------


def feed(*chunks: bytes) -> Any:
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
            await asyncio.sleep(0.01)
        return response

    return stream


def change(version: int, **more: object) -> dict[str, object]:
    return {
        "version": version,
        "kind": "Key",
        "uid": "u",
        "name": "payments",
        "generation": 1,
        "removed": False,
        **more,
    }


async def test_changes_arrive_whatever_the_chunks(api: FakeApi, client: Client) -> None:
    one, two = (b"event: change\nid: 7\ndata: " + msgspec.json.encode(change(n)) + b"\n\n" for n in (7, 8))
    wire = b": changes after 6\n\n" + one + b": alive\n\n" + b"event: other\ndata: {}\n\n" + two.replace(b"\n", b"\r\n")
    for size in (1, 7, len(wire)):
        api.answers["GET", "/v1/changes"] = feed(*(wire[i : i + size] for i in range(0, len(wire), size)))
        assert [each.version async for each in client.changes(6)] == [7, 8]
    assert api.asked[-1].path == "/v1/changes?since=6"
    assert [each.name async for each in client.changes()] == ["payments", "payments"]
    assert api.asked[-1].path == "/v1/changes"


async def test_a_refused_or_broken_feed_is_an_error(api: FakeApi, client: Client) -> None:
    api.answers["GET", "/v1/changes"] = problem(403, "AccessDenied", "not yours")
    with pytest.raises(errors.AccessDenied, match="not yours"):
        [each async for each in client.changes(0)]
    api.answers["GET", "/v1/changes"] = feed(b"event: change\ndata: nonsense\n\n")
    with pytest.raises(UnexpectedAnswer):
        [each async for each in client.changes(0)]
    api.answers["GET", "/v1/changes"] = feed(b"data: " + b"x" * (MAX_EVENT + 100))
    with pytest.raises(UnexpectedAnswer, match="event of more than"):
        [each async for each in client.changes(0)]


async def test_an_edit_is_made_again_when_only_the_status_changed(api: FakeApi, client: Client) -> None:
    """The server notes what it sees all the time; nobody should have to read an object again for that."""
    read = [
        key(),
        msgspec.structs.replace(key(), metadata=msgspec.structs.replace(key().metadata, resource_version=99)),
    ]
    changed = problem(412, "PreconditionFailed", "it is at version 99: read it again")
    api.answers["GET", "/v1/keys/payments"] = [answer(each) for each in read]
    api.answers["PUT", "/v1/keys/payments"] = [changed, answer(key())]
    assert await client.edit(Kind.KEY, "payments", {"description": "new"}) == key()
    assert [each.headers["If-Match"] for each in api.asked if each.method == "PUT"][-1] == '"99"'


async def test_an_edit_of_what_somebody_changed_meanwhile_overwrites_nothing(api: FakeApi, client: Client) -> None:
    meta = key().metadata
    theirs = msgspec.structs.replace(key(), metadata=msgspec.structs.replace(meta, generation=meta.generation + 1))
    api.answers["GET", "/v1/keys/payments"] = [answer(key()), answer(theirs)]
    api.answers["PUT", "/v1/keys/payments"] = problem(412, "PreconditionFailed", "read it again")
    with pytest.raises(errors.PreconditionFailed):
        await client.edit(Kind.KEY, "payments", {"description": "new"})
    assert len([each for each in api.asked if each.method == "PUT"]) == 1
