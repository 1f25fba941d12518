"""What the tests of the reconciliation API share: names, problem details, keys that are ready, policies."""

from __future__ import annotations

import json
import uuid
from typing import Any

from tests.harness import Answer, Server, eventually

PROBLEM = "application/problem+json"


def name() -> str:
    """A name that no other test has."""
    return f"t-{uuid.uuid4()}"


def problem(answer: Answer, status: int, code: str) -> dict[str, Any]:
    """The problem details of a refusal, complete and as RFC 9457 wants them."""
    assert answer.status == status, answer
    assert answer.headers["content-type"] == PROBLEM
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert body.keys() >= {"type", "title", "status", "detail", "code", "requestId"}, body
    assert body.keys() <= {"type", "title", "status", "detail", "code", "requestId", "problems"}, body
    assert (body["status"], body["code"]) == (status, code), body
    assert uuid.UUID(body["requestId"])
    assert body["title"]
    return body


def ready(server: Server, key: str) -> dict[str, Any]:
    """The key once its material is made."""

    def made() -> dict[str, Any] | None:
        shown = server.ok("GET", f"/v1/keys/{key}")
        conditions = {each["type"]: each["status"] for each in shown["status"].get("conditions", ())}
        return shown if conditions.get("Ready") == "True" else None

    return eventually(made, f"key {key} is ready")


def allowing(*actions: str, effect: str = "Allow", resource: str = "*") -> dict[str, Any]:
    """The ``policies`` of a principal."""
    statement = {"Effect": effect, "Action": list(actions), "Resource": resource}
    return {effect.lower(): {"document": json.dumps({"Version": "2012-10-17", "Statement": [statement]})}}
