"""One member of a cluster: its token, whether it is in use, and why not. Called by ``cluster``.

Guarantee: a member that could not be opened is tried again in the background until it can, unless it refused the
user's credentials: those are tried once, because a token locks itself after a few.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from plugins.sdk import CredentialsRefused, KeyStoreError, Member, Unavailable
from plugins.sdk.pkcs11 import TokenPool
from plugins.sdk.workers import WorkerFault

_FIRST_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 1.0


class PoolMaker(Protocol):
    """Makes the pool of a member's token."""

    def __call__(self, *, changed: Callable[[], None]) -> TokenPool: ...


class ClusterMember:
    """``name`` is for people. ``make`` makes its pool, which calls ``changed`` when its workers come and go."""

    def __init__(self, name: str, make: PoolMaker) -> None:
        self.name = name
        self.pool = make(changed=self._changed)
        self.open_now = False
        """Its pool is open; whether it has a worker at this moment is :attr:`active`."""
        self.refused: CredentialsRefused | None = None
        self.described = ""
        self._problem: KeyStoreError | None = None
        self._told: Callable[[], None] | None = None
        self._was_active = False
        self._keeper: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<ClusterMember {self.name!r}{' active' if self.active else ''}>"

    @property
    def active(self) -> bool:
        """Whether calls can go there now."""
        return self.open_now and self.pool.ready

    @property
    def failure(self) -> KeyStoreError | None:
        """Why it is not active."""
        return self.pool.workers.failure if self.open_now else self._problem

    def on_change(self, told: Callable[[], None]) -> None:
        """Call ``told`` whenever the member becomes active or ceases to be."""
        self._told = told

    def told(self, problem: str | None = None) -> Member:
        """The member for health and conditions; ``problem`` is what a probe of it found."""
        if problem is None and self.active:
            return Member(self.name, active=True)
        detail = problem or (self.failure.message if self.failure is not None else "its workers are being started")
        return Member(self.name, active=False, detail=detail)

    async def open(self) -> None:
        """Try once. Never raises: :attr:`refused` and :attr:`failure` say how it went."""
        try:
            token = await self.pool.open()
        except CredentialsRefused as error:
            self.refused = self._problem = error
        except KeyStoreError as error:
            self._problem = error
        except WorkerFault as fault:
            self._problem = Unavailable(f"the module failed: {fault}", reason="WorkerFailed")
        else:
            self._problem = None
            self.open_now = True
            self.described = " ".join(word for word in (token.manufacturer, token.model, token.serial) if word)
            self._changed()

    def keep(self) -> None:
        """Try on in the background if it is not open."""
        if not self.open_now and self.refused is None:
            self._keeper = asyncio.get_running_loop().create_task(self._try_on(), name=f"member-{self.name}")

    async def close(self) -> None:
        """Close for good."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        self.open_now = False
        await self.pool.close()

    async def _try_on(self) -> None:
        pause = _FIRST_PAUSE
        while not self.open_now and self.refused is None:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            await self.open()

    def _changed(self) -> None:
        if self.active != self._was_active:
            self._was_active = self.active
            if self._told is not None:
                self._told()
