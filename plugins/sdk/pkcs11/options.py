"""How a PKCS#11 token is named, opened and treated: options that every plugin over a token shares. No I/O.

A token is named by its label, its serial number or its slot; several together must all fit. A quirk is a difference
between real modules that no standard settles; each has a default that suits SoftHSM and most others.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from plugins.sdk.errors import Misconfigured
from plugins.sdk.options import NOT_SECRET, Options

WELL_KNOWN_VARIABLES = (
    "SOFTHSM2_CONF",
    "ChrystokiConfigurationPath",
    "CS_PKCS11_R2_CFG",
    "CS_PKCS11_R3_CFG",
    "CKNFAST_LOADSHARING",
    "NFAST_HOME",
    "YUBIHSM_PKCS11_CONF",
    "TPM2_PKCS11_STORE",
)
"""Where modules of vendors look for their own configuration; a worker gets them as this process has them."""

FORBIDDEN_PREFIXES = ("LD_", "PYTHON", "DYLD_")
"""Variables that make a process load other code. They are no configuration of a module."""

Attributes = dict[str, bool | int | str | None]


class IvBits(StrEnum):
    """What stands in ``ulIvBits`` of CK_GCM_PARAMS (PKCS#11 2.40, 2.12.9; errata of 3.0 on its meaning)."""

    SET = "set"
    """The length of the IV in bits."""
    ZERO = "zero"
    ABSENT = "absent"
    """The structure has no such field, as in PKCS#11 2.20 amendment 3."""


class IvSource(StrEnum):
    """Who makes the IV of AES-GCM. In both cases it comes out of the device."""

    GENERATE = "generate"
    """We ask the device's random generator (C_GenerateRandom) and pass it."""
    DEVICE = "device"
    """The device makes one while it encrypts and writes it into our buffer, as AWS CloudHSM does."""


class LoginStyle(StrEnum):
    """What C_Login is given as the PIN."""

    PIN = "pin"
    USER_AND_PIN = "user:pin"
    """The user's name, a colon and the PIN, as AWS CloudHSM has it."""


class Initialize(Options, frozen=True):
    """Arguments of C_Initialize, which is called without any unless these are given.

    ``reserved`` is a string for modules that take one there (NSS's softokn: its library parameters).
    """

    os_locking: bool = False
    reserved: str | None = None


class Quirks(Options, frozen=True):
    """``template`` changes the attributes of keys that are generated: names without ``CKA_``, and values, or null to
    leave one out. What makes a key one of ours (sensitive, not extractable) cannot be changed.
    """

    iv_bits: IvBits = IvBits.SET
    iv: IvSource = IvSource.GENERATE
    login: LoginStyle = LoginStyle.PIN
    initialize: Initialize | None = None
    template: Attributes = msgspec.field(default_factory=dict)


class TokenOptions(Options, frozen=True):
    """One token. ``module`` is a file, or a name that is looked for where Debian and vendors put modules."""

    module: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    token: Annotated[str, NOT_SECRET] | None = None
    """Its label."""
    serial: str | None = None
    slot: Annotated[int, msgspec.Meta(ge=0)] | None = None
    user_name: str | None = None
    environment: dict[str, str] = msgspec.field(default_factory=dict)
    """Variables that the module needs, such as ``SOFTHSM2_CONF``. No secrets: a process list shows them."""
    quirks: Quirks = Quirks()

    def check(self) -> None:
        if self.module is None:
            raise Misconfigured("module: name the PKCS#11 module of the HSM, such as libsofthsm2.so")
        if self.token is None and self.serial is None and self.slot is None:
            raise Misconfigured("token: name the token by token (its label), serial or slot")
        for name in self.environment:
            if name.upper().startswith(FORBIDDEN_PREFIXES):
                raise Misconfigured(f"environment: {name} makes a process load other code and cannot be set here")
        if self.quirks.login is LoginStyle.USER_AND_PIN and not self.user_name:
            raise Misconfigured("userName: quirks.login is user:pin, so the user's name is needed")

    @property
    def whereabouts(self) -> str:
        """The token in a sentence."""
        named = (("token", self.token), ("serial number", self.serial), ("slot", self.slot))
        return " and ".join(f"{what} {value!r}" for what, value in named if value is not None)
