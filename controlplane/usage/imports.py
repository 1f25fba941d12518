"""Importing material: parameters, uploads, deletion. One set of steps for every door.

Who calls it: the handlers of the KMS door and of the reconciliation API, as the work of ``perform``. Guarantees: what
was wrapped is unwrapped by the key store's plugin only; a refused upload leaves the key as it was; an answer leaves
after everything is on disk. A store of custody ``token`` is changed by nothing but the token that it answers, so an
import needs no attempt in the journal: unanswered, it left nothing anywhere.
"""

from __future__ import annotations

import contextlib
import secrets
from datetime import datetime
from typing import Final

import msgspec

from controlplane.access.authorise import Request
from controlplane.access.caller import Caller
from controlplane.clock import Clock
from controlplane.domain import imports as rules
from controlplane.domain.imports import Asked
from controlplane.domain.names import import_name
from controlplane.errors import ExpiredImportToken, InvalidImportToken, KeysteadError
from controlplane.keystores.calls import Calls
from controlplane.schema.imports import WrappingAlgorithm, WrappingSpec
from controlplane.schema.meta import Key
from controlplane.store import imports
from controlplane.store.catalog import KeyRecord, reference
from controlplane.store.database import Database, Tx
from controlplane.store.imports import Parameters
from plugins.sdk import ImportTarget

_TOKEN_LABEL: Final = b"KEYSTEAD-IMPORT-1\x00"
_TOKEN_BYTES: Final = 48
EXPIRES: Final = "KEY_MATERIAL_EXPIRES"
DOES_NOT_EXPIRE: Final = "KEY_MATERIAL_DOES_NOT_EXPIRE"
"""API reference: ``ExpirationModelType``."""


def parameters_request(caller: Caller, spec: str, algorithm: str) -> Request:
    """GetParametersForImport, as policies see it."""
    conditions = {"kms:WrappingAlgorithm": algorithm, "kms:WrappingKeySpec": spec}
    return Request(caller, "GetParametersForImport", conditions=conditions)


def import_request(caller: Caller, valid_to: datetime | None) -> Request:
    """ImportKeyMaterial, as policies see it."""
    if valid_to is None:
        return Request(caller, "ImportKeyMaterial", conditions={"kms:ExpirationModel": DOES_NOT_EXPIRE})
    conditions = {"kms:ExpirationModel": EXPIRES, "kms:ValidTo": valid_to.isoformat()}
    return Request(caller, "ImportKeyMaterial", conditions=conditions)


class Issued(msgspec.Struct, frozen=True):
    """Import parameters as they are given out, once."""

    public_key: bytes
    token: bytes
    valid_to: datetime


class Accepted(msgspec.Struct, frozen=True):
    """An import that was done."""

    key: Key
    material_id: str
    valid_to: datetime | None


class Imports:
    """The steps of an import that the server takes part in."""

    def __init__(self, database: Database, calls: Calls, clock: Clock) -> None:
        self._database = database
        self._calls = calls
        self._clock = clock

    async def issue(self, record: KeyRecord, spec: WrappingSpec, algorithm: WrappingAlgorithm, by: str) -> Issued:
        """A wrapping key and an import token for one key, valid for 24 hours."""
        key = record.key
        rules.check_origin(key)
        rules.check_wrapping(key.spec.key_spec, spec, algorithm)
        wrapping = await self._calls.wrapping_key(key.spec.key_store, _target(key), spec, algorithm)
        token = _TOKEN_LABEL + secrets.token_bytes(_TOKEN_BYTES)
        now = self._clock.now()
        valid_to = (now + rules.PARAMETERS_LIFETIME).replace(microsecond=0)

        def keep(tx: Tx) -> None:
            imports.issue(
                tx,
                key.metadata.uid,
                token=token,
                spec=spec,
                algorithm=algorithm,
                sealed=wrapping.sealed,
                by=by,
                now=now,
                valid_to=valid_to,
            )

        await self._database.write(keep)
        return Issued(public_key=wrapping.public_key, token=token, valid_to=valid_to)

    async def accept(
        self,
        record: KeyRecord,
        token: bytes,
        encrypted: bytes,
        asked: Asked,
        by: str,
        wrapped_at: datetime | None = None,
    ) -> Accepted:
        """Import what was wrapped. Raises :class:`InvalidImportToken`, :class:`ExpiredImportToken`,
        :class:`InvalidCiphertext`, :class:`IncorrectKeyMaterial` or :class:`InvalidState`; then nothing has changed.
        """
        key, now = record.key, self._clock.now()
        uid = key.metadata.uid
        rules.check_origin(key)
        rules.check_asked(key, asked)
        asked = msgspec.structs.replace(asked, valid_to=rules.expiry_of(key, asked.valid_to, now))
        parameters = self._parameters(key, token, now)
        assert parameters.sealed is not None
        try:
            imported = await self._calls.import_material(
                key.spec.key_store,
                _target(key),
                parameters.wrapping_spec,
                parameters.algorithm,
                parameters.sealed,
                encrypted,
            )
            name = import_name(uid)
            written, replaced = await self._database.write(
                lambda tx: imports.accept(
                    tx,
                    uid,
                    parameters=parameters,
                    imported=imported,
                    name=name,
                    asked=asked,
                    by=by,
                    now=now,
                    wrapped_at=wrapped_at,
                )
            )
        except KeysteadError as error:
            why = error.message or "it does not unwrap with this wrapping key and algorithm"
            await self._database.write(lambda tx: imports.refuse(tx, key, parameters, why, now))
            raise
        if replaced is not None:
            await self._close(key, replaced, imported.material_id)
        return Accepted(key=written, material_id=imported.material_id, valid_to=asked.valid_to)

    async def delete(self, record: KeyRecord, material_id: str | None, by: str) -> str | None:
        """Delete imported material at once, with every copy of it. Its id; None if it was not here."""
        key, now = record.key, self._clock.now()
        rules.check_origin(key)
        chosen = rules.chosen(key, material_id)
        gone = await self._database.write(lambda tx: imports.end(tx, key.metadata.uid, material_id, by=by, now=now))
        for each in gone:
            await self._close(key, each.name, each.material_id)
        return chosen.material_id if chosen is not None and gone else None

    # ---- inside ----------------------------------------------------------------------------------------------------

    async def _close(self, key: Key, name: str, material_id: str) -> None:
        """Have the key store drop what it has open under a name whose token is gone; it opens there never again."""
        with contextlib.suppress(KeysteadError):  # a store that is not connected has nothing open
            await self._calls.destroy(key.spec.key_store, reference(key, name, material_id))

    def _parameters(self, key: Key, token: bytes, now: datetime) -> Parameters:
        found = self._database.read(lambda tx: imports.find(tx, token))
        if found is None or found.uid != key.metadata.uid:
            raise InvalidImportToken("The import token is invalid or is associated with a different KMS key.")
        if found.sealed is None or now.timestamp() >= found.valid_to:
            raise ExpiredImportToken("The import token has expired. Get a new import token and public key.")
        return found


def _target(key: Key) -> ImportTarget:
    return ImportTarget(key_arn=key.status.arn, key_id=key.status.key_id, key_spec=key.spec.key_spec)
