"""How attributes of a Terraform resource and fields of a Keystead document belong together.

Who calls it: ``resource`` and ``kinds``. Guarantees: an attribute that is not written has the default of the document's
field, also when it is taken out again later; what cannot change in place is known by name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tf.schema import Attribute
from tf.types import Bool, Map, Number, Set, String, TfType, Unknown


def _as_jsonencode(value: Any) -> str:
    """As Terraform's function of that name writes it, so that a plan after an import finds the same text."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


@dataclass(frozen=True)
class Form:
    """A type of Terraform's, and the way from its values to a document's and back."""

    type: TfType
    to_document: Callable[[Any], Any] = lambda value: value
    to_terraform: Callable[[Any], Any] = lambda value: value


TEXT, FLAG, NUMBER = Form(String()), Form(Bool()), Form(Number())
TEXTS, TAGS = Form(Set(String()), sorted, sorted), Form(Map(String()))
JSON = Form(String(), json.loads, _as_jsonencode)
POLICIES = Form(
    Map(String()),
    lambda value: {name: {"document": text} for name, text in value.items()},
    lambda value: {name: policy.get("document") for name, policy in value.items()},
)


@dataclass(frozen=True, kw_only=True)
class Field:
    """One attribute. ``path`` is its place in the ``spec`` of a document.

    ``default`` is the document's: Terraform shows null for it. ``immutable``: it cannot change in place. ``completed``:
    the server decides where nothing is written.
    """

    name: str
    path: tuple[str, ...]
    form: Form
    description: str
    default: Any = None
    required: bool = False
    immutable: bool = False
    completed: bool = False
    sensitive: bool = False

    def attribute(self) -> Attribute:
        fixed = " It cannot change in place." if self.immutable else ""
        return Attribute(
            self.name,
            self.form.type,
            description=self.description + fixed,
            required=self.required,
            optional=not self.required,
            computed=self.completed,
            sensitive=self.sensitive,
        )

    def written(self, state: Mapping[str, Any]) -> Any:
        """What a state has for it, as the document's value; None for the default. Raises ``ValueError`` for no JSON."""
        value = state.get(self.name)
        return None if value is None or value is Unknown else self.form.to_document(value)

    def shown(self, spec: Mapping[str, Any], beside: Mapping[str, Any]) -> Any:
        """What Terraform is to see of a spec beside the state that it has: null stays null while it means this."""
        value: Any = spec
        for part in self.path:
            value = value.get(part) if isinstance(value, Mapping) else None
        value = self.default if value is None else self._plain(value)
        if value is None or self.completed:
            return value
        written = self.written(beside)
        if value == (self.default if written is None else written):
            return beside.get(self.name)  # byte for byte as it was written
        return None if value == self.default else self.form.to_terraform(value)

    def _plain(self, value: Any) -> Any:
        """Without an order where order means nothing."""
        return self.form.to_document(self.form.to_terraform(value))


def document(kind: str, state: Mapping[str, Any], fields: Sequence[Field]) -> dict[str, Any]:
    """The document that a state stands for. Raises ``ValueError`` for JSON that is none."""
    spec: dict[str, Any] = {}
    for field in fields:
        value = field.written(state)
        if value is None:
            continue
        place = spec
        for part in field.path[:-1]:
            place = place.setdefault(part, {})
        place[field.path[-1]] = value
    return {"apiVersion": "keystead/v1", "kind": kind, "metadata": {"name": state["name"]}, "spec": spec}
