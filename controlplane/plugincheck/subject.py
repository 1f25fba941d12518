"""The plugin under examination: its class, its configuration, and what the host gives it. Called by ``run``.

Guarantees: instances share one state, as the processes of a server do; what an instance is given is what a server would
give it, down to a standard store to put a layer around; the secrets that the configuration names are known, so that the
suite can look for them where they must not be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from controlplane.clock import Clock
from controlplane.errors import InvalidInput
from controlplane.keystores.discovery import load_plugin
from controlplane.schema.keystores import STANDARD
from plugins.sdk import (
    Capabilities,
    KeyStoreError,
    KeyStorePlugin,
    Misconfigured,
    Options,
    PluginContext,
    Refused,
    SecretSource,
)
from plugins.sdk.conformance.state import MemoryState

STORE_NAME: Final = "conformance"


class Subject:
    """A plugin and a configuration. ``directory`` is for what the standard store underneath needs."""

    def __init__(
        self, name: str, options: dict[str, Any], directory: Path, *, external_key: str | None, foreign_key: str | None
    ) -> None:
        """Raises :class:`InvalidInput` for options that the plugin does not take; what ``load_plugin`` raises."""
        self.name = name
        self.external_key = external_key
        self.foreign_key = foreign_key
        self.state = MemoryState()
        self._plugin_type = load_plugin(name)
        try:
            self._options: Options = msgspec.convert(options, self._plugin_type.options_type)
            self._options.check()
        except msgspec.ValidationError as error:
            raise InvalidInput(f"the configuration does not fit the plugin {name}: {error}") from None
        except Misconfigured as error:
            raise InvalidInput(f"the configuration does not fit the plugin {name}: {error.message}") from None
        self._clock = Clock()
        self._directory = directory
        self._provisioned = False
        self._standard_state = MemoryState()

    def make(self) -> KeyStorePlugin:
        """A new instance, not open."""
        inner: Any = None if self.name == STANDARD else _Inner(self._standard_store)
        return self._plugin_type(self._options, PluginContext(STORE_NAME, self.state, self._clock.time, inner=inner))

    async def provision(self, plugin: KeyStorePlugin) -> None:
        """What ``keystead init`` does, once. What is there already is used."""
        if not self._provisioned:
            self._provisioned = True
            try:
                await plugin.provision()
            except Refused:  # there is a store already: opening it decides
                return

    async def capabilities(self) -> Capabilities:
        """Open it once. Raises what keeps it from opening."""
        plugin = self.make()
        try:
            await self.provision(plugin)
            return await plugin.open()
        finally:
            await plugin.close()

    def secrets(self) -> list[bytes]:
        """The secrets that the configuration names."""
        found = []
        for source in _sources(self._options):
            try:
                found.append(source.read("a secret").expose())
            except KeyStoreError:  # kept by a server, or not used
                continue
        return found

    async def _standard_store(self) -> KeyStorePlugin:
        """The standard store of this examination, for a plugin that puts a layer around it."""
        path = self._directory / "root.key"
        standard = load_plugin(STANDARD)
        options = msgspec.convert({"rootKey": {"provider": "file", "path": str(path)}}, standard.options_type)
        store = standard(options, PluginContext(STANDARD, self._standard_state, self._clock.time))
        if not await asyncio.to_thread(path.exists):
            await store.provision()
        await store.open()
        return store


class _Inner:
    """The standard store as the host offers it, opened with its first use."""

    def __init__(self, make: Callable[[], Awaitable[KeyStorePlugin]]) -> None:
        self._make = make
        self._store: KeyStorePlugin | None = None
        self._opening = asyncio.Lock()

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any) -> Any:
            async with self._opening:
                if self._store is None:
                    self._store = await self._make()
            return await getattr(self._store, name)(*arguments)

        return call

    def forget(self, ref: Any) -> None:
        if self._store is not None:
            self._store.forget(ref)


def _sources(value: object) -> Iterator[SecretSource]:
    if isinstance(value, SecretSource):
        yield value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _sources(getattr(value, name))
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _sources(each)
    elif isinstance(value, dict):
        for each in value.values():
            yield from _sources(each)
