"""The typed HTTP client of the reconciliation API, shared by the command line and the terminal UI.

Who calls it: ``cli`` and ``tui``; nothing else in a face does HTTP. One :class:`Client` is one pooled session.

Guarantees: whatever happens, a method answers its type or raises a :class:`KeysteadError`. A problem that the server
answers is raised as the class of ``controlplane.errors`` with its code; what went wrong on the way is a
:class:`ClientError` that says what would be right. The token goes to the given host only: no redirect is followed, no
proxy or netrc is taken from the environment, and plain HTTP beyond this machine is refused. The token is in no message
and no ``repr``. An answer beyond ``max_body`` bytes is refused before it is held in memory.

``api`` holds the methods, ``connection`` the session and its manners, ``addresses`` what a user may give.
"""

from controlplane.client.addresses import DEFAULT_URL
from controlplane.client.api import COLLECTIONS, EVERYTHING, MAX_EVENT, PAGE_SIZE, AuditFilter, Change, Client
from controlplane.client.connection import (
    MAX_BODY,
    ClientError,
    ServerFailure,
    UnexpectedAnswer,
    Unreachable,
)

__all__ = [
    "COLLECTIONS",
    "DEFAULT_URL",
    "EVERYTHING",
    "MAX_BODY",
    "MAX_EVENT",
    "PAGE_SIZE",
    "AuditFilter",
    "Change",
    "Client",
    "ClientError",
    "ServerFailure",
    "UnexpectedAnswer",
    "Unreachable",
]
