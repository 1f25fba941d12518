"""A policy document, read strictly and compiled: JSON text to :class:`Statement`.

Who calls it: ``evaluation`` (once per text), the doors and the planner through ``parse_policy`` before they store one.
Guarantees: whatever the text, the outcome is a tuple of statements or :class:`InvalidPolicy` with what is wrong;
nothing that was not understood is passed over. An unknown element, operator or version, an element that stands twice,
a wildcard inside a principal: each is an error and never ignored, because it could be the one that limits a
permission.

Sources: IAM User Guide, "Grammar of the IAM JSON policy language" and the pages of its elements; KMS Developer Guide,
"Key policies" and "AWS KMS condition keys".

NotPrincipal stands in Deny statements only, in no trust policy and in no identity policy, as the page of that element
says: with Allow it "is not supported", because it would give everybody else the permission.

Stricter than AWS, each on purpose: a key policy statement without Resource is an error (AWS stores it, without effect),
element and operator names are spelled as documented.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import msgspec

from controlplane.domain.names import account_root
from controlplane.domain.policy import templates, wildcards
from controlplane.domain.policy.conditions import Condition, Quantifier, compile_condition, quoted
from controlplane.domain.policy.templates import Folded, Part
from controlplane.domain.policy.wildcards import Pattern
from controlplane.errors import InvalidPolicy

MAX_POLICY_CHARACTERS = 32_768
"""Key policy document size quota (Developer Guide, "Resource quotas"), in characters."""
MAX_SEARCHED_VALUES = 250
"""Condition values under ForAllValues and ForAnyValue that are tried one by one (wildcards, ranges) in one policy: a
request may have a thousand values to try them on. Exact strings are looked up and do not count."""
MAX_VARIABLE_STRINGS = 100
"""Strings with variables in one policy: they are compiled per request."""

_VERSIONS = ("2008-10-17", "2012-10-17")
_POLICY_ELEMENTS = ("Version", "Id", "Statement")
_STATEMENT_ELEMENTS = (
    "Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition",
)  # fmt: skip
_PRINCIPAL_TYPES = ("AWS", "Service", "Federated", "CanonicalUser")
_ACCOUNT = re.compile(r"[0-9]{12}", re.ASCII)
_PRINCIPAL = re.compile(
    r"arn:aws[a-z-]*:(?:"
    r"iam::[0-9]{12}:(?:root|(?:user|role)/[!-)+->@-z|~]+)"
    r"|sts::[0-9]{12}:(?:assumed-role/[\w+=,.@-]+/[\w+=,.@-]+|federated-user/[\w+=,.@-]+)"
    r")",
    re.ASCII,
)
_ACTION = re.compile(r"\*|[A-Za-z0-9*?-]+:[A-Za-z0-9*?]+", re.ASCII)
_SINGLE_VALUED = ("kms:encryptioncontext:", "aws:requesttag/")


class Principals(msgspec.Struct, frozen=True):
    """The Principal or, ``excepted``, the NotPrincipal of a statement. Account ids are written as root ARNs."""

    everyone: bool
    names: frozenset[str]
    excepted: bool = False


class Statement(msgspec.Struct, frozen=True):
    """One statement, compiled. ``principals`` is None in identity policies: they speak of whom they are attached to."""

    label: str
    deny: bool
    principals: Principals | None
    actions: tuple[Pattern, ...]
    other_actions: bool
    """NotAction: covers the actions that match none of the patterns."""
    resources: tuple[Pattern, ...]
    variable_resources: tuple[tuple[Part, ...], ...]
    other_resources: bool
    any_resource: bool
    """Resource is ``*`` alone: which resource it is does not matter."""
    conditions: tuple[Condition, ...]

    def covers_action(self, folded: str) -> bool:
        """``folded`` is in lower case: service prefix and name of an action are case-insensitive."""
        return any(pattern(folded) for pattern in self.actions) != self.other_actions

    def covers_resource(self, resource: str) -> bool | None:
        """None if that depends on variables."""
        if any(pattern(resource) for pattern in self.resources):
            return not self.other_resources
        return None if self.variable_resources else self.other_resources

    def applies(self, resource: str, context: Folded) -> bool:
        """Whether a statement that covers principal and action applies to this request."""
        if not self.any_resource:
            covers = self.covers_resource(resource)
            if covers is None:
                covers = self._covers_in(resource, context)
            if not covers:
                return False
        for condition in self.conditions:  # noqa: SIM110 - half the time of all() over a generator
            if not condition.holds(context, unsure=self.deny):
                return False
        return True

    def _covers_in(self, resource: str, context: Folded) -> bool:
        """A variable without value matches no resource; under NotResource that must not widen an Allow."""
        patterns = [templates.pattern_of(parts, context) for parts in self.variable_resources]
        if self.other_resources and None in patterns and not self.deny:
            return False
        return any(pattern is not None and pattern(resource) for pattern in patterns) != self.other_resources


def read_policy(text: str, *, identity: bool, trust: bool = False) -> tuple[Statement, ...]:
    """Read and compile a key policy, an ``identity`` policy or the ``trust`` policy of a role.

    Raises :class:`InvalidPolicy`; its message names the statement by Sid or number.
    """
    try:
        document = json.loads(
            text, object_pairs_hook=_object, parse_int=_Number, parse_float=_Number, parse_constant=_no_number
        )
    except (ValueError, RecursionError):
        raise InvalidPolicy("the policy is not valid JSON") from None
    if not isinstance(document, dict):
        raise InvalidPolicy("the policy is not a JSON object")
    _known(document, _POLICY_ELEMENTS, "the policy")
    version = document.get("Version", _VERSIONS[0])
    if version not in _VERSIONS:
        raise InvalidPolicy(f"Version is {_VERSIONS[1]} or {_VERSIONS[0]}")
    if not _is_text(document.get("Id", "")):
        raise InvalidPolicy("Id is a string")
    statements = document.get("Statement")
    if isinstance(statements, dict):
        statements = [statements]
    if not isinstance(statements, list) or not statements:
        raise InvalidPolicy("the policy has no Statement")
    reader = _Reader(identity=identity, trust=trust, variables=version == _VERSIONS[1])
    return tuple(reader.statement(raw, number) for number, raw in enumerate(statements, 1))


class _Number(str):
    """A JSON number as it was written; only condition values may be numbers."""

    __slots__ = ()


class _Reader:
    """What the statements of one document share."""

    def __init__(self, *, identity: bool, trust: bool, variables: bool) -> None:
        self._identity = identity
        self._trust = trust
        self._variables = variables
        self._searched = 0
        self._variable = 0

    def statement(self, raw: Any, number: int) -> Statement:
        if not isinstance(raw, dict):
            raise InvalidPolicy(f"statement {number} is not an object")
        label = _label(raw.get("Sid", ""), number)
        try:
            return self._statement(raw, label)
        except InvalidPolicy as error:
            raise InvalidPolicy(f"statement {label}: {error.message}") from None

    def _statement(self, raw: dict[str, Any], label: str) -> Statement:
        _known(raw, _STATEMENT_ELEMENTS, "a statement")
        effect = raw.get("Effect")
        if effect not in ("Allow", "Deny"):
            raise InvalidPolicy("Effect is Allow or Deny")
        principals = self._principals(raw, deny=effect == "Deny")
        action, actions = _either(raw, "Action", "NotAction")
        for name in actions:
            if not _ACTION.fullmatch(name):
                raise InvalidPolicy(f'{action} {quoted(name)} is not "*" or of the form service:name')
        resource, resources = self._resources(raw)
        read = [self._resource(text) for text in resources]
        return Statement(
            label=label,
            deny=effect == "Deny",
            principals=principals,
            actions=tuple(wildcards.like(_bounded(name.lower())) for name in actions),
            other_actions=action == "NotAction",
            resources=tuple(
                wildcards.pattern(part for part in parts if not isinstance(part, templates.Variable))
                for parts in read
                if templates.is_static(parts)
            ),
            variable_resources=tuple(parts for parts in read if not templates.is_static(parts)),
            other_resources=resource == "NotResource",
            any_resource=resource == "Resource" and "*" in resources,
            conditions=self._conditions(raw.get("Condition", {})),
        )

    # ---- Principal -------------------------------------------------------------------------------------------------

    def _principals(self, raw: Mapping[str, Any], *, deny: bool) -> Principals | None:
        present = [element for element in ("Principal", "NotPrincipal") if element in raw]
        if self._identity:
            if present:
                raise InvalidPolicy(f"an identity policy has no {present[0]}")
            return None
        if len(present) != 1:
            raise InvalidPolicy("the statement names its Principal, or in a Deny its NotPrincipal")
        element = present[0]
        if element == "NotPrincipal" and not deny:
            raise InvalidPolicy("NotPrincipal stands in Deny statements only")
        if element == "NotPrincipal" and self._trust:
            raise InvalidPolicy("a trust policy has no NotPrincipal; use a condition on aws:PrincipalArn")
        value = raw[element]
        if value == "*" and _is_text(value):
            return Principals(True, frozenset(), element == "NotPrincipal")
        if not isinstance(value, dict) or not value:
            raise InvalidPolicy(f'{element} is "*" or an object such as {{"AWS": "arn:aws:iam::..."}}')
        _known(value, _PRINCIPAL_TYPES, element)
        named = {kind: _texts(names, f"{element}.{kind}") for kind, names in value.items()}
        # services, federated users and S3's canonical users never call this door: recognised, and nobody of ours
        ours = [_principal(name) for name in named.get("AWS", ())]
        return Principals("*" in ours, frozenset(ours) - {"*"}, element == "NotPrincipal")

    # ---- Resource --------------------------------------------------------------------------------------------------

    def _resources(self, raw: Mapping[str, Any]) -> tuple[str, list[str]]:
        """The element and its strings. A trust policy has none: it speaks of the role that it is attached to."""
        if not self._trust:
            return _either(raw, "Resource", "NotResource")
        present = [element for element in ("Resource", "NotResource") if element in raw]
        if present:
            raise InvalidPolicy(f"a trust policy has no {present[0]}: it speaks of its role")
        return "Resource", ["*"]

    def _resource(self, text: str) -> tuple[Part, ...]:
        parts = templates.read(text, variables=self._variables, wild=True)
        if templates.is_static(parts):
            return parts
        self._count(1)
        if text.startswith("arn:"):
            fixed = templates.arn_segments(parts)[:5]
            if not all(templates.is_static(segment) for segment in fixed):
                raise InvalidPolicy("variables stand in the last part of a resource ARN")
        return parts

    # ---- Condition -------------------------------------------------------------------------------------------------

    def _conditions(self, raw: Any) -> tuple[Condition, ...]:
        if not isinstance(raw, dict):
            raise InvalidPolicy("Condition is an object of operators")
        compiled: list[Condition] = []
        for operator, keys in raw.items():
            if not isinstance(keys, dict) or not keys:
                raise InvalidPolicy(f"{quoted(operator)} is an object of condition keys and their values")
            for key, values in keys.items():
                compiled.append(self._condition(operator, key, _values(values, key)))
        return tuple(compiled)

    def _condition(self, operator: str, key: str, values: Sequence[str]) -> Condition:
        vendor, colon, name = key.partition(":")
        if not (vendor.strip() and colon and name):
            raise InvalidPolicy(f"condition key {quoted(key)} is not of the form service:name")
        try:
            condition, compiled = compile_condition(operator, key, values, variables=self._variables)
        except InvalidPolicy as error:
            raise InvalidPolicy(f"condition {quoted(operator)}, key {quoted(key)}: {error.message}") from None
        if (
            not self._identity
            and condition.quantifier is Quantifier.ALL
            and condition.null is None
            and condition.key.startswith(_SINGLE_VALUED)
        ):
            # AWS KMS refuses it when a key policy is put (Developer Guide, "Using set operators with condition keys")
            raise InvalidPolicy(
                "OverlyPermissiveCondition: ForAllValues with a single-valued condition key matches requests without "
                f"{quoted(key)} or with others. To fix, remove ForAllValues."
            )
        if condition.quantifier is not Quantifier.NONE:
            self._searched += compiled.searched
            if self._searched > MAX_SEARCHED_VALUES:
                raise InvalidPolicy(f"more than {MAX_SEARCHED_VALUES} values with wildcards under set operators")
        self._count(compiled.variable)
        return condition

    def _count(self, variable: int) -> None:
        self._variable += variable
        if self._variable > MAX_VARIABLE_STRINGS:
            raise InvalidPolicy(f"the policy has more than {MAX_VARIABLE_STRINGS} strings with variables")


# ---- JSON and its values ---------------------------------------------------------------------------------------------


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The grammar: "individual elements must not contain multiple instances of the same key"."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidPolicy(f"{quoted(twice)} stands twice in one object")
    return found


def _no_number(text: str) -> NoReturn:
    raise InvalidPolicy(f"{text} is not a JSON value")


def _known(found: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for name in found:
        if name not in known:
            meant = next((other for other in known if other.lower() == name.lower()), None)
            hint = f"; write {meant}" if meant else ""
            raise InvalidPolicy(f"{where} has an unknown element {quoted(name)}{hint}")


def _is_text(value: object) -> bool:
    return type(value) is str


def _texts(value: Any, element: str) -> list[str]:
    values = [value] if _is_text(value) else value
    if not isinstance(values, list) or not values or not all(_is_text(one) and one for one in values):
        raise InvalidPolicy(f"{element} is a string or a list of strings")
    return values


def _either(raw: Mapping[str, Any], element: str, negation: str) -> tuple[str, list[str]]:
    """The one of two elements that the statement has, and its strings."""
    if (element in raw) == (negation in raw):
        raise InvalidPolicy(f"a statement has either {element} or {negation}")
    name = element if element in raw else negation
    return name, _texts(raw[name], name)


def _values(raw: Any, key: str) -> list[str]:
    """Condition values as text. "Quotation marks are optional for numeric and Boolean values" (grammar)."""
    values = raw if isinstance(raw, list) else [raw]
    if not values:
        raise InvalidPolicy(f"condition key {quoted(key)} has no values")
    texts: list[str] = []
    for value in values:
        if isinstance(value, bool):
            texts.append("true" if value else "false")
        elif isinstance(value, str):
            texts.append(str(value))
        else:
            raise InvalidPolicy(f"the values of condition key {quoted(key)} are strings, numbers, true or false")
    return texts


def _label(sid: Any, number: int) -> str:
    if not _is_text(sid):
        raise InvalidPolicy(f"statement {number}: Sid is a string")
    # a lone surrogate from a \ud800 escape would break the audit record that cites the statement
    return sid[:128].encode("utf-8", "replace").decode() if sid else f"#{number}"


def is_principal(text: str) -> bool:
    """Whether it is the ARN of an account root, user, role or session. It may still name nobody."""
    return _PRINCIPAL.fullmatch(text) is not None


def _principal(name: str) -> str:
    if _ACCOUNT.fullmatch(name):
        return account_root(name)
    if name != "*" and not is_principal(name):
        raise InvalidPolicy(
            f'principal {quoted(name)} is not an account id, "*" or the ARN of an account root, user, role or session'
        )
    return name


def _bounded(name: str) -> str:
    if len(name) > wildcards.MAX_PATTERN_CHARACTERS:
        raise InvalidPolicy(f"an action has at most {wildcards.MAX_PATTERN_CHARACTERS} characters")
    return name
