"""What the handlers of cryptographic operations share: the request as ``perform`` takes it, and checks of its members.

The condition keys of a request are made once for each algorithm, because every request on the hot path carries them.
Source: KMS Developer Guide, "AWS KMS condition keys".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from controlplane.access.caller import Caller
from controlplane.errors import InvalidInput
from controlplane.schema.keys import Algorithm, MessageType
from controlplane.usage.perform import Request

MAX_CONTEXT_CHARACTERS: Final = 8192

Conditions = Mapping[str, str]

ENCRYPTION: Final[Mapping[Algorithm, Conditions]] = {
    algorithm: {"kms:EncryptionAlgorithm": algorithm.value} for algorithm in Algorithm
}
SIGNING: Final[Mapping[tuple[Algorithm, MessageType], Conditions]] = {
    (algorithm, message_type): {"kms:SigningAlgorithm": algorithm.value, "kms:MessageType": message_type.value}
    for algorithm in Algorithm
    for message_type in MessageType
}
MAC: Final[Mapping[Algorithm, Conditions]] = {
    algorithm: {"kms:MacAlgorithm": algorithm.value} for algorithm in Algorithm
}
AGREEMENT: Final[Conditions] = {"kms:KeyAgreementAlgorithm": Algorithm.ECDH.value}


def use(
    caller: Caller,
    operation: str,
    grant_tokens: Sequence[str] | None,
    conditions: Conditions | None = None,
    context: Mapping[str, str] | None = None,
    action: str = "",
) -> Request:
    """One use of a key, for ``perform``."""
    return Request(caller, operation, context, action, grant_tokens or (), conditions)


def context_for(
    context: dict[str, str] | None, algorithm: Algorithm, member: str = "EncryptionContext"
) -> dict[str, str] | None:
    """The encryption context. Asymmetric algorithms have none; its size is bounded as in AWS."""
    if not context:
        return None
    if algorithm is not Algorithm.SYMMETRIC_DEFAULT:
        raise InvalidInput(f"{member} is valid only with the SYMMETRIC_DEFAULT algorithm.")
    if sum(len(name) + len(value) for name, value in context.items()) > MAX_CONTEXT_CHARACTERS:
        raise InvalidInput(f"{member} is longer than {MAX_CONTEXT_CHARACTERS} characters.")
    return context
