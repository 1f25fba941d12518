"""External key stores: keys whose outer half lives in somebody's external key manager, behind an XKS proxy.

Inside, top may import what is below: ``plugin`` (the contract), ``client`` (the four APIs within their budget),
``connecting`` (TLS and addresses), ``wire`` (what crosses), ``tokens``, ``options``. Source of the protocol: AWS KMS
External Key Store Proxy API Specification 1.0.3 (https://github.com/aws/aws-kms-xksproxy-api-spec).
"""

from plugins.xks.options import XksOptions
from plugins.xks.plugin import CAPABILITIES, XksKeyStore

__all__ = ["CAPABILITIES", "XksKeyStore", "XksOptions"]
