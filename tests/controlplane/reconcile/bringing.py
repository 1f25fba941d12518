"""Bringing material into the keys of a world, as their owner does: parameters, wrap, upload."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any, cast

from controlplane.domain.imports import Asked
from controlplane.schema.imports import ImportType, WrappingAlgorithm, WrappingSpec
from controlplane.schema.keys import KeyState, Origin
from controlplane.schema.keystores import STANDARD
from controlplane.schema.meta import Key
from controlplane.store import imports as stored
from controlplane.store import keys, material
from controlplane.store.catalog import KeyRecord, record_of
from controlplane.usage import operations
from controlplane.usage.imports import Accepted, Imports, Issued
from plugins.sdk import Algorithm
from plugins.sdk.conformance.imports import wrap
from tests.controlplane.reconcile.world import World

SPEC, ALGORITHM = WrappingSpec.RSA_2048, WrappingAlgorithm.RSAES_OAEP_SHA_256
NEW = ImportType.NEW_KEY_MATERIAL
ME = "arn:aws:iam::000000000000:user/me"


class Owner:
    """Somebody with material, and a world whose keys it is for."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.issued: dict[str, Issued] = {}

    @property
    def imports(self) -> Imports:
        return Imports(self.world.database, self.world.calls, self.world.clock)

    async def key(self, name: str = "mine", **fields: Any) -> Key:
        fields.setdefault("origin", Origin.EXTERNAL)
        return await self.world.add_key(name, STANDARD, **fields)

    def record(self, name: str = "mine") -> KeyRecord:
        return self.world.read(lambda tx: record_of(tx, self.world.key(name)))

    def state(self, name: str = "mine") -> KeyState:
        return self.world.read(lambda tx: keys.state(tx, self.world.key(name)))

    async def parameters(self, name: str = "mine") -> Issued:
        issued = await self.imports.issue(self.record(name), SPEC, ALGORITHM, ME)
        self.issued[name] = issued
        return issued

    async def bring(
        self,
        secret: bytes,
        name: str = "mine",
        *,
        valid_to: datetime | None = None,
        kind: ImportType | None = None,
        material_id: str | None = None,
        description: str | None = None,
    ) -> Accepted:
        """Import ``secret``, with the parameters at hand if there are any."""
        issued = self.issued.get(name)
        if issued is None or issued.valid_to <= self.world.clock.now() or self.sealed(issued) is None:
            issued = await self.parameters(name)  # they may have expired before the clock jumped back
        encrypted = wrap(issued.public_key, ALGORITHM, secret)
        asked = Asked(valid_to=valid_to, import_type=kind, material_id=material_id, description=description)
        return await self.imports.accept(self.record(name), issued.token, encrypted, asked, ME)

    async def delete(self, name: str = "mine", material_id: str | None = None) -> str | None:
        return await self.imports.delete(self.record(name), material_id, ME)

    # ---- what it is for --------------------------------------------------------------------------------------------

    async def encrypt(self, plaintext: bytes, name: str = "mine") -> bytes:
        blob = await operations.encrypt(
            self.world.calls, self.record(name), plaintext, Algorithm.SYMMETRIC_DEFAULT, None
        )
        return cast(bytes, blob)

    async def decrypt(self, blob: bytes, name: str = "mine") -> bytes:
        plaintext, _ = await operations.decrypt(
            self.world.calls, self.record(name), blob, Algorithm.SYMMETRIC_DEFAULT, None
        )
        return plaintext

    # ---- what is left of it ----------------------------------------------------------------------------------------

    def tokens(self, name: str = "mine") -> list[str]:
        """Names of the key's material of which a token is stored."""
        found = self.world.read(lambda tx: [(m.name, material.get_token(tx, m.name)) for m in self.materials(name)])
        return [each for each, token in found if token is not None]

    def materials(self, name: str = "mine") -> tuple[Any, ...]:
        return self.world.key(name).status.materials

    def sealed(self, issued: Issued) -> bytes | None:
        found = self.world.read(lambda tx: stored.find(tx, issued.token))
        return None if found is None else found.sealed


def secret() -> bytes:
    """A fresh 256-bit key."""
    return os.urandom(32)
