"""The only I/O of the terminal UI: standing questions, orders, and the change stream that keeps the answers true.

Who calls it: the app starts and stops it; screens :meth:`Feed.watch` a question and get :class:`Answer` and
:class:`Trouble` messages; orders get :class:`Outcome` messages. Guarantees: nobody waits here (all work is in workers,
results are messages); one request at a time for each question, and a burst of changes becomes one request; losing the
server loses no answer that was given, and asking goes on by itself when it is back; a request that writes is sent once
and never repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from functools import partial
from time import monotonic
from typing import Any, Final

from textual.app import App
from textual.message_pump import MessagePump
from textual.worker import Worker

from controlplane.client import Change, Client, Unreachable
from controlplane.clock import Clock
from controlplane.errors import KeysteadError, Unauthenticated
from controlplane.schema.browse import Access
from controlplane.schema.plans import ServerInfo
from tui.feed.messages import Answer, Link, LinkChanged, Outcome, Progressed, Standing, Trouble
from tui.feed.orders import FindImport, Order, carry_out
from tui.feed.questions import Question, ask, concerns

COALESCE_SECONDS: Final = 0.25
"""Changes within this time are one reason to ask again."""
MOST_SUGGESTED: Final = 50
FIRST_RETRY_SECONDS: Final = 0.5
LAST_RETRY_SECONDS: Final = 5.0


class _Watch:
    """A standing question of one asker in one slot."""

    def __init__(self, asker: MessagePump, question: Question, slot: str) -> None:
        self.asker = asker
        self.question = question
        self.slot = slot
        self.wake = asyncio.Event()
        self.worker: Worker[Any] | None = None


class Feed:
    """One server, asked for one app. ``connect`` makes the client; ``clock`` is this machine's."""

    def __init__(self, host: App[Any], connect: Callable[[], Client], clock: Clock) -> None:
        self._host = host
        self._connect = connect
        self._clock = clock
        self._client: Client | None = None
        self._watches: dict[tuple[int, str], _Watch] = {}
        self._up = asyncio.Event()
        self._lost = asyncio.Event()
        self._lost_why = ""
        self._offset = timedelta()
        self._fresh: dict[str, Change] = {}
        self._flush: asyncio.TimerHandle | None = None
        self.link = Link(Standing.CONNECTING, clock.now())

    # ---- life ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to talk to the server."""
        self._host.run_worker(self._stay_connected, group="link", exclusive=True, exit_on_error=False)

    def now(self) -> datetime:
        """The server's time, as far as it is known."""
        return self._clock.now() + self._offset

    # ---- questions -------------------------------------------------------------------------------------------------

    def watch(self, asker: MessagePump, question: Question, slot: str = "") -> None:
        """Ask now, and again whenever the answer may have changed. Replaces the question of this asker and slot."""
        key = (id(asker), slot)
        present = self._watches.get(key)
        if present is not None:
            if present.question == question:
                return
            self._end(present)
        watch = self._watches[key] = _Watch(asker, question, slot)
        watch.worker = self._host.run_worker(
            partial(self._keep_asking, watch), group=f"watch-{key[0]}-{slot}", exclusive=True, exit_on_error=False
        )

    def drop(self, asker: MessagePump, slot: str | None = None) -> None:
        """Ask no longer; without a slot, nothing of this asker."""
        for key in [key for key in self._watches if key[0] == id(asker) and slot in (None, key[1])]:
            self._end(self._watches.pop(key))

    def refresh(self, asker: MessagePump | None = None) -> None:
        """Ask again now; without an asker, everything."""
        for (owner, _), watch in self._watches.items():
            if asker is None or owner == id(asker):
                watch.wake.set()

    async def find_keys(self, text: str) -> list[str]:
        """Names of the first keys that have ``text`` in them, for completion. Nothing while the server is not there."""
        if self._client is None or not self.link.live:
            return []
        try:
            rows = await self._client.search_keys(text, limit=MOST_SUGGESTED)
        except KeysteadError:
            return []  # it is a hint and no answer: whoever goes on is told what is wrong
        return [row.name for row in rows.items]

    # ---- orders ----------------------------------------------------------------------------------------------------

    def order(self, asker: MessagePump, *orders: Order) -> None:
        """Carry out, one after the other, and tell ``asker`` of each. An order that fails does not stop the next."""
        self._host.run_worker(
            partial(self._carry_out, asker, orders), group="orders", exclusive=False, exit_on_error=False
        )

    async def _carry_out(self, asker: MessagePump, orders: tuple[Order, ...]) -> Any:
        for order in orders:
            try:
                if self._client is None or not (self.link.live or isinstance(order, FindImport)):
                    raise Unreachable("the server is not connected, so nothing was sent; try again when it is back")
                async for value, done in carry_out(self._client, order):
                    asker.post_message(Outcome(order, value) if done else Progressed(order, value))
            except KeysteadError as error:
                asker.post_message(Outcome(order, error=error))
        self.refresh()

    # ---- inside: answers -------------------------------------------------------------------------------------------

    async def _keep_asking(self, watch: _Watch) -> Any:
        while True:
            await self._up.wait()
            assert self._client is not None
            watch.wake.clear()
            started = monotonic()
            try:
                value = await ask(self._client, watch.question)
            except Unreachable as error:
                watch.asker.post_message(Trouble(watch.question, watch.slot, error))
                self._report_lost(error.message)
                continue
            except KeysteadError as error:
                watch.asker.post_message(Trouble(watch.question, watch.slot, error))
            else:
                watch.asker.post_message(Answer(watch.question, watch.slot, value, self.now()))
            # However fast things change, the server spends at most a third of its time on this question.
            pause = max(COALESCE_SECONDS, 2 * (monotonic() - started))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(watch.question.every):
                    await watch.wake.wait()
            await asyncio.sleep(max(0.0, pause - (monotonic() - started)))

    def _end(self, watch: _Watch) -> None:
        if watch.worker is not None:
            watch.worker.cancel()

    # ---- inside: the connection ------------------------------------------------------------------------------------

    async def _stay_connected(self) -> Any:
        retry = FIRST_RETRY_SECONDS
        try:
            self._client = self._connect()
        except KeysteadError as error:  # a URL or token that cannot be used: nothing to retry
            self._set_link(Standing.REFUSED, error.message)
            return
        async with self._client:
            while True:
                try:
                    await self._follow(self._client)
                    why = "the server ended the connection"
                except Unauthenticated as error:
                    why = error.message
                    self._down(Standing.REFUSED, why, LAST_RETRY_SECONDS)
                    await asyncio.sleep(LAST_RETRY_SECONDS)
                    continue
                except KeysteadError as error:
                    why = error.message
                if self._up.is_set():
                    retry = FIRST_RETRY_SECONDS
                pause = retry * random.uniform(0.8, 1.2)  # noqa: S311 - so that many do not come back in step
                standing = Standing.CONNECTING if self.link.server is None else Standing.LOST
                self._down(standing, why, pause)
                await asyncio.sleep(pause)
                retry = min(retry * 2, LAST_RETRY_SECONDS)

    async def _follow(self, client: Client) -> None:
        """Connect, and read changes until the connection ends. Ends too when a question found the server gone."""
        info = await client.server()
        access = await client.access()
        version = (await client.search_keys(limit=1)).version
        self._offset = info.time - self._clock.now()
        self._lost.clear()
        self._set_link(Standing.LIVE, server=info, access=access)
        self._up.set()
        self.refresh()
        stream = client.changes(version)
        reader = asyncio.ensure_future(self._read(stream))
        lost = asyncio.ensure_future(self._lost.wait())
        try:
            await asyncio.wait((reader, lost), return_when=asyncio.FIRST_COMPLETED)
            if reader.done():
                reader.result()
            else:
                raise Unreachable(self._lost_why)
        finally:
            for task in (reader, lost):
                task.cancel()
            await asyncio.gather(reader, lost, return_exceptions=True)
            await stream.aclose()  # type: ignore[attr-defined]

    async def _read(self, stream: AsyncIterator[Change]) -> None:
        async for change in stream:
            self._fresh[change.uid] = change
            if self._flush is None:
                self._flush = asyncio.get_running_loop().call_later(COALESCE_SECONDS, self._tell)

    def _tell(self) -> None:
        """Wake the questions that the changes of the last moment concern."""
        changes, self._fresh, self._flush = list(self._fresh.values()), {}, None
        for watch in self._watches.values():
            if not watch.wake.is_set() and concerns(watch.question, changes):
                watch.wake.set()

    def _report_lost(self, why: str) -> None:
        if self._up.is_set():
            self._up.clear()
            self._lost_why = why
            self._lost.set()

    def _down(self, standing: Standing, why: str, pause: float) -> None:
        self._up.clear()
        self._set_link(standing, why, retry_in=pause)

    def _set_link(
        self,
        standing: Standing,
        why: str = "",
        *,
        retry_in: float | None = None,
        server: ServerInfo | None = None,
        access: Access | None = None,
    ) -> None:
        now = self._clock.now()
        self.link = Link(
            standing=standing,
            since=self.link.since if standing is self.link.standing else now + self._offset,
            why=why,
            retry_at=None if retry_in is None else now + self._offset + timedelta(seconds=retry_in),
            server=server or self.link.server,
            access=access or self.link.access,
        )
        self._host.post_message(LinkChanged(self.link))
