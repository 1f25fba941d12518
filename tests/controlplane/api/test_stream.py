"""The change stream: every change, where a reader left off, and how it ends."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.controlplane.api.asking import name, problem, ready
from tests.harness import TOKEN, Server, document, refusal

# ---- the change stream -----------------------------------------------------------------------------------------------


class Events:
    """A reader of server-sent events."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response
        self.ended = False

    def next(self) -> dict[str, str] | None:
        """The next event or comment; None at the stream's end."""
        event: dict[str, str] = {}
        while True:
            try:
                line = self._response.readline()
            except http.client.IncompleteRead:
                line = b""
            if not line:
                self.ended = True
                return event or None
            text = line.decode().rstrip("\r\n")
            if not text:
                if event:
                    return event
                continue
            field, _, value = text.partition(":")
            event[field or "comment"] = value.strip()

    def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next change that is wanted."""
        while (event := self.next()) is not None:
            if event.get("event") == "change":
                change = json.loads(event["data"])
                assert event["id"] == str(change["version"])
                if wanted(change):
                    return change
        raise AssertionError("the stream ended before the event came")


@contextmanager
def stream(server: Server, query: str = "") -> Iterator[Events]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request("GET", f"/v1/changes{query}", headers={"authorization": f"Bearer {TOKEN}"})
        response = connection.getresponse()
        assert response.status == 200
        assert response.headers.get_content_type() == "text/event-stream"
        events = Events(response)
        first = events.next()
        assert first is not None
        assert first["comment"].startswith("changes after ")
        yield events
    finally:
        connection.close()


def test_a_change_arrives_on_the_stream_and_so_does_a_removal(shared_server: Server) -> None:
    fresh = name()
    with stream(shared_server) as events:
        made = shared_server.ok("PUT", f"/v1/principals/{fresh}", document("Principal", fresh))
        change = events.until(lambda each: each["name"] == fresh)
        assert change.keys() == {"version", "kind", "uid", "name", "generation", "removed"}
        assert (change["kind"], change["uid"], change["removed"]) == ("Principal", made["metadata"]["uid"], False)
        assert change["version"] >= made["metadata"]["resourceVersion"]
        shared_server.ok("DELETE", f"/v1/principals/{fresh}")
        assert events.until(lambda each: each["name"] == fresh and each["removed"])


def test_the_stream_goes_on_where_a_reader_left_it(shared_server: Server) -> None:
    first, second, third = name(), name(), name()
    shared_server.ok("PUT", f"/v1/principals/{first}", document("Principal", first))
    with stream(shared_server, "?since=0") as events:
        version = events.until(lambda each: each["name"] == first)["version"]
    shared_server.ok("PUT", f"/v1/principals/{second}", document("Principal", second))
    shared_server.ok("PUT", f"/v1/principals/{third}", document("Principal", third))
    shared_server.ok("DELETE", f"/v1/principals/{third}")
    missing = {(second, False), (third, True)}
    last = version
    with stream(shared_server, f"?since={version}") as events:
        while missing:
            change = events.until(lambda each: True)
            assert change["version"] > last, "nothing twice, nothing out of order"
            last = change["version"]
            missing.discard((change["name"], change["removed"]))


def test_events_tell_of_a_deletion_and_of_the_uses_it_refuses(shared_server: Server) -> None:
    shared_server.ok("PUT", "/v1/keys/eventful", document("Key", "eventful"))
    ready(shared_server, "eventful")
    key = shared_server.ok("GET", "/v1/keys/eventful")
    uid, key_id = key["metadata"]["uid"], key["status"]["keyId"]
    shared_server.ok("POST", "/v1/keys/eventful/actions/schedule-deletion", {"windowDays": 7})
    for _ in range(3):
        assert refusal(shared_server.kms().encrypt, KeyId=key_id, Plaintext=b"x").type == "KMSInvalidStateException"
    page = shared_server.ok("GET", f"/v1/events?uid={uid}")
    # That a declared key is on its way out is drift, which the reconciler tells of when it looks.
    told = {each["reason"]: each for each in page["items"]}
    assert {"DeletionScheduled", "UseRefused"} <= set(told) <= {"DeletionScheduled", "UseRefused", "DriftFound"}, page
    scheduled, refused = told["DeletionScheduled"], told["UseRefused"]
    assert (scheduled["reason"], scheduled["kind"], scheduled["name"]) == ("DeletionScheduled", "Key", "eventful")
    assert (refused["reason"], refused["count"]) == ("UseRefused", 3)
    assert "Encrypt" in refused["message"]
    shared_server.ok("POST", "/v1/keys/eventful/actions/cancel-deletion")
    later = shared_server.ok("GET", f"/v1/events?uid={uid}&since={page['version']}")["items"]
    assert "DeletionCancelled" in [each["reason"] for each in later]
    assert "DeletionScheduled" not in [each["reason"] for each in later]
    problem(shared_server.rest("GET", "/v1/events?since=-1"), 400, "InvalidInput")


@pytest.mark.parametrize("since", ["-1", "x", "1.5"])
def test_a_stream_from_no_version_is_refused(shared_server: Server, since: str) -> None:
    problem(shared_server.rest("GET", f"/v1/changes?since={since}"), 400, "InvalidInput")


def test_idle_streams_end_at_shutdown_by_themselves(private_server: Server) -> None:
    with stream(private_server) as one, stream(private_server) as two:
        private_server.stop()  # and it exits 0, within its grace at the latest
        for events in (one, two):
            while not events.ended:
                events.next()
    assert "timeout graceful shutdown exceeded" not in private_server.log()
