"""The plugin SDK of Keystead: everything a key store plugin imports. It imports nothing of the control plane.

``CONTRACT_VERSION`` is 1. See ``plugins/README.md`` to write a plugin and ``plugins.sdk.conformance`` to prove it.
"""

from plugins.sdk.contract import CONTRACT_VERSION, KeyStorePlugin
from plugins.sdk.errors import (
    CredentialsRefused,
    InvalidCiphertext,
    InvalidRequest,
    InvalidSignature,
    KeyStoreError,
    MaterialDamaged,
    MaterialNotFound,
    Misconfigured,
    Outcome,
    OutcomeUnknown,
    Refused,
    Unavailable,
    Unsupported,
)
from plugins.sdk.options import Options, SecretSource, read_private_file
from plugins.sdk.secret import SecretBytes
from plugins.sdk.types import (
    Capabilities,
    Clock,
    Custody,
    GcmCiphertext,
    Health,
    KeyPair,
    Material,
    MaterialRef,
    PluginContext,
    PluginState,
)
from plugins.sdk.vocabulary import KEY_SPECS, Algorithm, Family, KeySpec, KeySpecFacts, KeyUsage, MessageType

__all__ = [
    "CONTRACT_VERSION",
    "KEY_SPECS",
    "Algorithm",
    "Capabilities",
    "Clock",
    "CredentialsRefused",
    "Custody",
    "Family",
    "GcmCiphertext",
    "Health",
    "InvalidCiphertext",
    "InvalidRequest",
    "InvalidSignature",
    "KeyPair",
    "KeySpec",
    "KeySpecFacts",
    "KeyStoreError",
    "KeyStorePlugin",
    "KeyUsage",
    "Material",
    "MaterialDamaged",
    "MaterialNotFound",
    "MaterialRef",
    "MessageType",
    "Misconfigured",
    "Options",
    "Outcome",
    "OutcomeUnknown",
    "PluginContext",
    "PluginState",
    "Refused",
    "SecretBytes",
    "SecretSource",
    "Unavailable",
    "Unsupported",
    "read_private_file",
]
