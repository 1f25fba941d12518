"""One PKCS#11 token in a worker process: the target of its pool. Called through ``client`` only.

An *epoch* is a session, its login and the handles of the keys that were found in it. They go stale together (a device
that restarted knows none of them), so they are dropped together.

Guarantees: a key is looked up by its label, and "it is not there" is answered only by a token that is; of two keys with
one label none is used; a call is made once more where its return code says that this helps, and never where it may
have changed something without saying so; no error and no repr holds the PIN or plaintext.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import msgspec
import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass
from pkcs11.constants import DEFAULT
from pkcs11.exceptions import PKCS11Error

from plugins.sdk.errors import (
    CredentialsRefused,
    InvalidCiphertext,
    InvalidRequest,
    KeyStoreError,
    MaterialDamaged,
    MaterialNotFound,
    Misconfigured,
    OutcomeUnknown,
    Unavailable,
    Unsupported,
)
from plugins.sdk.pkcs11 import codes
from plugins.sdk.pkcs11.codes import Action, ReturnCode
from plugins.sdk.pkcs11.module import TAG_BYTES, Module
from plugins.sdk.pkcs11.options import IvSource, LoginStyle, TokenOptions
from plugins.sdk.workers import ReplaceWorker

T = TypeVar("T")

FORMAT: Final = b"\x01"
IV_BYTES: Final = 12
AES_BITS: Final = 256
_IVS_AT_ONCE: Final = 64
_KEPT_HANDLES: Final = 50_000
_CANARY: Final = b"keystead canary"
_FIXED: Final = {
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
    Attribute.TOKEN: True,
    Attribute.ENCRYPT: True,
    Attribute.DECRYPT: True,
    Attribute.WRAP: False,
    Attribute.UNWRAP: False,
    Attribute.SIGN: False,
    Attribute.VERIFY: False,
    Attribute.DERIVE: False,
}
"""What makes a key a key of ours."""
_SECRET_KEYS: Final = {Attribute.CLASS: ObjectClass.SECRET_KEY}


class Token:
    """The token that the options name, with the user logged in."""

    def __init__(self, configuration: dict[str, Any]) -> None:
        self._options = msgspec.convert(configuration["options"], TokenOptions)
        self._options.check()
        self._pin: bytes = configuration["pin"]
        self._template = _template(self._options)
        assert self._options.module is not None
        quirks = self._options.quirks
        self._changing = False
        self._session: Any = None
        self._handles: dict[str, Any] = {}
        self._ivs: list[bytes] = []
        with _translated("C_Initialize", self._options):
            self._module = Module(self._options.module, quirks.initialize, quirks.iv_bits)
        with _translated("C_OpenSession", self._options):
            self._token = self._find_token()
            if Mechanism.AES_GCM not in self._token.slot.get_mechanisms():
                raise Misconfigured(f"{self._options.whereabouts}: the HSM does not offer AES-GCM")
            self._begin_epoch()

    def __repr__(self) -> str:
        return f"<Token {self._options.whereabouts}>"

    def close(self) -> None:
        """Log out and let the module go."""
        self._module.close_all_sessions(self._token.slot.slot_id)

    def describe(self) -> dict[str, Any]:
        """Which token this is."""
        token = self._token
        return {
            "label": token.label,
            "serial": token.serial.decode("ascii", "replace"),
            "manufacturer": token.manufacturer_id,
            "model": token.model,
        }

    # ---- keys --------------------------------------------------------------------------------------------------------

    def find(self, label: str) -> dict[str, Any] | None:
        """What the token says of a key, or None. Looks, and believes no cached handle."""

        def look() -> dict[str, Any] | None:
            self._handles.pop(label, None)
            key = self._look_up(label)
            return None if key is None else _facts(key)

        return self._perform("C_FindObjects", look)

    def create(self, label: str, identifier: bytes) -> dict[str, Any]:
        """Generate an AES-256 key under a label; the one that is there already, otherwise."""

        def make() -> dict[str, Any]:
            present = self._look_up(label)
            if present is not None:
                facts = _facts(present)
                if not _is_safe(facts):
                    raise MaterialDamaged(f"the key {label} in the HSM is not a sensitive, non-extractable AES-256 key")
                return facts
            self._changing = True
            key = self._session.generate_key(
                KeyType.AES,
                AES_BITS,
                id=identifier,
                label=label,
                store=True,
                capabilities=MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT,
                template=self._template,
            )
            facts = _facts(key)
            if not _is_safe(facts):
                key.destroy()
                raise Unsupported(
                    f"{self._options.whereabouts}: the HSM made a key that is not a sensitive, non-extractable AES-256 "
                    "key although it was asked for one; the key was destroyed"
                )
            self._keep(label, key)
            return facts

        return self._perform("C_GenerateKey", make)

    def destroy(self, label: str) -> bool:
        """Destroy every key of that label; whether there was one."""

        def destroy() -> bool:
            self._handles.pop(label, None)
            keys = self._search(label)
            if not keys:
                self._confirm_presence()
            for key in keys:
                self._changing = True
                key.destroy()
            return bool(keys)

        return self._perform("C_DestroyObject", destroy)

    def names(self) -> list[tuple[str, str, str]]:
        """Label, CKA_ID in hex, and a word on its kind, of every secret key on the token."""

        def look() -> list[tuple[str, str, str]]:
            found = [_name(key) for key in self._session.get_objects(_SECRET_KEYS, batch_size=200)]
            if not found:
                self._confirm_presence()
            return found

        return self._perform("C_FindObjects", look)

    def adopt(self, present: str, identifier: str, label: str) -> dict[str, Any]:
        """Give a key that others made (its label, and its CKA_ID in hex) a label of ours; nothing if that was done."""

        def take() -> dict[str, Any]:
            done = self._look_up(label)
            if done is not None:
                return _facts(done)
            wanted: dict[Attribute, Any] = {**_SECRET_KEYS, Attribute.LABEL: present}
            if identifier:
                wanted[Attribute.ID] = bytes.fromhex(identifier)
            keys = list(self._session.get_objects(wanted))
            if not keys:
                self._confirm_presence()
                raise MaterialNotFound(f"the HSM has no secret key {present!r}")
            if len(keys) > 1:
                raise InvalidRequest(f"the HSM has {len(keys)} secret keys {present!r}; name one by its CKA_ID")
            self._take_over(keys[0], present, label)
            self._keep(label, keys[0])
            return _facts(keys[0])

        return self._perform("C_SetAttributeValue", take)

    # ---- use ---------------------------------------------------------------------------------------------------------

    def encrypt(self, label: str, plaintext: bytes, aad: bytes) -> bytes:
        """Format, IV, ciphertext and tag."""
        return self._perform("C_Encrypt", lambda: self._encrypt(self._key(label), plaintext, aad))

    def decrypt(self, label: str, sealed: bytes, aad: bytes) -> bytes:
        """The plaintext of what :meth:`encrypt` made; ``InvalidCiphertext`` for anything else."""
        if len(sealed) < len(FORMAT) + IV_BYTES + TAG_BYTES or not sealed.startswith(FORMAT):
            self._perform("C_FindObjects", lambda: self._key(label))  # a key that is gone is told first
            raise _invalid()

        def open_it() -> bytes:
            key = self._key(label)
            try:
                return self._decrypt(key, sealed, aad)
            except ReturnCode as first:
                if first.action is not Action.CIPHERTEXT and first.name not in codes.MAYBE_CIPHERTEXT:
                    raise
            # The codes of a wrong tag are those of a broken device with many modules. It is the ciphertext if it fails
            # once more while another one opens; otherwise it is the device, and saying "invalid" would lose data.
            try:
                return self._decrypt(key, sealed, aad)
            except ReturnCode as second:
                if second.action is not Action.CIPHERTEXT and second.name not in codes.MAYBE_CIPHERTEXT:
                    raise
            if self._decrypt(key, self._encrypt(key, _CANARY, b""), b"") != _CANARY:
                raise Unavailable("the HSM does not decrypt what it encrypted", reason="SelfTestFailed")
            raise _invalid()

        return self._perform("C_Decrypt", open_it)

    def random(self, length: int) -> bytes:
        """Octets of the token's random generator."""
        return self._perform("C_GenerateRandom", lambda: self._random(length))

    def probe(self, label: str | None = None) -> None:
        """Use the token: its presence, its session and its random generator, and a key if one is given."""

        def use() -> None:
            self._confirm_presence()
            self._random(IV_BYTES)
            if label is not None:
                key = self._key(label)
                if self._decrypt(key, self._encrypt(key, _CANARY, b""), b"") != _CANARY:
                    raise Unavailable("the HSM does not decrypt what it encrypted", reason="SelfTestFailed")

        self._perform("C_GetTokenInfo", use)

    # ---- epochs ------------------------------------------------------------------------------------------------------

    def _perform(self, function: str, act: Callable[[], T]) -> T:
        """Do it, and what the table of return codes says if it fails: once more, in a new epoch, or nothing here."""
        for attempt in (1, 2):
            self._changing = False
            try:
                return act()
            except KeyStoreError:
                raise
            except (ReturnCode, PKCS11Error) as error:
                code = error if isinstance(error, ReturnCode) else codes.named(error, function)
                self._react(code, attempt)
        raise AssertionError("two attempts and no end")

    def _react(self, code: ReturnCode, attempt: int) -> None:
        """Return to have the call made once more, raise otherwise."""
        match code.action:
            case Action.CALLER | Action.CIPHERTEXT:
                raise InvalidRequest(f"the HSM refuses the input: {code}") from None
            case Action.CONFIGURATION:
                raise Unsupported(f"the HSM does not do this: {code}", reason=code.name) from None
            case Action.CREDENTIALS:
                raise ReplaceWorker(_refusal(code, self._options)) from None
            case Action.RETRY if attempt == 1:
                return
            case Action.RETRY:
                raise Unavailable(f"the HSM is busy: {code}", reason=code.name) from None
            case Action.EVICT if attempt == 1:
                self._evict(code)
                return
        raise ReplaceWorker(self._lost(code)) from None

    def _evict(self, code: ReturnCode) -> None:
        """A new epoch. If there is none to be had, this process is of no more use."""
        changed = self._changing
        try:
            self._begin_epoch()
        except CredentialsRefused as refused:
            raise ReplaceWorker(refused) from None
        except (ReturnCode, PKCS11Error, KeyStoreError):
            self._changing = changed
            raise ReplaceWorker(self._lost(code)) from None

    def _lost(self, code: ReturnCode) -> KeyStoreError:
        if self._changing:
            return OutcomeUnknown(f"the HSM was lost while it worked: {code}", reason=code.name)
        return Unavailable(f"the HSM does not answer as it should: {code}", reason=code.name)

    def _begin_epoch(self) -> None:
        """A fresh session with the user logged in, and no handles."""
        self._handles.clear()
        self._ivs.clear()
        slot = self._token.slot.slot_id
        self._module.close_all_sessions(slot)  # none of the old ones stays behind, whatever state it is in
        session = self._token.open(rw=True)
        pin = self._pin
        if self._options.quirks.login is LoginStyle.USER_AND_PIN:
            pin = str(self._options.user_name).encode() + b":" + pin
        code = self._module.login(session.handle, pin)
        if code not in (codes.OK, codes.USER_ALREADY_LOGGED_IN):
            name = codes.NAMES.get(code, f"{codes.UNKNOWN}{code:#x}")
            refused = ReturnCode(name, "C_Login")
            if refused.action is Action.CREDENTIALS:
                raise _refusal(refused, self._options)
            raise refused
        self._session = session

    def _find_token(self) -> Any:
        found = []
        for slot in self._module.library.get_slots():
            try:
                token = slot.get_token()
            except (pkcs11.TokenNotPresent, pkcs11.TokenNotRecognised):
                continue
            if self._is_ours(token):
                found.append(token)
        if not found:
            raise Misconfigured(f"{self._options.whereabouts}: no such token in any slot", reason="TokenNotFound")
        if len(found) > 1:
            raise Misconfigured(
                f"{self._options.whereabouts}: {len(found)} tokens are like that; add the serial number or the slot",
                reason="TokenAmbiguous",
            )
        return found[0]

    def _is_ours(self, token: Any) -> bool:
        options = self._options
        return (
            (options.token is None or token.label == options.token)
            and (options.serial is None or token.serial.decode("ascii", "replace") == options.serial)
            and (options.slot is None or token.slot.slot_id == options.slot)
        )

    def _confirm_presence(self) -> None:
        """Raise unless the token is in its slot: a search in one that was pulled out succeeds and finds nothing."""
        present = self._token.slot.get_token()
        if present.serial != self._token.serial or present.label != self._token.label:
            raise ReturnCode("TokenNotRecognised", "C_GetTokenInfo")

    # ---- inside ------------------------------------------------------------------------------------------------------

    def _key(self, label: str) -> Any:
        key = self._handles.get(label)
        if key is None:
            key = self._look_up(label)
            if key is None:
                raise MaterialNotFound(f"the HSM has no key {label}")
            self._keep(label, key)
        return key

    def _keep(self, label: str, key: Any) -> None:
        if len(self._handles) >= _KEPT_HANDLES:
            self._handles.clear()
        self._handles[label] = key

    def _look_up(self, label: str) -> Any | None:
        keys = self._search(label)
        if len(keys) > 1:
            raise MaterialDamaged(
                f"the HSM has {len(keys)} keys labelled {label}: which one encrypted is not known, so none is used",
                reason="KeyAmbiguous",
            )
        if keys:
            return keys[0]
        self._confirm_presence()
        return None

    def _search(self, label: str) -> list[Any]:
        return list(self._session.get_objects({**_SECRET_KEYS, Attribute.LABEL: label}))

    def _encrypt(self, key: Any, plaintext: bytes, aad: bytes) -> bytes:
        ours = self._options.quirks.iv is IvSource.GENERATE
        given = self._iv() if ours else bytes(IV_BYTES)
        iv, sealed = self._module.encrypt(self._session.handle, key.handle, given, plaintext, aad)
        if not ours and iv == given:
            raise Misconfigured(
                "quirks.iv: the HSM did not write an IV into the buffer, so two messages would have the same one; "
                "set it to generate"
            )
        return FORMAT + iv + sealed

    def _decrypt(self, key: Any, sealed: bytes, aad: bytes) -> bytes:
        iv, body = sealed[1 : 1 + IV_BYTES], sealed[1 + IV_BYTES :]
        return self._module.decrypt(self._session.handle, key.handle, iv, body, aad)

    def _iv(self) -> bytes:
        """The next IV. The token's generator is asked for many at once: on a network each question takes a while."""
        if not self._ivs:
            octets = self._random(IV_BYTES * _IVS_AT_ONCE)
            self._ivs = [octets[at : at + IV_BYTES] for at in range(0, len(octets), IV_BYTES)]
        return self._ivs.pop()

    def _random(self, length: int) -> bytes:
        octets: bytes = self._session.generate_random(length * 8)
        return octets

    def _take_over(self, key: Any, present: str, label: str) -> None:
        facts = _facts(key)
        if facts["type"] != "AES" or facts["bits"] != AES_BITS:
            raise Unsupported(f"the key {present!r} is no AES-256 key, and nothing else can be taken over")
        if not (facts["encrypt"] and facts["decrypt"]):
            raise Unsupported(f"the key {present!r} may not both encrypt and decrypt")
        self._changing = True
        # From now on it must not leave; both can only be tightened.
        if not facts["sensitive"]:
            key[Attribute.SENSITIVE] = True
        if facts["extractable"]:
            key[Attribute.EXTRACTABLE] = False
        key[Attribute.LABEL] = label


def _facts(key: Any) -> dict[str, Any]:
    """What a token says of a secret key, in plain types."""
    asked = (
        Attribute.ID,
        Attribute.KEY_TYPE,
        Attribute.VALUE_LEN,
        Attribute.SENSITIVE,
        Attribute.EXTRACTABLE,
        Attribute.ENCRYPT,
        Attribute.DECRYPT,
    )
    got = key.get_attributes(asked)
    kind = got.get(Attribute.KEY_TYPE)
    return {
        "id": got.get(Attribute.ID, b"").hex(),
        "type": kind.name if isinstance(kind, KeyType) else str(kind),
        "bits": 8 * got.get(Attribute.VALUE_LEN, 0),
        "sensitive": bool(got.get(Attribute.SENSITIVE, False)),
        "extractable": bool(got.get(Attribute.EXTRACTABLE, True)),
        "encrypt": bool(got.get(Attribute.ENCRYPT, False)),
        "decrypt": bool(got.get(Attribute.DECRYPT, False)),
    }


def _is_safe(facts: dict[str, Any]) -> bool:
    return facts["sensitive"] and not facts["extractable"] and facts["type"] == "AES" and facts["bits"] == AES_BITS


def _name(key: Any) -> tuple[str, str, str]:
    try:
        label = str(key[Attribute.LABEL])
    except (pkcs11.AttributeTypeInvalid, ValueError):  # others need not label their keys, nor with text
        label = ""
    facts = _facts(key)
    return label, facts["id"], f"{facts['type']}-{facts['bits']}"


def _invalid() -> InvalidCiphertext:
    return InvalidCiphertext("the ciphertext does not decrypt under this key material")


def _template(options: TokenOptions) -> dict[Attribute, Any]:
    """The attributes of keys that are generated, beside label, identifier and length."""
    template: dict[Attribute, Any] = {**_FIXED, Attribute.PRIVATE: True}
    for name, value in options.quirks.template.items():
        try:
            attribute = Attribute[name]
        except KeyError:
            raise Misconfigured(f"quirks.template: there is no attribute {name}; names are without CKA_") from None
        if value is not None and attribute in _FIXED and value != _FIXED[attribute]:
            raise Misconfigured(f"quirks.template: {name} is {_FIXED[attribute]} for every key of Keystead")
        template[attribute] = DEFAULT if value is None else value
    return template


def _refusal(code: ReturnCode, options: TokenOptions) -> CredentialsRefused:
    reason = codes.USER_REASONS.get(code.name, "PinIncorrect")
    sentence = {
        "PinLocked": "the user's PIN is locked: unlock it with the HSM's own tools",
        "UserNotFound": "the user does not exist or has no PIN yet: make it with the HSM's own tools",
        "UserLoggedIn": "another user is logged in on this HSM",
    }.get(reason, "the PIN is wrong; it is not tried again until the key store is connected anew")
    user = f" (user {options.user_name})" if options.user_name else ""
    return CredentialsRefused(f"{options.whereabouts}{user}: {sentence} ({code.name})", reason=reason)


@contextmanager
def _translated(function: str, options: TokenOptions) -> Iterator[None]:
    """What goes wrong before there is an epoch, in the words of the SDK."""
    try:
        yield
    except (ReturnCode, PKCS11Error) as error:
        code = error if isinstance(error, ReturnCode) else codes.named(error, function)
        where = options.whereabouts
        if code.action is Action.CREDENTIALS:
            raise _refusal(code, options) from None
        if code.action is Action.CONFIGURATION:
            raise Misconfigured(f"{where}: the HSM does not allow this: {code}", reason=code.name) from None
        raise Unavailable(f"{where}: the HSM does not open: {code}", reason=code.name) from None
