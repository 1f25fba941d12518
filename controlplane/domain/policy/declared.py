"""The policies that documents declare, read as the evaluator reads them.

Who calls it: the planner and ``keystead validate``, so that both refuse the same. Text that is not even a JSON object
is not told here: ``schema.documents.check`` tells that, with its line.
"""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.domain.policy.evaluation import parse_policy
from controlplane.errors import InvalidPolicy
from controlplane.schema.documents import Document, policy_mistake
from controlplane.schema.keys import DesiredKey, PolicySource
from controlplane.schema.principals import DesiredPrincipal

Path = tuple[str, ...]


def misfits(document: Document) -> Iterator[tuple[Path, str]]:
    """Each policy that cannot be evaluated: its path in the document, and what is wrong with it."""
    for path, source, kind in _policies(document):
        text = source.document
        if text is None or policy_mistake(text):
            continue
        try:
            parse_policy(text, identity=kind == "identity", trust=kind == "trust")
        except InvalidPolicy as error:
            yield path, error.message


def _policies(document: Document) -> Iterator[tuple[Path, PolicySource, str]]:
    spec = document.spec
    if isinstance(spec, DesiredKey) and spec.policy is not None:
        yield ("spec", "policy"), spec.policy, "key"
    if isinstance(spec, DesiredPrincipal):
        for name, source in spec.policies.items():
            yield ("spec", "policies", name), source, "identity"
        if spec.trust_policy is not None:
            yield ("spec", "trustPolicy"), spec.trust_policy, "trust"
