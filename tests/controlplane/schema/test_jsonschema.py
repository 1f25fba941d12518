"""The JSON Schema: valid itself, and of one mind with the strict reader wherever a schema can be."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings

from controlplane.errors import InvalidSpec
from controlplane.schema.documents import decode_document, parse
from controlplane.schema.jsonschema import json_schema
from tests.controlplane.schema.documents import DESIGN_EXAMPLE
from tests.controlplane.schema.test_document_properties import raw_documents

VALIDATOR = jsonschema.Draft202012Validator(json_schema())


def valid(raw: object) -> bool:
    return bool(VALIDATOR.is_valid(raw))


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert json.loads(json.dumps(json_schema())) == json_schema()


def test_it_says_what_it_describes() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == "urn:keystead:schema:keystead:v1:document"
    assert schema["title"] == "Keystead document"
    kinds = [schema["$defs"][branch["$ref"].removeprefix("#/$defs/")] for branch in schema["oneOf"]]
    assert [kind["properties"]["kind"]["enum"] for kind in kinds] == [
        ["Key"],
        ["KeyStore"],
        ["Principal"],
        ["XksProxy"],
    ]
    assert "description" in schema["$defs"]["DesiredKey"]["properties"]["aliases"]["items"]


def test_every_object_refuses_unknown_fields() -> None:
    def open_objects(node: Any, path: str = "") -> list[str]:
        if isinstance(node, list):
            return [found for index, item in enumerate(node) for found in open_objects(item, f"{path}[{index}]")]
        if not isinstance(node, dict):
            return []
        own = [path] if "properties" in node and node.get("additionalProperties") is not False else []
        return own + [found for name, item in node.items() for found in open_objects(item, f"{path}.{name}")]

    assert open_objects(json_schema()["$defs"]) == []


def test_the_example_of_the_design_validates() -> None:
    located, problems = parse(DESIGN_EXAMPLE, file="f", format="yaml")
    assert len(located) == 2
    assert problems == []
    assert all(valid(raw) for raw in yaml.safe_load_all(DESIGN_EXAMPLE))


@pytest.mark.parametrize(
    "slip",
    [
        {"spec": {"keySpce": "SM2"}},
        {"spec": {"keySpec": "SM3"}},
        {"spec": {"rotation": {"periodDays": 1}}},
        {"spec": {"aliases": ["a b"]}},
        {"spec": {"aliases": ["a\n"]}},
        {"apiVersion": "v1"},
        {"kind": "key"},
        {"kind": "KeyStore"},
        {"metadata": {"name": "A"}},
        {"metadata": {"name": "a\n"}},
        {"status": {}},
    ],
)
def test_a_slip_fails(slip: dict[str, object]) -> None:
    good = {"apiVersion": "keystead/v1", "kind": "Key", "metadata": {"name": "a"}, "spec": {}}
    assert valid(good)
    assert not valid({**good, **slip})


def same_types(raw: Any) -> bool:
    """JSON Schema knows one kind of number: 90.0 is an integer there."""
    if isinstance(raw, dict):
        return all(map(same_types, raw.values()))
    return all(map(same_types, raw)) if isinstance(raw, list) else not (isinstance(raw, float) and raw.is_integer())


@given(raw_documents().filter(same_types))
@settings(deadline=None)
def test_the_schema_and_the_reader_are_of_one_mind(raw: Any) -> None:
    try:
        decode_document(raw)
    except InvalidSpec:
        assert not valid(raw)
    else:
        assert valid(raw)
