"""Attestation documents of another form than the one there is: whatever arrives, a refusal and nothing else."""

from __future__ import annotations

from functools import cache
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.domain import attestation
from controlplane.errors import InvalidInput
from tests.enclave import (
    NOW,
    enclave,
    refused,
)

# Form


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, ...) for name in ("module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle")),
        *((name, None) for name in ("module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle")),
        *(("module_id", value) for value in ("", b"i-1", 1, ["i-1"])),
        *(("digest", value) for value in ("SHA256", "sha384", "SHA512", "", b"SHA384", 384)),
        *(("timestamp", value) for value in (0, -1, 1.5, float(int(NOW.timestamp() * 1000)), "1", True, NOW, 2**64)),
        *(("pcrs", value) for value in ({}, [], [b"x" * 48], b"", {0: None}, {0: "x" * 48}, {0: {}})),
        *(("pcrs", {0: b"x" * length}) for length in (0, 1, 31, 33, 47, 49, 63, 65)),
        *(("pcrs", {key: b"x" * 48}) for key in (-1, 32, 2**64 - 1, "0", b"0", False, 0.0, None)),
        ("pcrs", dict.fromkeys(range(33), b"x" * 48)),
        *(("certificate", value) for value in (b"", b"x", b"x" * 1025, "x", [b"x"], 1)),
        *(("cabundle", value) for value in ([], {}, b"", b"x", [b""], [b"x" * 1025], ["x"], [None], [[b"x"]], [1])),
        *(("public_key", value) for value in (b"", b"x" * 1025, "x", 1, [b"x"], b"x")),
        *((name, value) for name in ("user_data", "nonce") for value in (b"x" * 513, "x", 1, [b"x"], {})),
        ("nitrotpm_pcrs", {0: b"x" * 48}),
        ("Module_id", "x"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_a_field_that_is_missing_or_of_another_form_is_refused(name: str, value: Any):
    refused(enclave().document(**{name: value}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("nitrotpm_pcrs", value)
            for value in (..., None, {}, {0: b"x" * 47}, {32: b"x" * 48}, {0: None}, [b"x" * 48])
        ),
        *(("pcrs", value) for value in ({}, {0: b"x" * 48}, [])),
        *((name, b"x" * 1025) for name in ("user_data", "nonce")),
        ("tpm_pcrs", {0: b"x" * 48}),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_a_document_of_a_nitrotpm_is_held_to_the_same_form(name: str, value: Any):
    refused(enclave().tpm_document(**{name: value}))


def test_fields_at_the_bounds_are_read():
    stated = enclave().verified(
        enclave().document(user_data=b"x" * 512, nonce=b"", pcrs=dict.fromkeys(range(32), b"x" * 64))
    )
    assert len(stated.pcrs) == 32
    assert stated.user_data == b"x" * 512
    assert stated.nonce == b""


@pytest.mark.parametrize("public_key", [..., None])
def test_a_document_without_public_key_is_refused(public_key: Any):
    refused(enclave().document(public_key=public_key), "public key")


def test_a_repeated_field_is_refused():
    payload = cbor2.dumps(enclave().payload())
    again = b"\xaa" + payload[1:] + cbor2.dumps("nonce") + cbor2.dumps(b"x")
    refused(enclave().sign(again), "malformed")


def test_a_repeated_register_is_refused():
    pcrs = b"\xa2" + 2 * (b"\x00\x58\x30" + b"x" * 48)
    payload = cbor2.dumps(enclave().payload(pcrs=7)).replace(cbor2.dumps("pcrs") + b"\x07", cbor2.dumps("pcrs") + pcrs)
    refused(enclave().sign(payload), "malformed")


@pytest.mark.parametrize("tail", [b"\0", b"\xff", b"\xf6", b"\xa0"])
def test_trailing_octets_are_refused(tail: bytes):
    refused(enclave().document() + tail, "octets follow")
    refused(enclave().sign(cbor2.dumps(enclave().payload()) + tail), "octets follow")


def test_indefinite_lengths_are_refused_outside_the_payload():
    protected, _, payload, signature = cbor2.loads(enclave().document())
    parts = [cbor2.dumps(protected), b"\xa0", cbor2.dumps(payload), cbor2.dumps(signature)]
    enclave().verified(b"\x84" + b"".join(parts))
    refused(b"\x9f" + b"".join(parts) + b"\xff", "malformed")
    refused(b"\x84" + b"".join([parts[0], b"\xbf\xff", *parts[2:]]), "malformed")
    refused(b"\x84" + b"".join([*parts[:2], b"\x5f" + parts[2] + b"\xff", parts[3]]), "malformed")
    refused(b"\x84" + b"".join([*parts[:3], b"\x5f" + parts[3] + b"\xff"]), "malformed")


def test_an_indefinite_payload_without_end_is_refused():
    definite = cbor2.dumps(enclave().payload())
    refused(enclave().sign(b"\xbf" + definite[1:]), "malformed")


@pytest.mark.parametrize(
    "value",
    [
        cbor2.CBORTag(2, b"\x01"),
        cbor2.CBORTag(0, "2026-03-01T12:00:00Z"),
        cbor2.CBORTag(1, 1),
        cbor2.CBORTag(28, b"x"),
        cbor2.CBORTag(29, 0),
        cbor2.CBORTag(35, "(a+)+"),
        cbor2.CBORTag(24, b"\x01"),
        cbor2.CBORTag(258, [1]),
        cbor2.CBORTag(99_999, b"x"),
    ],
    ids=lambda value: str(value.tag),
)
def test_tags_are_refused_everywhere(value: Any):
    refused(enclave().document(timestamp=value), "malformed")
    refused(enclave().document(user_data=value), "malformed")
    refused(enclave().sign(cbor2.dumps(enclave().payload()), unprotected={"x": value}), "malformed")
    refused(cbor2.dumps(value))


def test_another_tag_or_two_are_refused():
    refused(cbor2.dumps(cbor2.CBORTag(17, cbor2.loads(enclave().document()))))
    refused(b"\xd2\xd2" + enclave().document())


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"\x84",
        b"\xd2",
        b"\xf6",
        b"\x00",
        b"\x84\x40\xa0\x40\x40",
        b"\x83\x40\xa0\x40",
        b"\x85\x40\xa0\x40\x40\x40",
        b"\x5b" + b"\xff" * 8,
        b"\x9b" + b"\xff" * 8,
        b"\xbb" + b"\xff" * 8,
        b"\x81" * 100_000 + b"\x00",
        b"\xa1\x00" * 100_000,
        b"\x9f" * 262_144,
        b"\x84" + b"\xa0" * 262_143,
    ],
    ids=lambda document: document[:6].hex(),
)
def test_what_is_no_document_at_all_is_refused(document: bytes):
    refused(document)


def test_sizes_are_bounded_before_anything_is_parsed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(attestation, "_decoded")
    refused(b"\0" * 262_145, "262145 octets")


def test_a_payload_beyond_its_bound_is_refused():
    refused(enclave().sign(b"\0" * 16_385), "payload of 16385 octets")
    refused(enclave().sign(b""), "payload of 0 octets")


def test_nesting_is_bounded_while_parsing():
    refused(enclave().document(user_data=[[b"x"]]), "not the CBOR")
    refused(enclave().sign(cbor2.dumps(enclave().payload()), unprotected={"x": {"y": 1}}), "not the CBOR")


def test_a_large_map_of_keys_that_may_collide_is_refused_at_its_first_key():
    header = b"\xb9\x7d\x00" + b"".join(cbor2.dumps(float(index)) + b"\x00" for index in range(32_000))
    refused(b"\x84\x44\xa1\x01\x38\x22" + header[:200_000], "not the CBOR")
    refused(enclave().sign(cbor2.dumps(enclave().payload()), unprotected={4: 0}), "not the CBOR")


def test_a_refusal_holds_nothing_of_the_document():
    secret = b"correct horse battery staple"
    for changes in ({"timestamp": 1}, {"extra": secret}, {"nonce": secret * 30}, {"cabundle": [secret]}):
        message = refused(enclave().document(**({"user_data": secret} | changes)))
        assert "horse" not in message


# Whatever arrives


@cache
def genuine() -> bytes:
    return enclave().document(user_data=b"data", nonce=b"once")


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_no_changed_octet_is_ever_accepted(data: st.DataObject):
    document = bytearray(genuine())
    for position in data.draw(st.sets(st.integers(0, len(document) - 1), min_size=1, max_size=3)):
        document[position] ^= data.draw(st.integers(1, 255))
    refused(bytes(document))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_no_document_cut_or_stretched_is_ever_accepted(data: st.DataObject):
    document = genuine()
    start = data.draw(st.integers(0, len(document)))
    end = data.draw(st.integers(start, len(document)))
    middle = data.draw(st.binary(max_size=8).filter(lambda octets: octets != document[start:end]))
    changed = document[:start] + middle + document[end:]
    if changed != document:
        refused(changed)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_changed_certificate_is_accepted_whoever_signs_the_document(data: st.DataObject):
    """The document's own signature is good here: only the certificates can be the reason."""
    ders = [bytearray(each.der) for each in enclave().chain]
    der = data.draw(st.sampled_from(ders))
    der[data.draw(st.integers(0, len(der) - 1))] ^= data.draw(st.integers(1, 255))
    refused(enclave().document(certificate=bytes(ders[-1]), cabundle=[bytes(each) for each in ders[:-1]]))


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=64),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.integers(-2, 40) | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([*attestation._Payload.__struct_fields__, "more"]),
    anything,
)
def test_signed_nonsense_raises_nothing_but_a_refusal(name: str, value: Any):
    document = enclave().document(**{name: value})
    try:
        stated = enclave().verified(document)
    except InvalidInput:
        return
    if name == "nitrotpm_pcrs":
        assert value is None
        return
    expected = {"module_id", "user_data", "nonce", "pcrs"}
    assert name in expected
    assert getattr(stated, name) == value


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | anything.map(cbor2.dumps))
def test_octets_of_any_kind_raise_nothing_but_a_refusal(octets: bytes):
    refused(octets)
    refused(enclave().sign(octets))
