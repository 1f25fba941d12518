"""Several tokens as one key store: who holds which key, who does the next call, who steps in. Called by ``plugin``.

Guarantees: "there is no such key" is answered only if every member said so, because a key that is made anew while one
member still has the old one would be two keys under one name; before a second member is used for a key, it has opened
what the first one sealed, so that no call depends on which of two different keys it meets; a member that does not
answer is passed over, and tried again in the background; credentials that were refused are not.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final, TypeVar

from plugins.pkcs11.members import ClusterMember
from plugins.sdk import (
    CredentialsRefused,
    Health,
    InvalidCiphertext,
    KeyStoreError,
    MaterialDamaged,
    MaterialNotFound,
    OutcomeUnknown,
    Unavailable,
)
from plugins.sdk.pkcs11 import KeyFacts, KeyName, TokenPool
from plugins.sdk.workers import WorkerFault

T = TypeVar("T")

CHECK_PREFIX: Final = "keystead-check:"
"""Keys under such labels live for a moment, to see whether the members synchronise."""
_POLL_SECONDS: Final = 0.05
_KEPT_HOLDERS: Final = 50_000
_CANARY: Final = b"keystead member check"
_FAILURES = (KeyStoreError, WorkerFault)

Answers = Sequence[tuple[ClusterMember, T | Exception]]


class Cluster:
    """Members that are open, as one token. One member is the common case and takes no detours."""

    def __init__(
        self, members: Sequence[ClusterMember], *, minimum: int, needed_to_create: int, synchronise_seconds: float
    ) -> None:
        self._members = list(members)
        self._minimum = minimum
        self._needed_to_create = needed_to_create
        self._synchronise_seconds = synchronise_seconds
        self._holders: dict[str, list[ClusterMember]] = {}
        self._creating: dict[str, tuple[asyncio.Lock, int]] = {}
        self._turn = 0
        self._used: str | None = None
        self._checking: asyncio.Task[None] | None = None
        self.synchronised: bool | None = None
        """Whether a key that one member makes appears in the others. None: one member, or not known."""

    def __repr__(self) -> str:
        return f"<Cluster of {len(self._members)}, {len(self._active)} active>"

    # ---- life --------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the members, and see whether they synchronise. On failure everything is closed again.

        The first goes ahead alone: with a wrong PIN, members that share a token would lock it between them. Raises
        ``CredentialsRefused`` if any member refuses the user, ``Unavailable`` with the reason ``InsufficientMembers``
        if too few open.
        """
        for member in self._members:
            member.on_change(self._changed)
        try:
            first, *others = self._members
            await first.open()
            if first.refused is None:
                await asyncio.gather(*(member.open() for member in others))
            self._check_opening()
            with contextlib.suppress(*_FAILURES):
                await self._see_whether_synchronised()
        except BaseException:
            await self.close()
            raise
        for member in self._members:
            member.keep()

    async def close(self) -> None:
        """Close every member. Never raises."""
        if self._checking is not None:
            self._checking.cancel()
            await asyncio.gather(self._checking, return_exceptions=True)
        await asyncio.gather(*(member.close() for member in self._members), return_exceptions=True)

    async def probe(self) -> Health:
        """Use every member. Raises if none does its work."""
        used = self._used

        async def use(member: ClusterMember) -> None:
            try:
                await member.pool.probe(used)
            except MaterialNotFound:  # that one does not hold the key
                await member.pool.probe()

        answers = await self._ask(self._members, use)
        working = [member for member, answer in answers if not isinstance(answer, Exception)]
        problems = {member.name: _words(answer) for member, answer in answers if isinstance(answer, Exception)}
        if not working:
            raise _error(answers)
        if len(self._members) == 1:
            return Health(healthy=True, detail=f"the token answers ({self._members[0].described})")
        detail = f"{len(working)} of {len(self._members)} members are active"
        if problems:
            detail += ": " + "; ".join(f"{name}: {problem}" for name, problem in problems.items())
        return Health(
            healthy=len(working) >= self._minimum,
            detail=detail,
            members=tuple(member.told(problems.get(member.name)) for member in self._members),
            synchronised=self.synchronised,
            missing_to_create=max(0, self._needed_to_create - len(working)),
        )

    # ---- keys --------------------------------------------------------------------------------------------------------

    async def find(self, label: str) -> KeyFacts | None:
        """The key of that label, or None if every member says that it has none."""
        answers = await self._ask(self._members, lambda member: member.pool.find(label))
        for _, answer in answers:
            if isinstance(answer, KeyFacts):
                return answer
        silent = [member.name for member, answer in answers if isinstance(answer, Exception)]
        if silent:
            raise (
                _error(answers)
                if len(self._members) == 1
                else Unavailable(
                    f"no member that answers has {label}, and whether {', '.join(silent)} has it cannot be seen now: "
                    f"{_words(_error(answers))}",
                    reason="MembersMissing",
                )
            )
        return None

    async def create(self, label: str) -> KeyFacts:
        """A key in one member, seen in as many as must have it if they synchronise."""
        async with self._one_at_a_time(label):
            return await self._create(label)

    @contextlib.asynccontextmanager
    async def _one_at_a_time(self, label: str) -> AsyncIterator[None]:
        """Two workers that look for a key at once both find none, and would make two of one name."""
        lock, users = self._creating.get(label, (asyncio.Lock(), 0))
        self._creating[label] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._creating.pop(label)
            if users > 1:
                self._creating[label] = (lock, users - 1)

    async def _create(self, label: str) -> KeyFacts:
        active = self._enough()
        if len(self._members) == 1:
            return await active[0].pool.create(label)
        for _, answer in await self._ask(active, lambda member: member.pool.find(label)):
            if isinstance(answer, KeyFacts):
                return answer
        active = self._enough()  # the look may have shown that one is gone
        failure: Exception | None = None
        for member in self._in_turn(active):
            try:
                made = await member.pool.create(label)
            except (Unavailable, WorkerFault) as error:
                failure = error
                continue
            await self._see_spread(label, member)
            return made
        assert failure is not None
        raise failure

    async def destroy(self, label: str) -> None:
        """Destroy the key in every member. Raises while one of them cannot be asked."""
        self._holders.pop(label, None)
        if self._used == label:
            self._used = None
        answers = await self._destroy_in_turn(self._members, label)
        failed = [(member, answer) for member, answer in answers if isinstance(answer, Exception)]
        if not failed:
            return
        if len(self._members) == 1:
            raise failed[0][1]
        names = ", ".join(member.name for member, _ in failed)
        raise OutcomeUnknown(
            f"{label} is not known to be destroyed in {names}, and will be there when it answers again: "
            f"{_words(failed[0][1])}",
            reason="MembersMissing",
        )

    async def names(self) -> list[KeyName]:
        """Every secret key, once, however many members have it. Raises if a member cannot be asked."""
        answers = await self._ask(self._members, lambda member: member.pool.names())
        if any(isinstance(answer, Exception) for _, answer in answers):
            raise _error(answers)
        seen: dict[tuple[str, str], KeyName] = {}
        for _, answer in answers:
            assert not isinstance(answer, Exception)
            seen.update({(name.label, name.id): name for name in answer})
        return [name for name in seen.values() if not name.label.startswith(CHECK_PREFIX)]

    async def adopt(self, present: KeyName, label: str) -> KeyFacts:
        """Give a key of others a label of ours, in every member that has it."""
        answers = await self._ask(self._members, lambda member: member.pool.adopt(present, label))
        taken = [answer for _, answer in answers if isinstance(answer, KeyFacts)]
        lacking = [answer for _, answer in answers if isinstance(answer, MaterialNotFound)]
        if not taken or len(taken) + len(lacking) < len(answers):
            raise _error(answers)
        return taken[0]

    # ---- use ---------------------------------------------------------------------------------------------------------

    async def use(self, label: str, call: Callable[[TokenPool], Awaitable[T]]) -> T:
        """Make a call that uses a key: in the member whose turn it is, and in the next one if that fails."""
        self._used = label
        if len(self._members) == 1:
            return await call(self._members[0].pool)
        failure: Exception | None = None
        for member in _at_least_twice([each for each in self._in_turn(await self._who_holds(label)) if each.active]):
            try:
                return await call(member.pool)
            except MaterialNotFound as error:
                self._holders.pop(label, None)
                failure = error
            except (Unavailable, WorkerFault) as error:
                failure = error
        raise failure or self._nobody(f"that holds {label}")

    async def random(self, length: int) -> bytes:
        """Octets of a member's random generator."""
        failure: Exception | None = None
        for member in self._in_turn(self._active if len(self._members) > 1 else self._members):
            try:
                return await member.pool.random(length)
            except (Unavailable, WorkerFault) as error:
                failure = error
        raise failure or self._nobody("to make random octets")

    # ---- inside ------------------------------------------------------------------------------------------------------

    @property
    def _active(self) -> list[ClusterMember]:
        return [member for member in self._members if member.active]

    def _check_opening(self) -> None:
        for member in self._members:
            if member.refused is not None:
                where = "" if len(self._members) == 1 else f"member {member.name}: "
                raise CredentialsRefused(where + member.refused.message, reason=member.refused.reason)
        if len(self._members) == 1 and self._members[0].failure is not None:
            raise self._members[0].failure
        if len(self._active) < self._minimum:
            raise self._too_few(self._minimum, "needed")

    def _enough(self) -> list[ClusterMember]:
        active = self._active
        if len(active) < self._needed_to_create:
            if len(self._members) == 1:
                raise self._members[0].failure or self._nobody("")
            raise self._too_few(self._needed_to_create, "needed to make a key")
        return active

    def _too_few(self, wanted: int, what: str) -> Unavailable:
        told = [member.told() for member in self._members]
        missing = "; ".join(f"{each.name}: {each.detail}" for each in told if not each.active)
        return Unavailable(
            f"{len(self._active)} of {len(self._members)} members are active and {wanted} are {what}: {missing}",
            reason="InsufficientMembers",
        )

    def _nobody(self, what: str) -> Unavailable:
        problems = "; ".join(f"{each.name}: {each.detail}" for each in (m.told() for m in self._members) if each.detail)
        return Unavailable(f"there is no active member {what}".rstrip() + (f": {problems}" if problems else ""))

    def _changed(self) -> None:
        """A member came or went: what was known of who holds what may be old, and it may bring its own keys."""
        self._holders.clear()
        if self.synchronised is None and len(self._active) > 1 and self._checking is None:
            self._checking = asyncio.get_running_loop().create_task(self._check_later())

    async def _check_later(self) -> None:
        with contextlib.suppress(*_FAILURES):
            await self._see_whether_synchronised()
        self._checking = None

    def _in_turn(self, members: Sequence[ClusterMember]) -> list[ClusterMember]:
        self._turn += 1
        at = self._turn % len(members) if members else 0
        return [*members[at:], *members[:at]]

    async def _ask(self, members: Sequence[ClusterMember], call: Callable[[ClusterMember], Awaitable[T]]) -> Answers[T]:
        """What each member says, or how it fails."""

        async def ask(member: ClusterMember) -> T | Exception:
            if not member.open_now:
                return member.failure or Unavailable(f"member {member.name} is not connected", reason="MembersMissing")
            try:
                return await call(member)
            except _FAILURES as error:
                return error

        said = await asyncio.gather(*(ask(member) for member in members))
        return list(zip(members, said, strict=True))

    async def _destroy_in_turn(self, members: Sequence[ClusterMember], label: str) -> Answers[bool]:
        """Destroy a key in one member after the other: two that write to one token at once may miss that it changed,
        and then not see the next key that the other makes."""
        answers: list[tuple[ClusterMember, bool | Exception]] = []
        for member in members:
            answers += await self._ask([member], lambda each: each.pool.destroy(label))
        return answers

    async def _who_holds(self, label: str) -> list[ClusterMember]:
        """The members that have the key, each shown to have the very same one."""
        known = self._holders.get(label)
        if known is not None:
            return known
        answers = await self._ask(self._active, lambda member: member.pool.find(label))
        holders = [member for member, answer in answers if isinstance(answer, KeyFacts)]
        if not holders:
            if any(isinstance(answer, Exception) for _, answer in answers) or len(answers) < len(self._members):
                raise self._nobody(f"that is known to hold {label}")
            raise MaterialNotFound(f"no member has a key {label}")
        holders = await self._same(label, holders)
        if len(self._holders) >= _KEPT_HOLDERS:
            self._holders.clear()
        self._holders[label] = holders
        return holders

    async def _same(self, label: str, holders: list[ClusterMember]) -> list[ClusterMember]:
        """Those that open what the first of them seals. Raises ``MaterialDamaged`` if one holds another key."""
        if len(holders) == 1:
            return holders
        first, *others = holders
        sealed = await first.pool.encrypt(label, _CANARY, b"")
        answers = await self._ask(others, lambda member: member.pool.decrypt(label, sealed, b""))
        same = [first]
        for member, answer in answers:
            if isinstance(answer, InvalidCiphertext):
                raise MaterialDamaged(
                    f"{first.name} and {member.name} hold different keys under the label {label}: which one encrypted "
                    "is not known, so none is used",
                    reason="KeyAmbiguous",
                )
            if answer == _CANARY:
                same.append(member)
        return same

    async def _see_spread(self, label: str, maker: ClusterMember) -> None:
        """Wait until the others have the new key; notice if they do not synchronise."""
        others = [member for member in self._active if member is not maker]
        if self.synchronised is False or not others:
            return
        deadline = asyncio.get_running_loop().time() + self._synchronise_seconds
        while True:
            answers = await self._ask(others, lambda member: member.pool.find(label))
            lacking = [member for member, answer in answers if not isinstance(answer, KeyFacts)]
            if not lacking:
                self.synchronised = True
                return
            if asyncio.get_running_loop().time() >= deadline:
                self.synchronised = False
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def _see_whether_synchronised(self) -> None:
        """Make a key in one member, look for it in the others, destroy it."""
        active = self._active
        if len(active) < 2:
            return
        async with self._throwaway(active[0]) as label:
            await self._see_spread(label, active[0])

    @contextlib.asynccontextmanager
    async def _throwaway(self, member: ClusterMember) -> AsyncIterator[str]:
        label = CHECK_PREFIX + os.urandom(16).hex()
        await member.pool.create(label)
        try:
            yield label
        finally:
            others = [each for each in self._active if each is not member]
            await self._destroy_in_turn([member, *others], label)


def _at_least_twice(members: list[ClusterMember]) -> list[ClusterMember]:
    """Whom to try one after the other; the one that there is, twice, if it is alone now."""
    return members * 2 if len(members) == 1 else members


def _error(answers: Answers[T]) -> Exception:
    """The failure that says most: refused credentials before everything, an unclassified fault last."""
    errors = [answer for _, answer in answers if isinstance(answer, Exception)]
    ranks = (CredentialsRefused, OutcomeUnknown, MaterialDamaged, Unavailable, KeyStoreError, Exception)
    return min(errors, key=lambda error: next(rank for rank, kind in enumerate(ranks) if isinstance(error, kind)))


def _words(error: Exception) -> str:
    return error.message if isinstance(error, KeyStoreError) else str(error)
