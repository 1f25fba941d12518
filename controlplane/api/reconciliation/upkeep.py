"""What operators do for the server's own records: ``POST /v1/copies/verify``, ``POST /v1/copies/repair``,
``GET /v1/backup``.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from litestar import Controller, Request, get, post
from litestar.response import Stream

from controlplane import __version__
from controlplane.access.caller import Caller
from controlplane.api.reconciliation.documented import REFUSALS
from controlplane.api.services import Services
from controlplane.backups import AUDIT_DIRECTORY
from controlplane.errors import StoreUnavailable
from controlplane.schema.copies import CopiesReport
from controlplane.store import backup
from controlplane.usage import perform

ApiRequest = Request[Caller, Any, Any]

REPAIR: Final = "keystead:RepairCopies"
BACKUP: Final = "keystead:Backup"
_CHUNK: Final = 256 * 1024


class UpkeepController(Controller):
    """Copies and backups."""

    path = "/"
    tags = ("upkeep",)

    @post("/copies/verify", operation_id="VerifyCopies", responses=REFUSALS, status_code=200)
    async def verify(self, request: ApiRequest, services: Services) -> CopiesReport:
        """Compare the database and every directory of copies. Changes nothing."""

        async def work() -> CopiesReport:
            return await services.safekeeping.look(services.database, repair=False)

        asked = perform.Request(request.user, "VerifyCopies", action="keystead:Read")
        return await services.usage.on_account(asked, work)

    @post("/copies/repair", operation_id="RepairCopies", responses=REFUSALS, status_code=200)
    async def repair(self, request: ApiRequest, services: Services) -> CopiesReport:
        """The same, and make good what is missing or damaged from a good copy."""

        async def work() -> CopiesReport:
            return await services.safekeeping.look(services.database, repair=True)

        return await services.usage.on_account(perform.Request(request.user, "RepairCopies", action=REPAIR), work)

    @get("/backup", operation_id="MakeBackup", responses=REFUSALS, media_type="application/x-tar")
    async def make(self, request: ApiRequest, services: Services) -> Stream:
        """A backup of everything but the root key, as one tar file."""

        async def work() -> Path:
            try:
                return await asyncio.to_thread(
                    backup.make,
                    services.database,
                    services.settings.directory / AUDIT_DIRECTORY,
                    server_id=services.server_id,
                    account=services.settings.account,
                    version=__version__,
                    now=services.clock.now(),
                )
            except OSError as error:
                raise StoreUnavailable(f"a backup cannot be written beside the database: {error.strerror}") from None

        made = await services.usage.on_account(perform.Request(request.user, "MakeBackup", action=BACKUP), work)
        headers = {"content-length": str(made.stat().st_size), "cache-control": "no-store"}
        return Stream(_sent(made), media_type="application/x-tar", headers=headers)


async def _sent(path: Path) -> AsyncIterator[bytes]:
    """The file, piece by piece; it is gone when it was sent or nobody listens any more."""
    try:
        with path.open("rb") as file:
            while chunk := await asyncio.to_thread(file.read, _CHUNK):
                yield chunk
    finally:
        os.unlink(path)  # noqa: PTH108 - one call, and nobody else has the file
