"""Spec documents of a fleet of keys: each with an alias and two tags, one in ten with a policy of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from controlplane.schema.base import API_VERSION

SPEC_SET = "fleet"
PER_FILE = 100

_POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "Account",
                "Effect": "Allow",
                "Principal": {"AWS": "arn:aws:iam::000000000000:root"},
                "Action": "kms:*",
                "Resource": "*",
            }
        ],
    },
    indent=2,
)


def fleet(keys: int) -> list[dict[str, Any]]:
    """The documents as JSON's types."""
    return [_document(number) for number in range(keys)]


def _document(number: int) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "description": f"Key {number} of the fleet",
        "aliases": [f"fleet/{number:05}"],
        "tags": {"team": f"team-{number % 40}", "stage": "production" if number % 3 else "test"},
    }
    if number % 10 == 0:
        spec["policy"] = {"document": _POLICY}
    return {"apiVersion": API_VERSION, "kind": "Key", "metadata": {"name": f"fleet-{number:05}"}, "spec": spec}


def write_files(keys: int, directory: Path) -> None:
    """The same as YAML files as people write them, a hundred documents in each."""
    documents = fleet(keys)
    for first in range(0, keys, PER_FILE):
        text = "---\n".join(_yaml(each) for each in documents[first : first + PER_FILE])
        (directory / f"keys-{first:05}.yaml").write_text(text)


def _yaml(document: dict[str, Any]) -> str:
    spec = document["spec"]
    lines = [
        f"apiVersion: {document['apiVersion']}",
        "kind: Key",
        f"metadata: {{name: {document['metadata']['name']}}}",
        "spec:",
        f"  description: {spec['description']}",
        f"  aliases: [{spec['aliases'][0]}]",
        "  tags:",
        *(f"    {name}: {value}" for name, value in spec["tags"].items()),
    ]
    if "policy" in spec:
        lines += [
            "  policy:",
            "    document: |",
            *(f"      {line}" for line in spec["policy"]["document"].splitlines()),
        ]
    return "\n".join(lines) + "\n"
