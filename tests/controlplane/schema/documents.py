"""Documents as text, read, and what is told of them: what the tests of documents share."""

from __future__ import annotations

from controlplane.schema.documents import (
    Document,
    Format,
    KeyDocument,
    check,
    parse,
)
from controlplane.schema.keys import DesiredKey, KeySpec

FORMATS: tuple[Format, ...] = ("yaml", "toml", "json")
ALL_KEY_SPECS = ", ".join(f"`{spec.value}`" for spec in KeySpec)

TOML_HEAD = '[[documents]]\napiVersion = "keystead/v1"\nkind = "Key"\nmetadata = {name = "a"}\n'
DESIGN_EXAMPLE = """\
apiVersion: keystead/v1
kind: KeyStore
metadata: {name: hsm-a}
spec:
  type: pkcs11
  connected: true                    # connection is desired state: the reconciler keeps it so
  pkcs11: {module: libsofthsm2.so, token: keystead, pin: {fromFile: secrets/hsm.pin}}
---
apiVersion: keystead/v1
kind: Key
metadata: {name: payments}
spec:
  keyStore: hsm-a
  keySpec: SYMMETRIC_DEFAULT
  aliases: [payments]
  deletion: {windowDays: 30, protect: true}
  tags: {team: payments}
  policy: {fromFile: policies/payments.json}
"""


def key(spec: str, name: str = "a") -> str:
    """A Key whose spec is these lines; they begin on line 5."""
    lines = "".join(f"\n  {line}" for line in spec.splitlines()) or " {}"
    return f"apiVersion: keystead/v1\nkind: Key\nmetadata: {{name: {name}}}\nspec:{lines}\n"


def told(text: str, format: Format = "yaml") -> list[str]:
    """Every problem as the user reads it, those of the whole set included."""
    located, problems = parse(text, file=f"keys.{format}", format=format)
    return [str(problem) for problem in [*problems, *check(located)]]


def read(text: str, format: Format = "yaml") -> list[Document]:
    located, problems = parse(text, file=f"keys.{format}", format=format)
    assert problems == []
    return [each.document for each in located]


def spec_of(text: str) -> DesiredKey:
    (document,) = read(key(text))
    assert isinstance(document, KeyDocument)
    return document.spec


# What is read
