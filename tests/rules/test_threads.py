"""What runs in several threads decodes with decoders that were made at import.

msgspec learns a type the first time that it is decoded, and two threads that learn one at once end the process with a
segmentation fault (seen with msgspec 0.22 in a Terraform provider, and easy to bring about). A decoder of the module is
made by the one thread that imports it.
"""

from __future__ import annotations

import ast

from tests.harness import ROOT

IN_THREADS = ("audit", "domain", "planning", "store", "usage")
"""Packages whose functions run in the database's writer and in ``asyncio.to_thread``."""
FILES = sorted(path for name in IN_THREADS for path in (ROOT / "controlplane" / name).rglob("*.py"))


def learned_when_used(source: str) -> list[str]:
    """Calls inside functions that have msgspec learn a type that no decoder of the module knows."""
    tree = ast.parse(source)
    known: set[str] = set()
    late: list[tuple[int, str]] = []

    def walk(node: ast.AST, *, inside: bool) -> None:
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            types = [each.value for each in node.keywords if each.arg == "type"]
            if name in ("msgspec.json.Decoder", "msgspec.msgpack.Decoder") and node.args:
                types = node.args[:1]
            elif name == "msgspec.convert":
                types = node.args[1:2] or types
            elif name not in ("msgspec.json.decode", "msgspec.msgpack.decode"):
                types = []
            for each in types:
                if inside:
                    late.append((node.lineno, ast.unparse(each)))
                else:
                    known.add(ast.unparse(each))
        for child in ast.iter_child_nodes(node):
            walk(child, inside=inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))

    walk(tree, inside=False)
    return [f"line {line}: {told}" for line, told in late if told not in known]


def test_the_check_sees_what_it_is_for() -> None:
    late = "import msgspec\ndef read(raw):\n    return msgspec.json.decode(raw, type=Line)\n"
    assert learned_when_used(late) == ["line 3: Line"]
    assert learned_when_used(late.replace("def read", "_ = msgspec.json.Decoder(Line)\ndef read")) == []
    assert learned_when_used("def read(raw):\n    return msgspec.convert(raw, Line)\n") == ["line 2: Line"]
    assert learned_when_used("def read(raw):\n    return msgspec.json.decode(raw)\n") == []


def test_no_type_is_learned_when_a_thread_first_uses_it() -> None:
    late = {str(path.relative_to(ROOT)): learned_when_used(path.read_text("utf-8")) for path in FILES}
    assert len(late) > 50
    assert {path: found for path, found in late.items() if found} == {}
