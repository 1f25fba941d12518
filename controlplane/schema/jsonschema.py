"""The JSON Schema of a document, for editors and other people's tools; ``keystead schema`` prints it.

Derived from the Structs, so it cannot fall behind them. Draft 2020-12, one branch of ``oneOf`` per kind, told apart by
``kind``; unknown fields are refused as ``documents.parse`` refuses them. It says what types say: the rules of
``documents.check`` and of the key stores are not in it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from controlplane.schema.base import API_VERSION
from controlplane.schema.documents import DOCUMENT_TYPES

DIALECT = "https://json-schema.org/draft/2020-12/schema"
IDENTIFIER = f"urn:keystead:schema:{API_VERSION.replace('/', ':')}:document"


def json_schema() -> dict[str, Any]:
    """One document of any kind. Of plain JSON types, a new dict each time."""
    branches, definitions = msgspec.json.schema_components(DOCUMENT_TYPES.values(), ref_template="#/$defs/{name}")
    schema: dict[str, Any] = _plain_text(
        {
            "$schema": DIALECT,
            "$id": IDENTIFIER,
            "title": "Keystead document",
            "description": "A KMS key, a key store, a principal or an XKS proxy, declared in a spec file.",
            "type": "object",
            "oneOf": list(branches),
            "$defs": definitions,
        }
    )
    return schema


def _plain_text(schema: Any) -> Any:
    """Editors show descriptions (our docstrings) as Markdown, in which reST's double backquotes are noise."""
    if isinstance(schema, dict):
        return {
            name: value.replace("``", "`") if name == "description" and isinstance(value, str) else _plain_text(value)
            for name, value in schema.items()
        }
    return [_plain_text(item) for item in schema] if isinstance(schema, list | tuple) else schema
