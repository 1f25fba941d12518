"""What tests of many operations do with answers of boto3."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def members(answer: dict[str, Any]) -> set[str]:
    """Members of an answer, without what botocore adds."""
    return answer.keys() - {"ResponseMetadata"}


def pages(call: Any, item: str, **arguments: Any) -> Iterator[list[dict[str, Any]]]:
    """Pages of a list operation, followed by hand as Terraform does."""
    while True:
        answer = call(**arguments)
        yield answer[item]
        assert answer["Truncated"] is ("NextMarker" in answer)
        if not answer["Truncated"]:
            return
        arguments["Marker"] = answer["NextMarker"]
