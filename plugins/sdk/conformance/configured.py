"""The whole suite over a plugin that somebody else makes: what ``keystead plugin check`` runs.

Guarantee: the store is left as it was found: what a test made is destroyed after it.
"""

from __future__ import annotations

from typing import Protocol

import pytest

from plugins.sdk import Capabilities, KeyStorePlugin
from plugins.sdk.conformance import KeyStoreConformance
from plugins.sdk.conformance.state import MemoryState


class Configured(Protocol):
    """A plugin with its configuration."""

    state: MemoryState
    external_key: str | None
    foreign_key: str | None

    def make(self) -> KeyStorePlugin:
        """A new instance on the state, not open."""

    async def provision(self, plugin: KeyStorePlugin) -> None:
        """Make what a new store needs, if it is not there."""

    def secrets(self) -> list[bytes]:
        """What must not come out."""


def suite_over(subject: Configured, capabilities: Capabilities) -> type[KeyStoreConformance]:
    """A test class."""

    class TestConformance(KeyStoreConformance):
        declares = capabilities
        on_shared_store = True

        def make_state(self) -> MemoryState:
            return subject.state

        def make_plugin(self, state: MemoryState) -> KeyStorePlugin:
            return subject.make()

        async def provision(self, plugin: KeyStorePlugin) -> None:
            await subject.provision(plugin)

        def external_id(self) -> str | None:
            if capabilities.external_keys and subject.external_key is None:
                pytest.fail("external keys are declared: name one with --external-key", pytrace=False)
            return subject.external_key

        async def foreign_material(self) -> str | None:
            if subject.foreign_key is None:
                pytest.fail("adoption is declared: name a key that others made with --foreign-key", pytrace=False)
            return subject.foreign_key

        def secrets(self) -> list[bytes]:
            return subject.secrets()

    return TestConformance
