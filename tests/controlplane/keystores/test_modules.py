"""Who writes spec files cannot bring code of their own into the server through a PKCS#11 module."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from controlplane.errors import KeyStoreFailure
from controlplane.keystores.modules import check
from controlplane.settings import Pkcs11Rules
from tests.hsm import SOFTHSM, need
from tests.rules.test_readme import snippets

DEFAULT = Pkcs11Rules()


@pytest.mark.parametrize("module", [SOFTHSM, "{softhsm}"])
def test_a_module_where_the_system_has_them_may_be_named(module: str) -> None:
    check({"module": module.format(softhsm=need(SOFTHSM)), "token": "a"}, DEFAULT)


@pytest.mark.parametrize(
    "module",
    [
        "/tmp/evil.so",
        "evil.so",
        "./evil.so",
        "evil/evil.so",
        "/usr/lib/softhsm/../../../tmp/evil.so",
        "../../tmp/evil.so",
        "{link}",
        "",
        "/usr/lib/softhsm/",
        "\\0",
    ],
)
def test_no_other_file_may_be_named_by_whatever_detour(module: str, tmp_path: Path) -> None:
    link = tmp_path / "link.so"
    link.symlink_to(need(SOFTHSM))  # may lead elsewhere once it was judged
    for options in ({"module": module.format(link=link)}, {"members": [{}, {"module": module.format(link=link)}]}):
        with pytest.raises(KeyStoreFailure, match="is not a module that key stores may name") as caught:
            check(options, DEFAULT)
        assert (caught.value.reason, caught.value.detail) == ("Misconfigured", "ModuleNotAllowed")


def test_a_list_of_modules_takes_the_place_of_the_usual_ones() -> None:
    rules = Pkcs11Rules(modules=("/opt/vendor/lib.so",))
    check({"module": "/opt/vendor/lib.so"}, rules)
    with pytest.raises(KeyStoreFailure, match=r"this server allow /opt/vendor/lib\.so"):
        check({"module": SOFTHSM}, rules)
    with pytest.raises(KeyStoreFailure, match="allow none"):
        check({"module": SOFTHSM}, Pkcs11Rules(modules=()))


@pytest.mark.parametrize(
    "name", ["LD_PRELOAD", "OPENSSL_CONF", "OPENSC_CONF", "ChrystokiConfigurationPath", "PATH", ""]
)
def test_no_variable_that_makes_a_module_load_another_may_be_set(name: str) -> None:
    for options in ({"environment": {name: "x"}}, {"members": [{"environment": {name: "x"}}]}):
        with pytest.raises(KeyStoreFailure, match="is not a variable that key stores may set"):
            check(options, DEFAULT)
    check({"environment": {name: "x"}}, Pkcs11Rules(environment=(name,)))
    check({"environment": {"SOFTHSM2_CONF": "x"}}, DEFAULT)


@pytest.mark.parametrize(
    "options", [{}, {"module": 5}, {"members": "x"}, {"members": [5]}, {"environment": ["LD_PRELOAD"]}]
)
def test_options_of_a_wrong_shape_are_left_to_the_plugin(options: dict[str, Any]) -> None:
    check(options, DEFAULT)


def test_the_settings_that_the_readme_shows_are_settings() -> None:
    (shown,) = (text for _, _, text in snippets("plugins/README.md") if text.startswith("[pkcs11]"))
    rules = msgspec.convert(tomllib.loads(shown)["pkcs11"], Pkcs11Rules)
    check({"module": "/opt/vendor/lib/libpkcs11.so"}, rules)
