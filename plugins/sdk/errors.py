"""What a key store may answer other than a result. No HTTP, no AWS names: the host maps these once.

::

    KeyStoreError
    ├── Refused               nothing happened, and the same call will not succeed later
    │   ├── InvalidRequest        the input is wrong for this operation (length, algorithm, encoding)
    │   ├── Unsupported           this store does not offer that (declare it in Capabilities instead)
    │   ├── MaterialNotFound      the store holds no material of that name
    │   ├── MaterialDamaged       the material or its key token cannot be opened
    │   ├── InvalidCiphertext     authentication failed, or not made by this material
    │   ├── IncorrectMaterial     imported material is not what the key spec asks for
    │   ├── InvalidSignature      a signature or MAC does not verify
    │   ├── CredentialsRefused    PIN, passphrase, root key or proxy credential is wrong
    │   └── Misconfigured         the options of the store are wrong
    ├── Unavailable           nothing happened; it cannot be reached or is too busy: the same call may succeed later
    └── OutcomeUnknown        the call was sent and no answer came: it may have happened

Every error carries ``outcome`` for the attempts journal. Messages are for people: one sentence that says what is wrong
and what would be right. They never hold key material, PINs or passphrases.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class Outcome(StrEnum):
    """What is known about a call that changes a device. Only ``refused`` may be retried blindly."""

    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class KeyStoreError(Exception):
    """Base of everything a plugin raises on purpose. ``reason`` is a CamelCase word that conditions may carry."""

    outcome: ClassVar[Outcome] = Outcome.REFUSED
    retryable: ClassVar[bool] = False
    default_reason: ClassVar[str] = "KeyStoreError"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason


class Refused(KeyStoreError):
    """Nothing happened, and the same call will not succeed later."""

    default_reason = "Refused"


class InvalidRequest(Refused):
    """The input is wrong for the operation."""

    default_reason = "InvalidRequest"


class Unsupported(Refused):
    """The store does not offer what was asked."""

    default_reason = "Unsupported"


class MaterialNotFound(Refused):
    """The store holds no material of that name."""

    default_reason = "MaterialNotFound"


class MaterialDamaged(Refused):
    """Material or key token that cannot be opened: wrong checksum, wrong binding, unknown domain key."""

    default_reason = "MaterialDamaged"


class InvalidCiphertext(Refused):
    """Authenticated decryption failed; no plaintext was produced."""

    default_reason = "InvalidCiphertext"


class IncorrectMaterial(Refused):
    """Imported material was unwrapped and is not what the key spec asks for: length, curve, kind, encoding."""

    default_reason = "IncorrectMaterial"


class InvalidSignature(Refused):
    """A signature or MAC does not verify."""

    default_reason = "InvalidSignature"


class CredentialsRefused(Refused):
    """PIN, passphrase, root key or proxy credential is wrong or locked."""

    default_reason = "CredentialsRefused"


class Misconfigured(Refused):
    """The options of the store are wrong; the message names the option."""

    default_reason = "Misconfigured"


class Unavailable(KeyStoreError):
    """The store cannot be reached or sheds load; nothing happened."""

    retryable = True
    default_reason = "Unavailable"


class OutcomeUnknown(KeyStoreError):
    """Sent, no answer. Resolved by observing under the name that was chosen before the call."""

    outcome = Outcome.UNKNOWN
    default_reason = "OutcomeUnknown"
