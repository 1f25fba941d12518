"""The conformance suite: what every key store plugin must prove. A plugin author subclasses it in a test module::

    from plugins.sdk.conformance import KeyStoreConformance

    class TestMyKeyStore(KeyStoreConformance):
        declares = CAPABILITIES  # the very ones that MyKeyStore.open answers

        def make_plugin(self, state):
            return MyKeyStore(MyOptions(...), self.context(state))

It needs pytest and anyio's plugin (``anyio_mode = "auto"``). Tests are made for what is declared
and for nothing else; one that skips all the same fails. ``keystead plugin check`` runs the suite on a configuration.
"""

import pytest

pytest.register_assert_rewrite(
    *(
        f"plugins.sdk.conformance.{part}"
        for part in ("choosing", "harness", "lifecycle", "usage", "faults", "secrecy", "vectors", "imports", "external")
    )
)

from plugins.sdk.conformance.external import ExternalKeyConformance  # noqa: E402  # after the rewrite hook is in place
from plugins.sdk.conformance.faults import FaultConformance  # noqa: E402
from plugins.sdk.conformance.harness import Harness  # noqa: E402
from plugins.sdk.conformance.imports import ImportConformance  # noqa: E402
from plugins.sdk.conformance.lifecycle import LifecycleConformance  # noqa: E402
from plugins.sdk.conformance.secrecy import SecrecyConformance  # noqa: E402
from plugins.sdk.conformance.state import MemoryState  # noqa: E402
from plugins.sdk.conformance.usage import UsageConformance  # noqa: E402
from plugins.sdk.conformance.vectors import VectorConformance  # noqa: E402

__all__ = [
    "ExternalKeyConformance",
    "FaultConformance",
    "Harness",
    "ImportConformance",
    "KeyStoreConformance",
    "LifecycleConformance",
    "MemoryState",
    "SecrecyConformance",
    "UsageConformance",
    "VectorConformance",
]


class KeyStoreConformance(
    LifecycleConformance,
    UsageConformance,
    FaultConformance,
    SecrecyConformance,
    VectorConformance,
    ImportConformance,
    ExternalKeyConformance,
):
    """Everything at once."""
