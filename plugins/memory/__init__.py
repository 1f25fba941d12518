"""A key store for tests, entry point ``memory``: keys in clear, faults on demand. It protects nothing."""

from plugins.memory.faults import Effect, Fault
from plugins.memory.plugin import CAPABILITIES, MemoryKeyStore, MemoryOptions

__all__ = ["CAPABILITIES", "Effect", "Fault", "MemoryKeyStore", "MemoryOptions"]
