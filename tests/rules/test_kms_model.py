"""The KMS door against the service model of botocore: every operation, structure, member, type and constraint."""

from __future__ import annotations

import importlib
import pkgutil
import types
import typing
from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any, Literal, get_args, get_origin

import botocore.session
import msgspec
import pytest
from botocore.model import ListShape, MapShape, OperationModel, Shape, StringShape, StructureShape

from controlplane.api.kms import errors, shapes
from controlplane.api.kms.errors import exception_of
from controlplane.api.kms.operations import OPERATIONS
from controlplane.api.kms.shapes.base import SENSITIVE, exactly
from controlplane.domain import lifecycle
from controlplane.errors import (
    AuditUnavailable,
    DeadlineExceeded,
    InvalidAliasName,
    InvalidArn,
    InvalidGrantToken,
    InvalidInput,
    InvalidMarker,
    InvalidTags,
    KeyStoreFailure,
    KeyStoreUnavailable,
    LimitExceeded,
    NotFound,
    StoreUnavailable,
)
from plugins.sdk import ProxyFault

MODEL = botocore.session.get_session().get_service_model("kms")
MODULES = [
    importlib.import_module(f"{shapes.__name__}.{found.name}") for found in pkgutil.iter_modules(shapes.__path__)
]
NAMES = sorted(MODEL.operation_names)


def ours(name: str) -> type[msgspec.Struct] | None:
    """Our structure of this name."""
    return next((getattr(module, name) for module in MODULES if hasattr(module, name)), None)


def shapes_of(*roots: Shape | None) -> Iterator[StructureShape]:
    """Every structure with members under these shapes, themselves included, once."""
    seen: dict[str, StructureShape] = {}

    def walk(shape: Shape | None) -> None:
        match shape:
            case StructureShape():
                if shape.name in seen:
                    return
                seen[shape.name] = shape
                for member in shape.members.values():
                    walk(member)
            case ListShape():
                walk(shape.member)
            case MapShape():
                walk(shape.value)

    for root in roots:
        walk(root)
    return (shape for _, shape in sorted(seen.items()) if shape.members)


def inputs_and_outputs() -> Iterator[Shape | None]:
    for name in NAMES:
        operation = MODEL.operation_model(name)
        yield operation.input_shape
        yield operation.output_shape


STRUCTURES = {shape.name: shape for shape in shapes_of(*inputs_and_outputs())}
INPUTS = {shape.name for shape in shapes_of(*(MODEL.operation_model(name).input_shape for name in NAMES))}

SAME = "the model says of it that the KeySpec and CustomerMasterKeySpec fields have the same value"
WIDER = {"KeyMetadata.CustomerMasterKeySpec": SAME, "GetPublicKeyResponse.CustomerMasterKeySpec": SAME}
"""Members of answers that have values beyond the model's enumeration, and why."""


def test_all_56_operations_of_the_model_are_served_and_no_other() -> None:
    assert len(NAMES) == 56
    assert sorted(OPERATIONS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_an_operation_is_served_with_the_input_of_the_model(name: str) -> None:
    operation: OperationModel = MODEL.operation_model(name)
    served = OPERATIONS[name]
    expected = operation.input_shape.name if operation.input_shape is not None else None
    assert served.request.__name__ == expected
    assert served.name == name


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_structure_has_the_members_of_the_model(name: str) -> None:
    struct = ours(name)
    assert struct is not None, f"{name} is not defined"
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    assert fields.keys() == STRUCTURES[name].members.keys()
    required, wanted = {at for at, field in fields.items() if field.required}, set(STRUCTURES[name].required_members)
    if name in INPUTS:
        assert required == wanted
    else:
        assert required >= wanted, "an answer always has what the model requires, and may always have more"


def members() -> Iterator[Any]:
    for name, shape in STRUCTURES.items():
        for member in shape.members:
            yield pytest.param(name, member, id=f"{name}.{member}")


@pytest.mark.parametrize(("name", "member"), list(members()))
def test_a_member_has_the_type_and_the_constraints_of_the_model(name: str, member: str) -> None:
    struct = ours(name)
    assert struct is not None
    field = next(field for field in msgspec.structs.fields(struct) if field.encode_name == member)
    told = list(differences(field.type, STRUCTURES[name].members[member], member))
    if f"{name}.{member}" in WIDER:
        assert [each.partition(" has ")[1] for each in told] == [" has "], told
        return
    assert told == [], "\n".join(told)


def differences(ours_type: Any, shape: Shape, path: str) -> Iterator[str]:
    """How a type of ours differs from a shape of the model."""
    ours_type, metas = unwrapped(ours_type)
    yield from constraint_differences(metas, shape, path)
    match shape:
        case StructureShape() if shape.members:
            if ours_type is not ours(shape.name):
                yield f"{path} is {ours_type}, not {shape.name}"
        case ListShape():
            if get_origin(ours_type) is not list:
                yield f"{path} is {ours_type}, not a list"
            else:
                yield from differences(get_args(ours_type)[0], shape.member, f"{path}[]")
        case MapShape():
            if get_origin(ours_type) is not dict:
                yield f"{path} is {ours_type}, not a mapping"
            else:
                yield from differences(get_args(ours_type)[0], shape.key, f"{path}{{}}")
                yield from differences(get_args(ours_type)[1], shape.value, f"{path}{{}}")
        case StringShape() if shape.enum:
            yield from enum_differences(ours_type, shape, path)
        case _:
            expected = {
                "string": str,
                "integer": int,
                "long": int,
                "boolean": bool,
                "blob": bytes,
                "timestamp": float,
                "structure": msgspec.Struct,
            }[shape.type_name]
            if ours_type is not expected:
                yield f"{path} is {ours_type}, not {expected}"


def enum_differences(ours_type: Any, shape: StringShape, path: str) -> Iterator[str]:
    if get_origin(ours_type) is Literal:
        values = set(get_args(ours_type))
    elif isinstance(ours_type, type) and issubclass(ours_type, Enum):
        values = {str(each.value) for each in ours_type}
    else:
        yield f"{path} is {ours_type}, not an enumeration"
        return
    if missing := set(shape.enum) - values:
        yield f"{path} lacks {sorted(missing)}"
    if more := values - set(shape.enum):
        yield f"{path} has {sorted(more)}, which the model lacks"


def constraint_differences(metas: list[msgspec.Meta], shape: Shape, path: str) -> Iterator[str]:
    told = {
        name: value
        for meta in metas
        for name in ("min_length", "max_length", "ge", "le", "pattern")
        if (value := getattr(meta, name)) is not None
    }
    numeric = shape.type_name in ("integer", "long")
    expected: dict[str, Any] = {}
    if (low := shape.metadata.get("min")) is not None and not getattr(shape, "enum", None):
        expected["ge" if numeric else "min_length"] = low
    if (high := shape.metadata.get("max")) is not None and not getattr(shape, "enum", None):
        expected["le" if numeric else "max_length"] = high
    if (pattern := shape.metadata.get("pattern")) is not None:
        expected["pattern"] = exactly(pattern)
    if expected.get("min_length") == 0:
        del expected["min_length"]
    if bool(shape.metadata.get("sensitive")) is not any(SENSITIVE in (meta.extra or {}) for meta in metas):
        yield f"{path} is sensitive in one of the two only"
    if told != expected:
        yield f"{path} is constrained by {told}, the model says {expected}"


def unwrapped(ours_type: Any) -> tuple[Any, list[msgspec.Meta]]:
    """A type without ``| None`` and ``Annotated``, and the constraints that stood there."""
    metas: list[msgspec.Meta] = []
    while True:
        origin = get_origin(ours_type)
        if origin is Annotated:
            inner, *more = get_args(ours_type)
            metas += [each for each in more if isinstance(each, msgspec.Meta)]
            ours_type = inner
        elif origin in (types.UnionType, typing.Union):
            (ours_type,) = [each for each in get_args(ours_type) if each is not type(None)]
        else:
            return ours_type, metas


# ---- exceptions ------------------------------------------------------------------------------------------------------

COMMON = {"ValidationException", "SerializationException", "AccessDeniedException", "UnknownOperationException"}
"""Common to all JSON services."""
KEY_MEMBERS = {"KeyId", "TargetKeyId", "SourceKeyId", "DestinationKeyId"}


def documented(operation: str) -> set[str]:
    return COMMON | {shape.name for shape in MODEL.operation_model(operation).error_shapes}


def taking(*members: str) -> list[str]:
    """The operations whose input has one of these members."""
    inputs = {name: MODEL.operation_model(name).input_shape for name in NAMES}
    return [name for name, shape in inputs.items() if shape is not None and set(members) & shape.members.keys()]


def test_every_exception_that_the_door_answers_is_one_of_the_model_or_common_to_json_services() -> None:
    modelled = {shape.name for shape in MODEL.error_shapes}
    answered = {name for _, name, _ in errors._MAP}
    assert answered - COMMON <= modelled


@pytest.mark.parametrize(("theirs", "where", "other"), errors._ELSEWHERE)
def test_what_is_answered_elsewhere_is_documented_there_and_the_other_is_not(
    theirs: str, where: frozenset[str], other: str
) -> None:
    for operation in sorted(where):
        assert theirs not in documented(operation), operation
        assert other in documented(operation), operation


@pytest.mark.parametrize("operation", NAMES)
def test_what_can_go_wrong_anywhere_is_told_in_a_documented_way(operation: str) -> None:
    for error, status in (
        (DeadlineExceeded("x"), None),
        (KeyStoreUnavailable("x", reason="Busy"), 500),
        (KeyStoreFailure("x", reason="Broken"), 500),
        (StoreUnavailable("x"), 500),
        (AuditUnavailable("x"), 500),
        (ZeroDivisionError(), 500),
    ):
        answered = exception_of(error, operation)
        assert answered.type in documented(operation), error
        assert answered.status == (status or (503 if answered.type == "DependencyTimeoutException" else 500))


@pytest.mark.parametrize("operation", taking(*KEY_MEMBERS))
def test_a_key_that_cannot_be_found_is_told_in_a_documented_way(operation: str) -> None:
    for error in (InvalidArn("x"), NotFound("x"), InvalidInput("x")):
        assert exception_of(error, operation).type in documented(operation)


@pytest.mark.parametrize("operation", taking("GrantTokens"))
def test_a_bad_grant_token_is_told_in_a_documented_way(operation: str) -> None:
    assert exception_of(InvalidGrantToken("x"), operation).type in documented(operation)


@pytest.mark.parametrize("operation", taking("Marker"))
def test_a_bad_marker_is_told_in_a_documented_way(operation: str) -> None:
    assert exception_of(InvalidMarker("x"), operation).type in documented(operation)


@pytest.mark.parametrize("operation", taking("AliasName"))
def test_a_bad_alias_name_is_told_in_a_documented_way(operation: str) -> None:
    assert exception_of(InvalidAliasName("x"), operation).type in documented(operation)


@pytest.mark.parametrize("operation", taking("Tags", "TagKeys"))
def test_bad_tags_are_told_in_a_documented_way(operation: str) -> None:
    for error in (InvalidTags("x"), LimitExceeded("x")) if operation != "UntagResource" else (InvalidTags("x"),):
        assert exception_of(error, operation).type in documented(operation)


@pytest.mark.parametrize("operation", sorted(lifecycle.USES | {"CreateKey", "GenerateRandom"}))
def test_a_failing_custom_key_store_is_told_in_a_documented_way(operation: str) -> None:
    failure = KeyStoreFailure("x", reason="Unreachable", custom=True)
    assert exception_of(failure, operation).type in documented(operation)


@pytest.mark.parametrize("fault", list(ProxyFault))
def test_a_failing_external_key_store_is_told_in_a_documented_way(fault: ProxyFault) -> None:
    for operation in sorted(lifecycle.USES | {"CreateKey", "CreateCustomKeyStore", "UpdateCustomKeyStore"}):
        failure = KeyStoreFailure("x", reason="KeyRefused", custom=True)
        failure.cause = fault
        answered = exception_of(failure, operation)
        assert answered.type in documented(operation), operation
        assert answered.status == 400
