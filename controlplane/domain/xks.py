"""The authorisation rules of an XKS proxy, decided over what a request says of itself.

Who calls it: the XKS door, for every request but GetHealthStatus (specification, "Authorization"), before the one
authoriser looks at the key. Pure. A rule that denies wins over all that allow, so the order of rules means nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from controlplane.domain.policy.wildcards import like
from controlplane.schema.xksproxies import XksEffect, XksRule

FIELDS: Mapping[str, str] = {
    "principals": "awsPrincipalArn",
    "key_arns": "kmsKeyArn",
    "operations": "kmsOperation",
    "via_services": "kmsViaService",
    "source_vpcs": "awsSourceVpc",
    "source_vpces": "awsSourceVpce",
    "external_keys": "externalKeyId",
}
"""Field of a rule to the field of a request that it is about."""

Facts = Mapping[str, str | None]
"""A request by the names of ``FIELDS``; absent or None where it has no such field."""


class Verdict(msgspec.Struct, frozen=True):
    """The decision and the rule that made it, in words for the log."""

    allowed: bool
    reason: str


_NO_RULES = Verdict(True, "the proxy has no rules")
_UNMENTIONED = Verdict(False, "no rule of the proxy allows it")


class Rules:
    """The compiled rules of one proxy."""

    def __init__(self, rules: Sequence[XksRule]) -> None:
        compiled = [_Compiled(rule) for rule in rules]
        self._denials = [rule for rule in compiled if rule.effect is XksEffect.DENY]
        self._permits = [rule for rule in compiled if rule.effect is XksEffect.ALLOW]
        self._none = not compiled

    def decide(self, facts: Facts) -> Verdict:
        """Never raises."""
        if self._none:
            return _NO_RULES
        for rule in self._denials:
            if rule.matches(facts):
                return rule.verdict
        for rule in self._permits:
            if rule.matches(facts):
                return rule.verdict
        return _UNMENTIONED


class _Compiled:
    def __init__(self, rule: XksRule) -> None:
        self.effect = rule.effect
        allowed = rule.effect is XksEffect.ALLOW
        self.verdict = Verdict(allowed, f"{'allowed' if allowed else 'denied'} by rule {rule.name} of the proxy")
        self._tests: list[tuple[str, list[Callable[[str], bool]]]] = [
            (fact, [like(text) for text in getattr(rule, field)])
            for field, fact in FIELDS.items()
            if getattr(rule, field)
        ]

    def matches(self, facts: Facts) -> bool:
        for fact, patterns in self._tests:
            value = facts.get(fact)
            if value is None or not any(test(value) for test in patterns):
                return False
        return True
