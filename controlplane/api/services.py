"""What handlers of all doors are given by the composition root."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import msgspec

from controlplane.access.authentication import Authenticator
from controlplane.access.checkpointing import Checkpointer
from controlplane.access.credentials import Credentials
from controlplane.access.grant_tokens import GrantTokens
from controlplane.access.key_store_secrets import KeyStoreSecrets
from controlplane.audit.reading import JournalReader
from controlplane.clock import Clock
from controlplane.errors import ClusterUnsuitable, DeadlineExceeded, KeyStoreFailure, KeyStoreUnavailable, NotFound
from controlplane.keystores.calls import Calls
from controlplane.schema.conditions import Condition, ConditionStatus, ConditionType, Reason, find_condition
from controlplane.schema.keys import Origin
from controlplane.schema.keystores import STANDARD, TOO_FEW_MEMBERS, ConnectionState
from controlplane.schema.meta import Key, KeyStore, Kind
from controlplane.settings import Settings
from controlplane.store import keys, objects
from controlplane.store.catalog import Catalog
from controlplane.store.changes import ChangeSignal
from controlplane.store.database import Database
from controlplane.store.safekeeping import Safekeeping
from controlplane.usage.attestations import Attestations
from controlplane.usage.imports import Imports
from controlplane.usage.perform import Usage

CREATE_SECONDS = 20.0
"""How long CreateKey waits for the reconciler before it answers DependencyTimeoutException."""
UNREACHABLE_SECONDS = 3.0
"""How long it waits for a key store that could not be reached: the reconciler tries a second time within it."""
CONNECT_SECONDS = 20.0
"""How long CreateCustomKeyStore waits for a connection that the settings ask for."""

_Failure = TypeVar("_Failure", bound=KeyStoreFailure)


class Services(msgspec.Struct, frozen=True):
    """The running parts of one server process."""

    settings: Settings
    server_id: str
    clock: Clock
    database: Database
    catalog: Catalog
    calls: Calls
    signal: ChangeSignal
    authenticator: Authenticator
    usage: Usage
    attestations: Attestations
    imports: Imports
    checkpointer: Checkpointer
    trail: JournalReader
    safekeeping: Safekeeping
    grant_tokens: GrantTokens
    credentials: Credentials
    key_store_secrets: KeyStoreSecrets
    look_at: Callable[[Kind, str], None]
    """Ask the reconciler to look at one object now."""
    stopping: asyncio.Event
    """Set when the server begins to stop, so that streams end."""

    async def created(self, uid: str, by: str) -> Key:
        """Wait until the reconciler has made the key's first material, for ``by`` who asked for it.

        Raises what keeps the key store from it: :class:`KeyStoreFailure` if it refuses or cannot be reached
        (:data:`UNREACHABLE_SECONDS` after the first try, so that a moment's failure is none),
        :class:`ClusterUnsuitable`, or :class:`DeadlineExceeded`. What the caller is told failed is not declared any
        more then (``store.keys.withdraw``).
        """
        try:
            return await self._created(uid)
        except (KeyStoreFailure, ClusterUnsuitable, DeadlineExceeded):
            made = await self.database.write(lambda tx: keys.withdraw(tx, uid, by=by, now=self.clock.now()))
            if made is not None:  # between the last look and the withdrawal
                return made
            raise

    async def _created(self, uid: str) -> Key:
        now = asyncio.get_running_loop().time
        deadline, patience = now() + CREATE_SECONDS, UNREACHABLE_SECONDS
        given_up: float | None = None
        with self.signal.watch(uid) as watch:
            while True:
                key = self.database.read(lambda tx: objects.get(tx, uid))
                if not isinstance(key, Key):
                    raise NotFound(f"key {uid} was removed while it was being made")
                if key.status.current is not None or key.spec.origin is Origin.EXTERNAL:
                    return key
                _check_not_refused(key)
                remaining = deadline - now()
                if (unreachable := _unreachable(key)) is not None:
                    given_up = given_up or now() + patience
                    remaining = min(remaining, given_up - now())
                    if remaining <= 0:
                        raise unreachable
                if remaining <= 0:
                    raise DeadlineExceeded(f"{key.status.arn} was not made in time: its key store is slow")
                await watch.changed(remaining)

    async def connection_tried(self, uid: str) -> None:
        """Wait until the reconciler has connected a key store or failed to, :data:`CONNECT_SECONDS` at most."""
        deadline = asyncio.get_running_loop().time() + CONNECT_SECONDS
        tried = (ConnectionState.CONNECTED, ConnectionState.FAILED)
        with self.signal.watch(uid) as watch:
            while (remaining := deadline - asyncio.get_running_loop().time()) > 0:
                store = self.database.read(lambda tx: objects.get(tx, uid))
                if not isinstance(store, KeyStore) or store.status.connection in tried:
                    return
                await watch.changed(remaining)


def _check_not_refused(key: Key) -> None:
    """Raise :class:`KeyStoreFailure` if its store refused to make it, :class:`ClusterUnsuitable` if that cannot now."""
    synced = find_condition(key.status.conditions, ConditionType.SYNCED)
    if synced is None or synced.status is not ConditionStatus.FALSE:
        return
    if synced.cause == TOO_FEW_MEMBERS:
        raise ClusterUnsuitable(synced.message)
    if synced.reason is Reason.CREATE_REFUSED:
        raise _told(KeyStoreFailure, key, synced)


def _unreachable(key: Key) -> KeyStoreUnavailable | None:
    """Why its store could not be asked to make it, if that was tried; the reconciler tries again.

    A condition without a cause says that this server has no connection yet, as after a change of leader.
    """
    synced = find_condition(key.status.conditions, ConditionType.SYNCED)
    if synced is None or synced.reason is not Reason.STORE_UNREACHABLE or not synced.cause:
        return None
    return _told(KeyStoreUnavailable, key, synced)


def _told(kind: type[_Failure], key: Key, synced: Condition) -> _Failure:
    error = kind(synced.message, reason=synced.reason, custom=key.spec.key_store != STANDARD)
    error.cause = synced.cause
    return error
