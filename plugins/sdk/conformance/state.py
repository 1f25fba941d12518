"""A :class:`plugins.sdk.PluginState` for tests: in memory, with the compare-and-set of the real one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class MemoryState:
    """Shared by several plugin instances, it plays several processes on one store.

    ``before_put`` is called with the name before each write: what it does there, another process did just in time.
    """

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.before_put: Callable[[str], None] | None = None

    async def get(self, name: str) -> bytes | None:
        await asyncio.sleep(0)
        return self.values.get(name)

    async def names(self) -> list[str]:
        await asyncio.sleep(0)
        return sorted(self.values)

    async def put(self, name: str, value: bytes, *, expect: bytes | None) -> bool:
        await asyncio.sleep(0)
        if self.before_put is not None:
            self.before_put(name)
        if self.values.get(name) != expect:
            return False
        self.values[name] = value
        return True
