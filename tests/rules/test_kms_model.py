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
from controlplane.api.kms.operations import OPERATIONS
from controlplane.api.kms.shapes.base import exactly

MODEL = botocore.session.get_session().get_service_model("kms")
MODULES = [
    importlib.import_module(f"{shapes.__name__}.{found.name}") for found in pkgutil.iter_modules(shapes.__path__)
]
NAMES = sorted(MODEL.operation_names)


def ours(name: str) -> type[msgspec.Struct] | None:
    """Our structure of this name."""
    return next((getattr(module, name) for module in MODULES if hasattr(module, name)), None)


def structures() -> Iterator[tuple[str, StructureShape]]:
    """Every structure that an operation takes or answers, nested ones included, once."""
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

    for name in NAMES:
        operation = MODEL.operation_model(name)
        walk(operation.input_shape)
        walk(operation.output_shape)
    return iter(sorted((name, shape) for name, shape in seen.items() if shape.members))


STRUCTURES = dict(structures())


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
    if name.endswith("Request"):
        required = {encoded for encoded, field in fields.items() if field.required}
        assert required == set(STRUCTURES[name].required_members)


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


def test_every_exception_that_the_door_answers_is_one_of_the_model_or_common_to_json_services() -> None:
    common = {"ValidationException", "AccessDeniedException", "UnknownOperationException"}
    modelled = {shape.name for shape in MODEL.error_shapes}
    answered = {name for _, name, _ in errors._MAP}
    assert answered - common <= modelled
