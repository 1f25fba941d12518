"""Which PKCS#11 modules a declaration may have loaded, and what it may tell them. Called by ``declared``.

Guarantee: who may write spec files, and no more, cannot bring code of their own into the server: neither by the path of
a library, nor through a link or a name with ``..`` in it, nor by a variable that makes an allowed module load another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from controlplane.errors import KeyStoreFailure
from controlplane.settings import Pkcs11Rules
from plugins.sdk.pkcs11.places import find, in_well_known_place


def check(options: Mapping[str, Any], rules: Pkcs11Rules) -> None:
    """Raises :class:`KeyStoreFailure` for a module or variable that the settings do not allow.

    ``options`` are those of a declaration, of whatever shape: what is no module or mapping is for the plugin to refuse.
    """
    for where, part in _parts(options):
        module = part.get("module")
        if isinstance(module, str) and not _is_allowed(module, rules):
            known = "those where this system has them" if rules.modules is None else ", ".join(rules.modules) or "none"
            raise _refused(
                f"{where}module: {module!r} is not a module that key stores may name; the settings of this server "
                f"allow {known} (pkcs11.modules)",
                "ModuleNotAllowed",
            )
        environment = part.get("environment")
        for name in environment if isinstance(environment, Mapping) else ():
            if name not in rules.environment:
                allowed = ", ".join(rules.environment) or "none"
                raise _refused(
                    f"{where}environment: {name!r} is not a variable that key stores may set; the settings of this "
                    f"server allow {allowed} (pkcs11.environment)",
                    "VariableNotAllowed",
                )


def _parts(options: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "", options
    members = options.get("members")
    for number, member in enumerate(members if isinstance(members, list | tuple) else ()):
        if isinstance(member, Mapping):
            yield f"members[{number}].", member


def _is_allowed(module: str, rules: Pkcs11Rules) -> bool:
    if rules.modules is None:
        return in_well_known_place(module)
    return find(module) in {find(allowed) for allowed in rules.modules}


def _refused(message: str, detail: str) -> KeyStoreFailure:
    return KeyStoreFailure(message, reason="Misconfigured", detail=detail, custom=True)
