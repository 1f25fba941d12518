"""A key store plugin that is complete and small: AES-256 keys in one file, encrypted under a passphrase.

``file`` reads and writes the file, ``plugin`` is the contract of Keystead over it.
"""

from strongbox.plugin import CAPABILITIES, StrongboxKeyStore, StrongboxOptions

__all__ = ["CAPABILITIES", "StrongboxKeyStore", "StrongboxOptions"]
