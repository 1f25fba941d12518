"""Requests that are refused before they cost anything: failed authentications, bodies that are not even read, paths of
nobody, and what is over a quota, in the audit journal.

Who calls it: every door, with the error that it answers. Guarantees: the record holds what the request claims to be
(an access key id), never a token, a signature or a secret; it is durable before the answer leaves; whoever floods a
door with what is refused so cheaply cannot fill the disk: above :data:`A_SECOND` the rest is counted, and the next
record says how many.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Final

from controlplane.audit.journal import AuditJournal
from controlplane.audit.records import AuditRecord
from controlplane.clock import Clock
from controlplane.errors import KeysteadError, Unauthenticated

A_SECOND: Final = 100
"""Records of one process; a record has less than a kilobyte."""
UNAUTHENTICATED: Final = "unauthenticated"
"""Principal of these records."""
MAX_REASON: Final = 200
"""Characters: a refusal may quote what was sent."""

_CLAIMED: Final = re.compile(rb"Credential=([A-Za-z0-9]{4,128})/")
_OPERATION: Final = re.compile(r"[A-Za-z0-9:/._-]{1,96}")


class Strangers:
    """Writes the records."""

    def __init__(self, audit: AuditJournal, clock: Clock, ticks: Callable[[], float] = monotonic) -> None:
        self._audit = audit
        self._clock = clock
        self._ticks = ticks
        self._second = -1
        self._written = 0
        self._left_out = 0

    async def note(
        self,
        error: KeysteadError,
        *,
        door: str,
        operation: str,
        request_id: str,
        source: str,
        headers: Iterable[tuple[bytes, bytes]] = (),
        principal: str = UNAUTHENTICATED,
    ) -> None:
        """One refusal; ``principal`` if it is known whose. Raises :class:`controlplane.errors.AuditUnavailable`."""
        error.audited = True
        second = int(self._ticks())
        if second != self._second:
            self._second, self._written = second, 0
        if self._written >= A_SECOND:
            self._left_out += 1
            return
        self._written += 1
        left_out, self._left_out = self._left_out, 0
        details: dict[str, object] = {"door": door}
        claimed = _claimed(headers)
        if claimed:
            details["accessKeyId"] = claimed
        if left_out:
            details["leftOut"] = left_out
        named = operation if _OPERATION.fullmatch(operation) else "Unknown"
        await self._audit.append(
            AuditRecord(
                time=self._clock.now(),
                request_id=request_id,
                principal=principal,
                source=source,
                operation=named,
                action=f"kms:{named}" if door == "kms" else f"{door}:{named}" if door == "sts" else f"keystead:{named}",
                decision="denied" if isinstance(error, Unauthenticated) else "failed",
                reason=error.kind if isinstance(error, Unauthenticated) else error.message[:MAX_REASON],
                error=error.code,
                details=details,
            )
        )


def _claimed(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The access key id that a request names in its header. It may be anybody's."""
    for name, value in headers:
        if name == b"authorization":
            found = _CLAIMED.search(value)
            return found[1].decode() if found else ""
    return ""
