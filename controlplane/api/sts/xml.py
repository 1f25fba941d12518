"""The output of the query protocol: XML, written from nested mappings of text.

Who calls it: the STS door. Guarantee: whatever the text is, it is character data and no markup. Source: Smithy, "AWS
query protocol".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from xml.sax.saxutils import escape

NAMESPACE: Final = "https://sts.amazonaws.com/doc/2011-06-15/"

Tree = Mapping[str, "str | Tree"]

_NO_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def answer(action: str, result: Tree, request_id: str) -> bytes:
    """What an operation answers."""
    return _document(f"{action}Response", {f"{action}Result": result, "ResponseMetadata": {"RequestId": request_id}})


def refusal(code: str, message: str, request_id: str, *, fault: str) -> bytes:
    """How it is refused; ``fault`` is ``Sender`` or ``Receiver``."""
    error = {"Type": fault, "Code": code, "Message": message}
    return _document("ErrorResponse", {"Error": error, "RequestId": request_id})


def _document(root: str, tree: Tree) -> bytes:
    return f'<{root} xmlns="{NAMESPACE}">{_inner(tree)}</{root}>\n'.encode()


def _inner(tree: Tree) -> str:
    return "".join(
        f"<{name}>{_text(value) if isinstance(value, str) else _inner(value)}</{name}>" for name, value in tree.items()
    )


def _text(value: str) -> str:
    """Characters that XML 1.0 has no way to write become question marks. A carriage return is read as one."""
    return escape(_NO_XML.sub("?", value), {"\r": "&#13;"})
