"""Which tests of the suite a store has to pass: chosen from what it declares, before any runs. Used by ``harness``.

Guarantees: a test that applies runs, and a skip of it is a failure, whoever skipped it; a test that does not apply is
not collected at all, so that a report has no skips to overlook one among. :func:`left_out` says what was left out.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Sequence
from typing import Any, Final, TypeVar

import pytest

from plugins.sdk import KEY_SPECS, Algorithm, Capabilities, Custody, Family, KeySpec, KeyUsage

F = TypeVar("F", bound=Callable[..., Any])
Condition = Callable[[Capabilities], bool]

COSTLY_SPECS: Final = frozenset({KeySpec.RSA_3072, KeySpec.RSA_4096})
"""The large RSA sizes, whose generation costs up to seconds: one test uses them, the others would prove nothing new."""
_DATA_PAIR_FAMILIES: Final = (Family.RSA, Family.EC, Family.ED25519, Family.SM2)
"""Families that GenerateDataKeyPair knows in the KMS API."""
_OAEP: Final = (Algorithm.RSAES_OAEP_SHA_1, Algorithm.RSAES_OAEP_SHA_256)
_MARK: Final = "conformance_needs"
_PLUGIN: Final = "keystead-conformance"


def cheap(specs: frozenset[KeySpec] | dict[KeySpec, Any]) -> list[KeySpec]:
    """Those of them that are cheap to generate, in the order of the key spec reference; all if none is."""
    return [spec for spec in KeySpec if spec in specs and spec not in COSTLY_SPECS] or _in_order(specs)


def _in_order(specs: frozenset[KeySpec] | dict[KeySpec, Any]) -> list[KeySpec]:
    return [spec for spec in KeySpec if spec in specs]


def _signing(can: Capabilities, specs: Sequence[KeySpec]) -> list[KeySpec]:
    return [spec for spec in specs if KeyUsage.SIGN_VERIFY in can.key_specs.get(spec, ())]


def _oaep(can: Capabilities) -> list[Algorithm]:
    declared = KeyUsage.ENCRYPT_DECRYPT in can.key_specs.get(KeySpec.RSA_2048, ())
    return [algorithm for algorithm in _OAEP if declared and algorithm not in can.absent_algorithms]


_PUBLISHED_CURVES: Final = (KeySpec.ECC_NIST_P256, KeySpec.ECC_NIST_P384)

PARAMETERS: Final[dict[str, tuple[str, Callable[[Capabilities], Sequence[Any]]]]] = {
    "spec": ("key specs", lambda can: _in_order(can.key_specs)),
    "cheap_spec": ("key specs", lambda can: cheap(can.key_specs)),
    "pair_spec": ("key pairs", lambda can: [spec for spec in cheap(can.key_specs) if not KEY_SPECS[spec].symmetric]),
    "signing_spec": ("signing", lambda can: _signing(can, cheap(can.key_specs))),
    "kem_spec": (
        "key encapsulation",
        lambda can: [spec for spec in can.key_specs if KEY_SPECS[spec].family is Family.ML_KEM],
    ),
    "data_pair_spec": (
        "data key pairs",
        lambda can: [spec for spec in cheap(can.data_key_pairs) if KEY_SPECS[spec].family in _DATA_PAIR_FAMILIES],
    ),
    "import_spec": ("import", lambda can: cheap(can.imports)),
    "import_signing_spec": ("import of signing keys", lambda can: _signing(can, cheap(can.imports))),
    "import_mac_spec": (
        "import of MAC keys",
        lambda can: [spec for spec in _in_order(can.imports) if KEY_SPECS[spec].family is Family.HMAC],
    ),
    "import_curve_spec": (
        "import of ECDSA keys",
        lambda can: [spec for spec in _signing(can, _in_order(can.imports)) if spec in _PUBLISHED_CURVES],
    ),
    "oaep_algorithm": ("RSA encryption", _oaep),
}
"""Test parameters: what a store declares that has them, and their values for it."""


def needs(what: str, holds: Condition) -> Callable[[F], F]:
    """The test is for stores that declare ``what``; empty for one that is of what a store does not declare."""

    def mark(test: F) -> F:
        setattr(test, _MARK, (*getattr(test, _MARK, ()), (what, holds)))
        return test

    return mark


def needs_spec(spec: KeySpec, usage: KeyUsage | None = None) -> Callable[[F], F]:
    """The test is for stores that declare the key spec, for the usage if one is given."""
    return needs(
        str(spec), lambda can: spec in can.key_specs and (usage is None or usage in can.key_specs.get(spec, ()))
    )


needs_symmetric = needs_spec(KeySpec.SYMMETRIC_DEFAULT)
needs_gcm = needs("AES-GCM in parts", lambda can: can.gcm)
needs_imports = needs("import", lambda can: bool(can.imports))
needs_external_keys = needs("external keys", lambda can: can.external_keys)
needs_tokens = needs("custody token", lambda can: can.custody is Custody.TOKEN)
needs_device = needs("custody device", lambda can: can.custody is Custody.DEVICE)


def needs_import_of(spec: KeySpec) -> Callable[[F], F]:
    """The test is for stores that import material of the key spec."""
    return needs(f"import of {spec}", lambda can: spec in can.imports)


def choose(cls: type, declares: Capabilities) -> None:
    """Leave in a test class exactly the tests that apply. What a base class has left out comes back if it applies."""
    for name, test in _tests_of(cls).items():
        wanted = test if _lacking(test, declares) is None else None
        if getattr(cls, name) is not wanted:
            setattr(cls, name, wanted)


def left_out(cls: type, declares: Capabilities) -> dict[str, int]:
    """What the store does not declare, and how many tests were not made for that reason."""
    reasons: dict[str, int] = {}
    for test in _tests_of(cls).values():
        lacking = _lacking(test, declares)
        if lacking:
            reasons[lacking] = reasons.get(lacking, 0) + 1
    return dict(sorted(reasons.items()))


def parametrize(metafunc: pytest.Metafunc, declares: Capabilities) -> None:
    """Give a test the values of its parameters that the store declares, and see to it that nothing skips."""
    for name, (_, values) in PARAMETERS.items():
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, values(declares))
    manager = metafunc.config.pluginmanager
    if not manager.has_plugin(_PLUGIN):
        manager.register(_NothingIsSkipped(), _PLUGIN)


class _NothingIsSkipped:
    """Makes a skip of a conformance test the failure that it is, an expected failure too."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.skipped and hasattr(getattr(item, "cls", None), "declares"):
            report.outcome = "failed"
            vars(report).pop("wasxfail", None)
            report.longrepr = (
                "this test is of something that the store declares, and it was skipped: make it run, or do not "
                f"declare it\n{report.longrepr}"
            )
        return report


def _tests_of(cls: type) -> dict[str, Callable[..., Any]]:
    """The tests of a class by name, as the nearest class that has one defines it."""
    tests: dict[str, Callable[..., Any]] = {}
    for base in cls.__mro__:
        for name, value in vars(base).items():
            if name.startswith("test") and callable(value):
                tests.setdefault(name, value)
    return tests


def _lacking(test: Callable[..., Any], declares: Capabilities) -> str | None:
    """What the test needs that the store does not declare."""
    for what, holds in getattr(test, _MARK, ()):
        if not holds(declares):
            return str(what)
    for name in inspect.signature(test).parameters:
        if name in PARAMETERS:
            what, values = PARAMETERS[name]
            if not values(declares):
                return what
    return None
