"""HSM clusters: keys that are made in tokens behind PKCS#11 modules and never leave them.

``options`` what a key store document says, ``cluster`` several tokens as one, ``plugin`` the contract over both.
"""

from plugins.pkcs11.options import Pkcs11Options
from plugins.pkcs11.plugin import CAPABILITIES, Pkcs11KeyStore

__all__ = ["CAPABILITIES", "Pkcs11KeyStore", "Pkcs11Options"]
