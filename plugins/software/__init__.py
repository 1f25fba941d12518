"""The standard key store: an embedded software HSM, entry point ``standard``. Discovered by the host, never imported.

root key  (a file, a passphrase or an HSM; never in the store)  rootkey.py, roottoken.py; moved by migration.py
  └─ wraps domain keys  (records in the plugin's state)         domainkeys.py
       └─ wrap key material as key tokens  (kept by the host)   tokens.py
            └─ opened into key objects that do the work         material.py, behind a cache in plugin.py
"""

from plugins.software.options import FileRootKey, PassphraseRootKey, SoftwareOptions, TokenRootKey
from plugins.software.plugin import SoftwareKeyStore, capabilities

__all__ = ["FileRootKey", "PassphraseRootKey", "SoftwareKeyStore", "SoftwareOptions", "TokenRootKey", "capabilities"]
