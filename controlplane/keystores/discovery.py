"""Finding key store plugins by entry point, ours like everyone's.

Guarantees: names are listed without importing anything; exactly the plugin that is asked for is imported; a plugin that
speaks a newer contract, is no plugin, or claims a type that another one has is refused with a sentence.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from controlplane.errors import NotFound, StartupRefused
from plugins.sdk import CONTRACT_VERSION, KeyStorePlugin

GROUP = "keystead.keystores"


def plugin_names() -> list[str]:
    """Types of key store that are installed."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def load_plugin(name: str) -> type[KeyStorePlugin]:
    """The plugin class for a type of key store.

    Raises :class:`NotFound` if none is installed, :class:`StartupRefused` if it cannot be used.
    """
    entries = [entry for entry in entry_points(group=GROUP) if entry.name == name]
    if not entries:
        raise NotFound(f"there is no key store plugin for type {name}; installed are: {', '.join(plugin_names())}")
    if len({entry.value for entry in entries}) > 1:
        found = " and ".join(sorted(entry.value for entry in entries))
        raise StartupRefused(f"two plugins are installed for key store type {name}: {found}; uninstall one of them")
    loaded = _import(entries[0])
    if not (isinstance(loaded, type) and issubclass(loaded, KeyStorePlugin)):
        raise StartupRefused(f"entry point {name} ({entries[0].value}) is not a KeyStorePlugin of the plugin SDK")
    if loaded.contract > CONTRACT_VERSION:
        raise StartupRefused(
            f"key store plugin {name} speaks contract {loaded.contract}, this Keystead speaks {CONTRACT_VERSION}: "
            "upgrade Keystead or install an older version of the plugin"
        )
    return loaded


def _import(entry: EntryPoint) -> object:
    try:
        return entry.load()
    except Exception as error:
        raise StartupRefused(
            f"key store plugin {entry.name} ({entry.value}) cannot be imported: {type(error).__name__}: {error}"
        ) from error
