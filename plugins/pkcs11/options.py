"""Options of an HSM cluster, as key store documents and the server's settings spell them.

A store over one token names it at the top. A cluster lists its ``members``; what a member leaves out is as at the top.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from plugins.sdk import KeptSecretSource, Misconfigured, Options
from plugins.sdk.pkcs11 import TokenOptions

_Count = Annotated[int, msgspec.Meta(ge=1, le=64)]
_Seconds = Annotated[float, msgspec.Meta(gt=0, le=600)]


class MemberOptions(Options, frozen=True):
    """One token of a cluster, where it differs from the others."""

    module: str | None = None
    token: str | None = None
    serial: str | None = None
    slot: Annotated[int, msgspec.Meta(ge=0)] | None = None
    user_name: str | None = None
    environment: dict[str, str] = msgspec.field(default_factory=dict)
    pin: KeptSecretSource | None = None


class Pkcs11Options(TokenOptions, frozen=True):
    """``workers`` are processes for each token. Times are in seconds."""

    pin: KeptSecretSource | None = None
    members: tuple[MemberOptions, ...] = ()
    minimum_members: _Count = 1
    """Connected means that at least so many members do their work."""
    minimum_members_to_create: _Count | None = None
    """So many must be active to make a key, and so many shall hold it; two, as in AWS, if there are several."""
    workers: Annotated[int, msgspec.Meta(ge=1, le=32)] = 2
    queue: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1_000
    """Calls that may wait for a worker of a token."""
    use_seconds: _Seconds = 2.0
    """How long one use of a key may take before its worker is killed."""
    change_seconds: _Seconds = 20.0
    synchronise_seconds: _Seconds = 2.0
    """How long a key that one member made may take to appear in the others."""

    def check(self) -> None:
        self.tokens()

    @property
    def needed_to_create(self) -> int:
        """How many members must be active to make a key."""
        return self.minimum_members_to_create or min(2, max(1, len(self.members)))

    def tokens(self) -> list[tuple[str, TokenOptions, KeptSecretSource]]:
        """Each member with a name for people, its token and where its PIN is. Raises ``Misconfigured``."""
        result: list[tuple[str, TokenOptions, KeptSecretSource]] = []
        for number, member in enumerate(self.members or (MemberOptions(),), 1):
            token = self._token(member)
            token.check()
            pin = member.pin or self.pin
            if pin is None:
                raise Misconfigured("pin: say where the user's PIN is: fromFile or fromEnv")
            name = token.token or token.serial or f"slot {token.slot}"
            if any(name == other for other, _, _ in result):
                name = f"{name} (member {number})"
            result.append((name, token, pin))
        for what, wanted in (
            ("minimumMembers", self.minimum_members),
            ("minimumMembersToCreate", self.needed_to_create),
        ):
            if wanted > len(result):
                raise Misconfigured(f"{what}: {wanted} members are wanted, and {len(result)} are named")
        return result

    def _token(self, member: MemberOptions) -> TokenOptions:
        named = member.token is not None or member.serial is not None or member.slot is not None
        chosen = member if named else self
        return TokenOptions(
            module=member.module or self.module,
            token=chosen.token,
            serial=chosen.serial,
            slot=chosen.slot,
            user_name=member.user_name or self.user_name,
            environment={**self.environment, **member.environment},
            quirks=self.quirks,
        )
