"""Return codes of PKCS#11, and what follows from each: one table. Used in worker processes.

Nothing is reset because "some error" came: a mistake of one caller would tear down everybody's sessions. A code says
whether the caller is wrong, whether the same call may be made again, whether sessions, handles and login are stale (a
new *epoch*), or whether only loading the module again helps (a new process).

Source: PKCS#11 3.0, section 5.1 (return values); what real modules answer after a restart of their device is from
reports of SoftHSM, YubiHSM, Luna and CloudHSM users, where stale handles and sessions come as many different codes.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Action(StrEnum):
    """What a return code leads to."""

    CALLER = "caller"
    """The input is wrong; the session is as good as before."""
    CIPHERTEXT = "ciphertext"
    """What was to be decrypted is not what this key encrypted."""
    RETRY = "retry"
    """Busy or short of something for a moment: once more in the same session."""
    EVICT = "evict"
    """Sessions, object handles or login are stale: a new epoch, then once more."""
    RESTART = "restart"
    """The device was lost: only C_Initialize in a fresh process finds it again."""
    CREDENTIALS = "credentials"
    """The PIN or the user is refused. Never tried again."""
    CONFIGURATION = "configuration"
    """The device does not offer this, or not with this template."""


_TABLE: Final[tuple[tuple[int, str, Action], ...]] = (
    (0x002, "HostMemory", Action.RESTART),
    (0x003, "SlotIDInvalid", Action.RESTART),
    (0x005, "GeneralError", Action.RESTART),
    (0x006, "FunctionFailed", Action.EVICT),
    (0x007, "ArgumentsBad", Action.CALLER),
    (0x00A, "CantLock", Action.RESTART),
    (0x010, "AttributeReadOnly", Action.CONFIGURATION),
    (0x011, "AttributeSensitive", Action.CONFIGURATION),
    (0x012, "AttributeTypeInvalid", Action.CONFIGURATION),
    (0x013, "AttributeValueInvalid", Action.CONFIGURATION),
    (0x01B, "ActionProhibited", Action.CONFIGURATION),
    (0x020, "DataInvalid", Action.CALLER),
    (0x021, "DataLenRange", Action.CALLER),
    (0x030, "DeviceError", Action.RESTART),
    (0x031, "DeviceMemory", Action.RETRY),
    (0x032, "DeviceRemoved", Action.RESTART),
    (0x040, "EncryptedDataInvalid", Action.CIPHERTEXT),
    (0x041, "EncryptedDataLenRange", Action.CIPHERTEXT),
    (0x042, "AeadDecryptFailed", Action.CIPHERTEXT),
    (0x050, "FunctionCancelled", Action.RETRY),
    (0x054, "FunctionNotSupported", Action.CONFIGURATION),
    (0x060, "KeyHandleInvalid", Action.EVICT),
    (0x062, "KeySizeRange", Action.CONFIGURATION),
    (0x063, "KeyTypeInconsistent", Action.CONFIGURATION),
    (0x068, "KeyFunctionNotPermitted", Action.CONFIGURATION),
    (0x070, "MechanismInvalid", Action.CONFIGURATION),
    (0x071, "MechanismParamInvalid", Action.CONFIGURATION),
    (0x082, "ObjectHandleInvalid", Action.EVICT),
    (0x090, "OperationActive", Action.EVICT),
    (0x091, "OperationNotInitialized", Action.EVICT),
    (0x0A0, "PinIncorrect", Action.CREDENTIALS),
    (0x0A1, "PinInvalid", Action.CREDENTIALS),
    (0x0A2, "PinLenRange", Action.CREDENTIALS),
    (0x0A3, "PinExpired", Action.CREDENTIALS),
    (0x0A4, "PinLocked", Action.CREDENTIALS),
    (0x0B0, "SessionClosed", Action.EVICT),
    (0x0B1, "SessionCount", Action.RETRY),
    (0x0B3, "SessionHandleInvalid", Action.EVICT),
    (0x0B5, "SessionReadOnly", Action.EVICT),
    (0x0B7, "SessionReadOnlyExists", Action.EVICT),
    (0x0B8, "SessionReadWriteSOExists", Action.RETRY),
    (0x0D0, "TemplateIncomplete", Action.CONFIGURATION),
    (0x0D1, "TemplateInconsistent", Action.CONFIGURATION),
    (0x0E0, "TokenNotPresent", Action.RESTART),
    (0x0E1, "TokenNotRecognised", Action.RESTART),
    (0x0E2, "TokenWriteProtected", Action.CONFIGURATION),
    (0x100, "UserAlreadyLoggedIn", Action.EVICT),
    (0x101, "UserNotLoggedIn", Action.EVICT),
    (0x102, "UserPinNotInitialized", Action.CREDENTIALS),
    (0x103, "UserTypeInvalid", Action.CREDENTIALS),
    (0x104, "AnotherUserAlreadyLoggedIn", Action.CREDENTIALS),
    (0x105, "UserTooManyTypes", Action.CREDENTIALS),
    (0x120, "RandomSeedNotSupported", Action.CONFIGURATION),
    (0x121, "RandomNoRNG", Action.CONFIGURATION),
    (0x150, "BufferTooSmall", Action.EVICT),
    (0x190, "CryptokiNotInitialized", Action.RESTART),
    (0x191, "CryptokiAlreadyInitialized", Action.RESTART),
    (0x1A0, "MutexBad", Action.RESTART),
    (0x1A1, "MutexNotLocked", Action.RESTART),
    (0x200, "FunctionRejected", Action.RETRY),
)

OK: Final = 0x000
USER_ALREADY_LOGGED_IN: Final = 0x100
UNKNOWN: Final = "UnknownReturnCode"

NAMES: Final = {code: name for code, name, _ in _TABLE}
ACTIONS: Final = {name: action for _, name, action in _TABLE}

USER_REASONS: Final = {
    "PinLocked": "PinLocked",
    "UserPinNotInitialized": "UserNotFound",
    "UserTypeInvalid": "UserNotFound",
    "AnotherUserAlreadyLoggedIn": "UserLoggedIn",
    "UserTooManyTypes": "UserLoggedIn",
}
"""Why credentials were refused, as a condition's reason; ``PinIncorrect`` for the others."""

MAYBE_CIPHERTEXT: Final = frozenset(
    {
        "GeneralError",
        "FunctionFailed",
        "ArgumentsBad",
        "DataInvalid",
        "DataLenRange",
        "DeviceError",
        "MechanismParamInvalid",
    }
)
"""What modules answer, beside the codes made for it, to a ciphertext whose tag is wrong. SoftHSM: CKR_GENERAL_ERROR."""


class ReturnCode(Exception):
    """A function of the module did not answer CKR_OK."""

    def __init__(self, name: str, function: str) -> None:
        super().__init__(f"{function} answered {name}")
        self.name = name
        self.function = function

    @property
    def action(self) -> Action:
        """What follows. A code that no table knows may mean anything that a fresh epoch mends, so that is tried."""
        return ACTIONS.get(self.name, Action.EVICT)


def check(code: int, function: str) -> None:
    """Raise :class:`ReturnCode` unless the code is CKR_OK."""
    if code != OK:
        raise ReturnCode(NAMES.get(code, f"{UNKNOWN}{code:#x}"), function)


def named(error: Exception, function: str) -> ReturnCode:
    """The return code behind an exception of python-pkcs11, which has a class for each and keeps no number."""
    name = type(error).__name__
    if name not in ACTIONS:
        words = str(error).split()
        code = words[-1] if words and words[-1].startswith("0x") else ""
        try:
            name = NAMES.get(int(code, 16), f"{UNKNOWN}{code}")
        except ValueError:
            name = UNKNOWN if name == "PKCS11Error" else name
    return ReturnCode(name, function)
