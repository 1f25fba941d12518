"""``drift``: what is not as it is declared.

Called by ``main`` with parsed arguments; each function answers the exit code and raises :class:`KeysteadError` for
everything that is wrong.
"""

from __future__ import annotations

import asyncio
from typing import Final

from controlplane.cli.output import Output
from controlplane.report.drift import drift_lines
from controlplane.schema.drift import DriftReport

EXIT_DRIFT: Final = 2


def drift(output: Output, *, url: str | None, spec_set: str | None, detailed_exitcode: bool) -> int:
    """The server's report. 0, or with ``detailed_exitcode`` 2 if there is drift."""
    report = asyncio.run(_drift(url, spec_set))
    output.answer(report, drift_lines(report))
    return EXIT_DRIFT if detailed_exitcode and report.items else 0


async def _drift(url: str | None, spec_set: str | None) -> DriftReport:
    from controlplane.client import Client

    async with Client.from_environment(url) as client:
        return await client.drift(spec_set)
