"""Observe, diff, act for one material of a key, so that no crash leaks material and none is made twice.

Who calls it: ``keys`` and ``deletion``. Guarantees: before a call that changes a key store there is a durable attempt
that names the material; the name is chosen before the call; an attempt whose outcome is unknown is resolved by
observing under that name, never by calling again blindly; token, status and the attempt's end are one transaction.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Final, cast

import msgspec
import structlog

from controlplane.clock import Clock
from controlplane.domain import materials
from controlplane.domain.names import material_name
from controlplane.domain.schedule import deletion_due
from controlplane.errors import (
    Conflict,
    KeysteadError,
    KeyStoreFailure,
    KeyStoreOutcomeUnknown,
    KeyStoreUnavailable,
    StoreDamaged,
)
from controlplane.keystores.calls import Calls
from controlplane.schema.conditions import Reason
from controlplane.schema.keys import KeyStatus, MaterialState, MaterialStatus
from controlplane.schema.meta import Key
from controlplane.store import attempts, externalkeys, material, objects
from controlplane.store.attempts import Attempt, Finding, Verb
from controlplane.store.catalog import reference
from controlplane.store.database import Database, Tx
from controlplane.store.lease import Lease
from plugins.sdk import Custody, Material, MaterialRef, Outcome, caused_by

log = structlog.get_logger("keystead.reconcile")

CHANGES_AT_ONCE: Final = 16
"""Creates that one key store is asked for at once: an HSM makes keys one after the other, and whoever waits for its
worker too long has failed."""


class Held(Exception):
    """The pass cannot go on. ``retry``: look again with backoff; otherwise something else has to change first."""

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        retry: bool = True,
        unknown: bool = False,
        wake: tuple[str, ...] = (),
        cause: str = "",
    ) -> None:
        super().__init__(message)
        self.wake = wake
        """Uids of other keys on which it depends."""
        self.reason = reason
        self.message = message
        self.retry = retry
        self.unknown = unknown
        self.cause = cause


class External:
    """The steps that touch a key store."""

    def __init__(self, database: Database, calls: Calls, clock: Clock, lease: Lease) -> None:
        self._database = database
        self._calls = calls
        self._clock = clock
        self._lease = lease
        self._creates: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(CHANGES_AT_ONCE))

    async def resolve(self, key: Key) -> Key:
        """Find out what became of an open attempt, if there is one. The key as it is afterwards."""
        attempt = self._database.read(lambda tx: attempts.find_open(tx, key.metadata.uid))
        if attempt is None:
            return key
        if attempt.verb is Verb.DESTROY:
            # Destroying is idempotent on the name and is repeated by the deletion; only the journal needs an answer.
            await self._end(attempt, Outcome.UNKNOWN, "the deletion looks again")
            return key
        found = await self._find(key, attempt)
        if found is None:
            await self._end(attempt, Outcome.REFUSED, "observed: nothing was made")
            return key
        log.info("found material of an interrupted create", key=key.metadata.name, material=attempt.material)
        return await self._adopt(key, attempt, found)

    async def create(self, key: Key) -> Key:
        """Make a new material: the first is current at once, later ones wait to be rotated to. The key afterwards."""
        material_id = secrets.token_hex(32)
        name = material_name(key.metadata.uid, material_id)
        new = reference(key, name, material_id)
        store, theirs = key.spec.key_store, key.status.adopts
        if theirs is not None and not key.status.materials:
            return await self._make(key, name, lambda: self._calls.adopt(store, theirs, new))
        asked = None
        if key.spec.xks_key_id is not None:
            asked = self._database.read(lambda tx: externalkeys.asker(tx, key.metadata.uid))
        with caused_by(asked):
            return await self._make(key, name, lambda: self._calls.create(store, new))

    async def replicate(self, key: Key, source: Key, theirs: MaterialStatus) -> Key:
        """Give ``key``, a replica, the material ``theirs`` of its primary key ``source``. The key afterwards."""
        name = material_name(key.metadata.uid, theirs.material_id)
        new = reference(key, name, theirs.material_id)
        try:
            origin = self._reference(source, theirs)
        except StoreDamaged as error:
            raise Held(Reason.MATERIAL_DAMAGED, error.message) from None
        return await self._make(key, name, lambda: self._calls.replicate(key.spec.key_store, origin, new))

    async def _make(self, key: Key, name: str, call: Callable[[], Awaitable[Material]]) -> Key:
        attempt = await self._begin(key, Verb.CREATE, name)
        try:
            async with self._creates[key.spec.key_store]:
                made = await call()
        except KeyStoreOutcomeUnknown as error:
            # The attempt stays open: the next pass observes.
            raise Held(Reason.CREATE_OUTCOME_UNKNOWN, error.message, unknown=True) from None
        except KeysteadError as error:
            await self._end(attempt, Outcome.REFUSED, error.message)
            raise Held(_create_reason(error), error.message, cause=_cause(error)) from None
        return await self._adopt(key, attempt, made)

    async def observe(self, key: Key) -> None:
        """Look at every material of the key. Raises :class:`Held` if one is gone or damaged; changes nothing."""
        for present in key.status.materials:
            if not present.present:
                continue
            try:
                found = await self._calls.observe(key.spec.key_store, self._reference(key, present))
            except StoreDamaged as error:
                raise Held(Reason.MATERIAL_DAMAGED, error.message) from None
            except KeyStoreFailure as error:
                damaged = error.reason == "MaterialDamaged"
                reason = Reason.MATERIAL_DAMAGED if damaged else Reason.STORE_UNREACHABLE
                raise Held(reason, error.message) from None
            if found is None:
                raise Held(Reason.MATERIAL_LOST, materials.lost_words(key, present))

    async def destroy(self, key: Key, present: MaterialStatus) -> None:
        """Destroy one material and its token, then look whether it is gone.

        Raises :class:`Conflict`, with nothing done, if the deletion was cancelled since the pass looked.
        """
        try:
            ref = self._reference(key, present)
        except StoreDamaged:  # a token that nobody can open must not keep its key for ever
            ref = reference(key, present.name, present.material_id)
        attempt = await self._begin(key, Verb.DESTROY, present.name)
        try:
            await self._calls.destroy(key.spec.key_store, ref)
        except KeysteadError as error:
            unknown = isinstance(error, KeyStoreOutcomeUnknown)
            await self._end(attempt, Outcome.UNKNOWN if unknown else Outcome.REFUSED, error.message)
            raise Held(Reason.DESTROY_FAILED, error.message, unknown=unknown) from None

        def forget(tx: Tx) -> None:
            material.delete_token(tx, present.name)
            attempts.end(tx, attempt.id, Outcome.SUCCEEDED, self._clock.now())

        await self._database.write(forget)
        gone = msgspec.structs.replace(ref, token=None)
        try:
            left = await self._calls.observe(key.spec.key_store, gone)
        except KeysteadError as error:
            raise Held(Reason.DESTROY_FAILED, error.message) from None
        if left is not None:
            raise Held(
                Reason.DESTROY_FAILED, f"key store {key.spec.key_store} still has {present.name} after destroying it"
            )

    # ---- inside ----------------------------------------------------------------------------------------------------

    async def _begin(self, key: Key, verb: Verb, name: str) -> Attempt:
        uid, now = key.metadata.uid, self._clock.now()

        def begin(tx: Tx) -> Attempt:
            # In one transaction with the attempt, so that a cancellation comes before it or is refused because of it.
            # A key that was forgotten meanwhile is not there, and nothing is made for it.
            present = objects.require(tx, uid)
            if verb is Verb.DESTROY and not deletion_due(present.metadata.deletion, now):
                raise Conflict(f"the deletion of {key.status.arn} was cancelled or put off")
            if verb is Verb.CREATE and cast(Key, present).status.materials != key.status.materials:
                raise Conflict(f"material of {key.status.arn} was made meanwhile")
            return attempts.begin(tx, uid=uid, verb=verb, material=name, epoch=self._lease.epoch, now=now)

        return await self._database.write(begin)

    async def _end(self, attempt: Attempt, outcome: Outcome, detail: str) -> None:
        await self._database.write(lambda tx: attempts.end(tx, attempt.id, outcome, self._clock.now(), detail))

    async def _find(self, key: Key, attempt: Attempt) -> Material | None:
        """Did an interrupted create happen?"""
        connection = self._calls.connections.get(key.spec.key_store)
        capabilities = connection.capabilities
        assert capabilities is not None
        if capabilities.custody is Custody.TOKEN:
            return None  # what the store made was in its answer only; unanswered, it is nowhere
        if not capabilities.find_by_name:
            if attempt.finding is not None:
                return Material() if attempt.finding is Finding.ADOPT else None
            raise Held(
                Reason.CREATE_OUTCOME_UNKNOWN,
                f"key store {key.spec.key_store} cannot be searched by name, so a person has to say whether it made "
                f"{attempt.material}: keystead resolve {key.metadata.name} --adopt or --abandon",
                retry=False,
                unknown=True,
            )
        try:
            return await self._calls.observe(key.spec.key_store, self._attempted(key, attempt))
        except KeysteadError as error:
            raise Held(Reason.CREATE_OUTCOME_UNKNOWN, error.message, unknown=True) from None

    async def _adopt(self, key: Key, attempt: Attempt, made: Material) -> Key:
        """Record material that exists: token, status and the end of its attempt in one transaction."""
        now = self._clock.now()
        uid = key.metadata.uid
        new = MaterialStatus(
            material_id=self._attempted(key, attempt).material_id,
            name=attempt.material,
            state=MaterialState.PENDING_ROTATION,
            created_at=now,
            public_key=made.public_key,
        )

        def record(tx: Tx) -> Key:
            if made.token is not None:
                material.put_token(tx, name=attempt.material, uid=uid, token=made.token)
            status = cast(KeyStatus, objects.require(tx, uid).status)
            made_now = msgspec.structs.replace(new, state=materials.state_of_new(status))
            status = msgspec.structs.replace(status, materials=(*status.materials, made_now))
            if materials.is_replica(key):
                primary = materials.primary_of(objects.related_keys(tx, status.key_id))
                if primary is not None:
                    status = materials.mirrored(status, primary.status)
            attempts.end(tx, attempt.id, Outcome.SUCCEEDED, now)
            return cast(Key, objects.replace(tx, uid, now=now, status=status))

        return await self._database.write(record)

    def _attempted(self, key: Key, attempt: Attempt) -> MaterialRef:
        return reference(key, attempt.material, attempt.material.rsplit(":", 1)[-1])

    def _reference(self, key: Key, present: MaterialStatus) -> MaterialRef:
        token = self._database.read(lambda tx: material.get_token(tx, present.name))
        return reference(key, present.name, present.material_id, token)


def _cause(error: KeysteadError) -> str:
    """What whoever waits for the key has to know of why it was not made; never empty for a failure of the store."""
    return error.cause or (error.reason if isinstance(error, KeyStoreFailure) else "")


def _create_reason(error: KeysteadError) -> Reason:
    return Reason.STORE_UNREACHABLE if isinstance(error, KeyStoreUnavailable) else Reason.CREATE_REFUSED
