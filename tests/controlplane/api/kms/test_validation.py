"""The words for a request that breaks the model, each constraint of each member of each operation in its turn."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import botocore.session
import pytest
from botocore.model import ListShape, MapShape, Shape, StringShape, StructureShape

from controlplane.api.kms import validation
from controlplane.api.kms.operations import OPERATIONS
from controlplane.api.kms.validation import MOST_CHARACTERS, MOST_COUNTED, MOST_ERRORS, MOST_ITEMS
from controlplane.errors import InvalidInput, Undecodable

MODEL = botocore.session.get_session().get_service_model("kms")
Wrap = Callable[[Any], Any]


def refused(operation: str, body: Any) -> InvalidInput:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(InvalidInput) as caught:
        OPERATIONS[operation].read(content)
    return caught.value


def errors(operation: str, body: Any) -> list[str]:
    """What the message tells, one constraint each."""
    told = refused(operation, body)
    assert not isinstance(told, Undecodable), told.message
    number, _, rest = told.message.partition(" validation error")
    found = rest.partition(" detected: ")[2].split("; ")
    assert int(number) == len(found)
    assert rest.startswith("s" if len(found) > 1 else " ")
    return found


def lower(name: str) -> str:
    return name[:1].lower() + name[1:]


# ---- every constraint of the model -----------------------------------------------------------------------------------


def members() -> Iterator[Any]:
    """Operation, path in messages, a body with one value there, its shape, and whether it is told at its list."""
    for operation in sorted(MODEL.operation_names):
        shape = MODEL.operation_model(operation).input_shape
        if shape is not None:
            yield from walk(operation, shape, "", lambda value: value)


def walk(operation: str, shape: Shape, path: str, wrap: Wrap, *, item: bool = False) -> Iterator[Any]:
    yield operation, path, wrap, shape, item
    if isinstance(shape, StructureShape):
        for name, member in shape.members.items():
            at = f"{path}.{lower(name)}" if path else lower(name)
            yield from walk(operation, member, at, lambda value, name=name: wrap({name: value}))
    elif isinstance(shape, ListShape):
        structures = isinstance(shape.member, StructureShape)
        at = f"{path}.1.member" if structures else path
        yield from walk(operation, shape.member, at, lambda value: wrap([value]), item=not structures)


def constraints(shape: Shape) -> Iterator[tuple[str, Any]]:
    """Each constraint of a shape in AWS's words, with a value that breaks it."""
    low, high, pattern = (shape.metadata.get(name) for name in ("min", "max", "pattern"))
    if isinstance(shape, StringShape) and shape.enum:
        yield f"Member must satisfy enum value set: [{', '.join(shape.enum)}]", "NOPE"
        return
    if isinstance(shape, MapShape | StructureShape):
        return
    if shape.type_name == "integer":
        if low is not None:
            yield f"Member must have value greater than or equal to {low}", low - 1
        if high is not None:
            yield f"Member must have value less than or equal to {high}", high + 1
        return
    of_length: dict[str, Callable[[int], Any]] = {
        "string": lambda length: "A" * length,
        "blob": lambda length: base64.b64encode(b"\0" * length).decode(),
        "list": lambda length: ["SELF"] * length,
    }
    if low:
        yield f"Member must have length greater than or equal to {low}", of_length[shape.type_name](low - 1)
    if high is not None:
        yield f"Member must have length less than or equal to {high}", of_length[shape.type_name](high + 1)
    if pattern:
        yield f"Member must satisfy regular expression pattern: {pattern}", "\u20ac" * (low or 1)


CASES: dict[str, list[tuple[str, Any, str, Shape, bool]]] = {name: [] for name in sorted(OPERATIONS)}
for _operation, _path, _wrap, _shape, _item in members():
    CASES[_operation] += [(_path, _wrap(value), text, _shape, _item) for text, value in constraints(_shape)]


@pytest.mark.parametrize("operation", CASES)
def test_a_broken_constraint_is_told_at_its_member_in_the_words_of_aws(operation: str) -> None:
    for path, body, text, shape, item in CASES[operation]:
        told = [error for error in errors(operation, body) if f"at '{path}' failed to satisfy constraint: " in error]
        here = [in_order(error) for error in told if in_order(text) in in_order(error)]
        assert len(here) == 1, (path, text, told)
        if item:
            assert "constraint: Member must satisfy constraint: [Member must" in here[0]
        else:
            assert here[0].endswith(f"at '{path}' failed to satisfy constraint: {in_order(text)}")
        if shape.metadata.get("sensitive") or shape.type_name == "blob":
            assert here[0].startswith(f"Value at '{path}'")
        else:
            assert here[0].startswith("Value '")


def in_order(text: str) -> str:
    """The values of an enumeration have none, in AWS's answers too."""
    return re.sub(r"(?<=enum value set: )\[([^]]*)]", lambda found: str(sorted(found[1].split(", "))), text)


def test_the_constraints_of_the_model_are_hundreds() -> None:
    """Or the walk above would have gone past them."""
    assert sum(map(len, CASES.values())) > 250


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_every_missing_member_is_told_at_once(operation: str) -> None:
    shape = MODEL.operation_model(operation).input_shape
    required = shape.required_members if shape is not None else []
    if not required:
        assert OPERATIONS[operation].read(b"{}") is not None
        return
    for body in ({}, dict.fromkeys(required)):
        assert errors(operation, body) == [
            f"Value null at '{lower(name)}' failed to satisfy constraint: Member must not be null"
            for name in sorted(required, key=list(shape.members).index)
        ]


# ---- what the walk does not show -------------------------------------------------------------------------------------


def test_errors_of_different_members_are_told_in_one_answer() -> None:
    body = {"KeySpec": "AES", "MultiRegion": True, "Tags": [{"TagKey": "a", "TagValue": "b"}, {"TagKey": ""}]}
    assert refused("CreateKey", body).message.startswith("3 validation errors detected: Value 'AES' at 'keySpec' ")
    assert [error.partition(" failed")[0] for error in errors("CreateKey", body)] == [
        "Value 'AES' at 'keySpec'",
        "Value '' at 'tags.2.member.tagKey'",
        "Value null at 'tags.2.member.tagValue'",
    ]


def test_a_null_in_a_collection_is_told_where_it_is() -> None:
    assert errors("CreateKey", {"Tags": [None]}) == [
        "Value null at 'tags.1.member' failed to satisfy constraint: Member must not be null"
    ]
    (told,) = errors("UntagResource", {"KeyId": "k", "TagKeys": ["a", None]})
    assert told.startswith(
        "Value '[a, null]' at 'tagKeys' failed to satisfy constraint: Member must satisfy constraint: ["
    )
    assert told.endswith(", Member must not be null]")
    (told,) = errors("Encrypt", {"KeyId": "k", "Plaintext": "eA==", "EncryptionContext": {"a": None, "b": "c"}})
    assert told == (
        "Value '{a=null, b=c}' at 'encryptionContext' failed to satisfy constraint: "
        "Map value must satisfy constraint: [Member must not be null]"
    )


def test_a_wrong_type_goes_before_every_constraint() -> None:
    """A request is read before it is checked, so one of another type has no constraints to speak of."""
    for operation, body in (
        ("CreateKey", {"KeySpec": "AES", "MultiRegion": "yes"}),
        ("CreateKey", {"KeySpec": "AES", "Tags": [{"TagKey": 1, "TagValue": "b"}]}),
        ("Encrypt", {"Plaintext": "not base64!"}),
        ("Encrypt", {"Plaintext": "eA"}),
        ("ListKeys", {"Limit": 0.5}),
        ("ListKeys", {"Limit": True}),
        ("ListKeys", {"Limit": "1"}),
        ("ListKeys", []),
        ("ImportKeyMaterial", {"ValidTo": "tomorrow"}),
        ("ListKeys", b"nothing"),
        ("ListKeys", b'{"Limit": 0, "x": ' + b"[" * 100_000),
        ("ListKeys", b'{"Limit": 0} {}'),
    ):
        assert isinstance(refused(operation, body), Undecodable), body


def test_no_secret_and_no_plaintext_is_in_a_message() -> None:
    secret = "s3cr3t" * 40
    encoded = base64.b64encode(b"s3cr3t" * 2000).decode()
    for operation, body in (
        ("CreateCustomKeyStore", {"CustomKeyStoreName": "n", "KeyStorePassword": secret}),
        (
            "CreateCustomKeyStore",
            {"CustomKeyStoreName": "n", "XksProxyAuthenticationCredential": {"RawSecretAccessKey": secret}},
        ),
        ("UpdateCustomKeyStore", {"CustomKeyStoreId": "", "KeyStorePassword": secret}),
        ("Encrypt", {"KeyId": "k", "Plaintext": encoded}),
        ("Sign", {"KeyId": "k", "Message": encoded}),
        ("ImportKeyMaterial", {"KeyId": "k", "EncryptedKeyMaterial": encoded}),
    ):
        message = refused(operation, body).message
        assert "failed to satisfy constraint: Member must have length less than or equal to" in message
        assert "s3cr3t" not in message
        assert encoded[:20] not in message


def test_a_message_is_bounded_whatever_came() -> None:
    (told,) = errors("DescribeKey", {"KeyId": "k" * 1_000_000})
    assert f"Value '{'k' * MOST_CHARACTERS}...' at 'keyId'" in told
    for number, counted in ((999, 999), (10_000, MOST_COUNTED)):
        message = refused("CreateKey", {"Tags": [{"TagKey": "", "TagValue": ""}] * number}).message
        assert message.startswith(f"{counted} validation errors detected: Value '' at 'tags.1.member.tagKey' failed")
        assert message.count("; ") == MOST_ERRORS - 1


def test_a_body_that_is_all_errors_is_not_walked_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would hold every other request of the process for a second. What it costs is the texts that are made."""
    made: list[str] = []
    monkeypatch.setattr(validation, "_short", lambda value: made.append(str(value)) or "")
    many = 50_000
    for operation, body in (
        ("CreateKey", {"Tags": [{"TagKey": ""}] * many}),
        ("UntagResource", {"KeyId": "k", "TagKeys": [""] * many}),
        ("Encrypt", {"KeyId": "k", "Plaintext": "eA==", "EncryptionContext": {str(at): None for at in range(many)}}),
        ("CreateGrant", {"KeyId": "k", "Operations": ["Rule"] * many}),
    ):
        made.clear()
        assert "validation error" in refused(operation, body).message
        assert len(made) <= MOST_COUNTED
        assert sum(map(len, made)) < 100 * MOST_COUNTED
    good = {"TagKey": "a", "TagValue": "b"}
    for body in ({"Tags": [good] * MOST_ITEMS + [None]}, {"Tags": [good] * MOST_ITEMS + [{**good, "TagKey": ""}]}):
        assert refused("CreateKey", body).message.startswith(f"A member beyond the first {MOST_ITEMS} of a collection ")


def test_nothing_that_a_terminal_acts_on_is_in_a_message() -> None:
    message = refused("CreateKey", {"KeySpec": "\x1b[2J\r\nRSA\u202e"}).message
    assert "Value '\\x1b[2J\\r\\nRSA\\u202e' at 'keySpec'" in message
    assert message.isprintable()
