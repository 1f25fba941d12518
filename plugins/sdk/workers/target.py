"""What the two sides of a worker agree on: errors that cross, and the one that says that the worker must go."""

from __future__ import annotations

from plugins.sdk import errors
from plugins.sdk.errors import KeyStoreError


class ReplaceWorker(Exception):
    """Raised by a target: this process can do no more (a module that must be loaded anew).

    ``error`` is what the call failed with, if it is not repeated: ``Unavailable`` if nothing happened, which the pool
    repeats in another process, or ``OutcomeUnknown``.
    """

    def __init__(self, error: KeyStoreError) -> None:
        super().__init__(error.message)
        self.error = error


class WorkerFault(Exception):
    """A target failed with an exception that no contract knows. Its text stays in the worker: it may hold anything."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"the worker failed with {kind}")
        self.kind = kind


def spell(error: Exception) -> tuple[str, str, str]:
    """An exception as it crosses to the parent: kind, message, reason."""
    if isinstance(error, KeyStoreError):
        return type(error).__name__, error.message, error.reason
    return "", type(error).__name__, ""


def read(kind: object, message: object, reason: object) -> Exception:
    """The exception that :func:`spell` spelt. Raises :class:`TypeError` for what it cannot have spelt."""
    if not (isinstance(kind, str) and isinstance(message, str) and isinstance(reason, str)):
        raise TypeError("an exception is spelt in three strings")
    if not kind:
        return WorkerFault(message)
    known = getattr(errors, kind, None)
    if not (isinstance(known, type) and issubclass(known, KeyStoreError)):
        known = KeyStoreError
    return known(message, reason=reason)
