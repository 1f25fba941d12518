"""A loaded PKCS#11 module: python-pkcs11's object of it, and the few functions that are called past that library.

Runs in worker processes only, in their one thread. python-pkcs11 0.10 is used for slots, sessions, templates and
searches. Past it go, through the module's own function list:

- C_Initialize with arguments, which it cannot pass and some modules need;
- C_Login, because it opens a session for each attempt and leaves it behind when the login answers anything but OK;
- AES-GCM. It takes the IV from an immutable ``bytes`` object, into which some devices write; it always sets
  ``ulIvBits``; and it asks for the length of the result first and believes it, which NSS's softokn understates.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final

import pkcs11
from pkcs11 import _pkcs11

from plugins.sdk.errors import Misconfigured
from plugins.sdk.pkcs11.codes import check
from plugins.sdk.pkcs11.options import Initialize, IvBits
from plugins.sdk.pkcs11.places import find

TAG_BYTES: Final = 16
_CKM_AES_GCM: Final = 0x1087
_CKU_USER: Final = 1
_CKF_OS_LOCKING_OK: Final = 2


_ulong = ctypes.c_ulong
_pointer = ctypes.c_void_p

_FUNCTIONS: Final = (
    *("C_Initialize", "C_Finalize", "C_GetInfo", "C_GetFunctionList", "C_GetSlotList", "C_GetSlotInfo"),
    *("C_GetTokenInfo", "C_GetMechanismList", "C_GetMechanismInfo", "C_InitToken", "C_InitPIN", "C_SetPIN"),
    *("C_OpenSession", "C_CloseSession", "C_CloseAllSessions", "C_GetSessionInfo", "C_GetOperationState"),
    *("C_SetOperationState", "C_Login", "C_Logout", "C_CreateObject", "C_CopyObject", "C_DestroyObject"),
    *("C_GetObjectSize", "C_GetAttributeValue", "C_SetAttributeValue", "C_FindObjectsInit", "C_FindObjects"),
    *("C_FindObjectsFinal", "C_EncryptInit", "C_Encrypt", "C_EncryptUpdate", "C_EncryptFinal"),
    *("C_DecryptInit", "C_Decrypt"),
)
"""The beginning of CK_FUNCTION_LIST, in its order (PKCS#11 2.40, section 3.5)."""


class _FunctionList(ctypes.Structure):
    _fields_ = [("version", ctypes.c_ubyte * 2), *((name, _pointer) for name in _FUNCTIONS)]


class _Mechanism(ctypes.Structure):
    _fields_ = [("mechanism", _ulong), ("parameter", _pointer), ("length", _ulong)]


class _GcmParameters(ctypes.Structure):
    _fields_ = [
        ("iv", _pointer),
        ("iv_length", _ulong),
        ("iv_bits", _ulong),
        ("aad", _pointer),
        ("aad_length", _ulong),
        ("tag_bits", _ulong),
    ]


class _OldGcmParameters(ctypes.Structure):
    _fields_ = [
        ("iv", _pointer),
        ("iv_length", _ulong),
        ("aad", _pointer),
        ("aad_length", _ulong),
        ("tag_bits", _ulong),
    ]


class _InitializeArguments(ctypes.Structure):
    """CK_C_INITIALIZE_ARGS, and a null behind it: NSS has its string where others have the reserved pointer."""

    _fields_ = [
        ("create_mutex", _pointer),
        ("destroy_mutex", _pointer),
        ("lock_mutex", _pointer),
        ("unlock_mutex", _pointer),
        ("flags", _ulong),
        ("reserved", ctypes.c_char_p),
        ("null", _pointer),
    ]


_INITIALIZE = ctypes.CFUNCTYPE(_ulong, _pointer)
_CLOSE_ALL = ctypes.CFUNCTYPE(_ulong, _ulong)
_LOGIN = ctypes.CFUNCTYPE(_ulong, _ulong, _ulong, ctypes.c_char_p, _ulong)
_BEGIN = ctypes.CFUNCTYPE(_ulong, _ulong, _pointer, _ulong)
_PERFORM = ctypes.CFUNCTYPE(_ulong, _ulong, ctypes.c_char_p, _ulong, _pointer, _pointer)


class Module:
    """The module of one worker process, initialised."""

    def __init__(self, name: str, initialize: Initialize | None, iv_bits: IvBits) -> None:
        """Load it. Raises ``Misconfigured`` if there is no such module, ``ReturnCode`` or python-pkcs11's errors."""
        path = find(name)
        try:
            library = ctypes.CDLL(path)
            listed = ctypes.POINTER(_FunctionList)()
            get = library.C_GetFunctionList
        except (OSError, AttributeError) as error:
            raise Misconfigured(f"module: {name} cannot be loaded as a PKCS#11 module: {error}") from None
        check(get(ctypes.byref(listed)), "C_GetFunctionList")
        functions = listed.contents
        if initialize is None:
            self.library: Any = pkcs11.lib(path)
        else:
            arguments = _InitializeArguments(
                flags=_CKF_OS_LOCKING_OK if initialize.os_locking else 0,
                reserved=initialize.reserved.encode() if initialize.reserved is not None else None,
            )
            check(_INITIALIZE(functions.C_Initialize)(ctypes.addressof(arguments)), "C_Initialize")
            # Its constructor calls C_Initialize; everything else of it works without.
            make: Any = _pkcs11.lib.__new__
            self.library = make(_pkcs11.lib, path)
        self._iv_bits = iv_bits
        self._close_all = _CLOSE_ALL(functions.C_CloseAllSessions)
        self._login = _LOGIN(functions.C_Login)
        self._encrypt = (_BEGIN(functions.C_EncryptInit), _PERFORM(functions.C_Encrypt))
        self._decrypt = (_BEGIN(functions.C_DecryptInit), _PERFORM(functions.C_Decrypt))

    def close_all_sessions(self, slot: int) -> None:
        """Close every session of this process on a slot, which also logs out. Whether it worked does not matter."""
        self._close_all(slot)

    def login(self, session: int, pin: bytes) -> int:
        """Log the user in; the return code."""
        return int(self._login(session, _CKU_USER, pin, len(pin)))

    def encrypt(self, session: int, key: int, iv: bytes, plaintext: bytes, aad: bytes) -> tuple[bytes, bytes]:
        """AES-GCM: the IV that was used (the device may have put its own in place of ours), ciphertext with tag."""
        return self._gcm(
            self._encrypt, ("C_EncryptInit", "C_Encrypt"), session, key, iv, plaintext, aad, len(plaintext) + TAG_BYTES
        )

    def decrypt(self, session: int, key: int, iv: bytes, ciphertext: bytes, aad: bytes) -> bytes:
        """The plaintext."""
        names = ("C_DecryptInit", "C_Decrypt")
        # A module may write the tag's place, too, before it has checked it.
        return self._gcm(self._decrypt, names, session, key, iv, ciphertext, aad, len(ciphertext))[1]

    def _gcm(
        self,
        functions: tuple[Any, Any],
        names: tuple[str, str],
        session: int,
        key: int,
        iv: bytes,
        data: bytes,
        aad: bytes,
        room: int,
    ) -> tuple[bytes, bytes]:
        begin, perform = functions
        iv_buffer = ctypes.create_string_buffer(iv, len(iv))  # fresh each time, because some devices write into it
        aad_buffer = ctypes.create_string_buffer(aad, len(aad)) if aad else None
        parameters = self._parameters(iv_buffer, aad_buffer, len(aad))
        mechanism = _Mechanism(_CKM_AES_GCM, ctypes.addressof(parameters), ctypes.sizeof(parameters))
        check(begin(session, ctypes.addressof(mechanism), key), names[0])
        out = ctypes.create_string_buffer(max(room, 1))
        length = _ulong(room)
        check(perform(session, data, len(data), ctypes.addressof(out), ctypes.addressof(length)), names[1])
        return iv_buffer.raw, out.raw[: length.value]

    def _parameters(self, iv: Any, aad: Any, aad_length: int) -> _GcmParameters | _OldGcmParameters:
        aad_at = ctypes.addressof(aad) if aad is not None else None
        if self._iv_bits is IvBits.ABSENT:
            return _OldGcmParameters(ctypes.addressof(iv), len(iv), aad_at, aad_length, TAG_BYTES * 8)
        bits = len(iv) * 8 if self._iv_bits is IvBits.SET else 0
        return _GcmParameters(ctypes.addressof(iv), len(iv), bits, aad_at, aad_length, TAG_BYTES * 8)
