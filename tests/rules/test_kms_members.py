"""Every member of every input of the KMS API is read by the handlers, and every one of every answer written."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from controlplane.api import kms
from controlplane.api.kms.keys import ALGORITHM_MEMBER
from controlplane.api.kms.shapes.base import Shape
from tests.rules.test_kms_model import MODEL, NAMES, STRUCTURES, ours, shapes_of

HANDLERS = sorted(Path(kms.__file__).parent.glob("*.py"))

EXCEPTIONS: dict[str, str] = {}
"""``Shape.member`` and why it need not be read. Empty: every member is honoured."""


def named(annotation: ast.expr | None) -> Iterator[str]:
    """The types that an annotation names: ``shapes.DecryptRequest``, ``A | B``, ``RecipientInfo | None``."""
    for node in ast.walk(annotation) if annotation is not None else ():
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Name):
            yield node.id


def read_by_handlers() -> dict[str, set[str]]:
    """The members that are read of each type: of a parameter with this annotation, anywhere in its function."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in HANDLERS:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for argument in (*node.args.args, *node.args.kwonlyargs):
                read = {
                    each.attr
                    for each in ast.walk(node)
                    if isinstance(each, ast.Attribute)
                    and isinstance(each.value, ast.Name)
                    and each.value.id == argument.arg
                }
                for kind in named(argument.annotation):
                    found[kind] |= read
    return found


READ = read_by_handlers()
READ_OF_ANYTHING = {
    node.attr for path in HANDLERS for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)
}
INPUTS = sorted({shape.name for name in NAMES for shape in shapes_of(MODEL.operation_model(name).input_shape)})


@pytest.mark.parametrize("name", INPUTS)
def test_every_member_of_an_input_is_read(name: str) -> None:
    struct = ours(name)
    assert struct is not None
    assert issubclass(struct, Shape)
    read = READ[name] if name.endswith("Request") else READ_OF_ANYTHING  # of a tag, in a loop over tags
    unread = {f"{name}.{field.encode_name}" for field in msgspec.structs.fields(struct) if field.name not in read}
    assert unread <= EXCEPTIONS.keys(), unread


def written_by_handlers() -> dict[str, set[str]]:
    """The members that each type of answer is made with; those that are set on any answer stand under ``""``."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in HANDLERS:
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name), keywords=keywords):
                    found[name] |= {each.arg for each in keywords if each.arg is not None}
                case ast.Attribute(attr=name, ctx=ast.Store()):
                    found[""].add(name)
                case ast.Dict(keys=keys):  # for **
                    found["**"] |= {str(key.value) for key in keys if isinstance(key, ast.Constant)}
    return found


WRITTEN = written_by_handlers()
OUTPUTS = sorted({shape.name for name in NAMES for shape in shapes_of(MODEL.operation_model(name).output_shape)})


@pytest.mark.parametrize("name", OUTPUTS)
def test_every_member_of_an_answer_is_written(name: str) -> None:
    struct = ours(name)
    assert struct is not None
    members = {field.name for field in msgspec.structs.fields(struct)}
    written = WRITTEN[name] | WRITTEN[""] | set(ALGORITHM_MEMBER.values())
    if name == "CustomKeyStoresListEntry":
        written |= WRITTEN["**"]  # what only one type of key store has
    assert members <= written, members - written


def test_an_exception_is_one() -> None:
    for exception in EXCEPTIONS:
        name, _, member = exception.partition(".")
        assert member in STRUCTURES[name].members
