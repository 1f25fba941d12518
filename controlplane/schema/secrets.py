"""Which options of a key store are not to be shown: the one place that says so, for plans, drift and descriptions.

Who calls it: ``planning.shown`` and ``report``. Options of key stores are the one place where a document can hold a
secret, and a plugin that nobody here knows may call it anything: so an option is masked by its name, unless the plugin
SDK says of it that it holds none (``NOT_SECRET``).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import msgspec

from plugins.sdk.options import Options, is_no_secret

_WORDS: Final = ("pin", "password", "passphrase", "secret", "accesskey", "token", "credential", "apikey")
"""Ends of names of options that hold secrets, in lower case: ``userPin`` and ``clientSecret`` as well as ``pin``."""


def names_secret(path: str) -> bool:
    """Whether a field of a key store's spec, by its path (``pkcs11.pin``), is an option that may hold a secret."""
    first, *rest = path.split(".")
    return _secret(first, first) or any(_secret(first, name) for name in rest)


def holds_secret(path: str, value: Any) -> bool:
    """Whether the field is such an option, or has one in it, however deep."""
    return names_secret(path) or _within(path.partition(".")[0], value)


def _within(field: str, value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_secret(field, name) or _within(field, inner) for name, inner in value.items())
    return isinstance(value, list | tuple) and any(_within(field, inner) for inner in value)


def _secret(field: str, name: str) -> bool:
    return name.lower().endswith(_WORDS) and name not in _no_secrets(field)


@cache
def _no_secrets(field: str) -> frozenset[str]:
    """Names of options below a field of the spec that are none, whatever their name ends in."""
    if field != "pkcs11":
        return frozenset()
    from plugins.sdk.pkcs11 import TokenOptions  # not before somebody shows a key store

    return _marked(TokenOptions)


def _marked(options: type[Options]) -> frozenset[str]:
    return frozenset(field.encode_name for field in msgspec.structs.fields(options) if is_no_secret(field))
