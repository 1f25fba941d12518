"""A PKCS#11 token in worker processes: what the HSM key store and the root key provider of the standard store share.

``options`` name and describe a token, ``client`` uses it. ``module``, ``token`` and ``codes`` are the other side: they
run in the workers, and nothing else may import them, because they load python-pkcs11.
"""

from plugins.sdk.pkcs11.client import KeyFacts, KeyName, TokenFacts, TokenPool
from plugins.sdk.pkcs11.options import IvBits, IvSource, LoginStyle, Quirks, TokenOptions

__all__ = [
    "IvBits",
    "IvSource",
    "KeyFacts",
    "KeyName",
    "LoginStyle",
    "Quirks",
    "TokenFacts",
    "TokenOptions",
    "TokenPool",
]
