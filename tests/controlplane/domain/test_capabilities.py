"""What a key store can hold: every key spec, usage and type of store, against rules told here a second time."""

from __future__ import annotations

import pytest

from controlplane.domain.capabilities import algorithms, complete
from controlplane.schema.keys import DesiredKey, KeySpec, KeyUsage, Origin, RotationSpec
from plugins.sdk.vocabulary import KEY_SPECS

STORES = ("standard", "pkcs11", "xks", "memory", "somebodys")
EXTERNAL_KEY = {"xks": "their-key"}
DEFAULT_ORIGIN = {"standard": Origin.AWS_KMS, "xks": Origin.EXTERNAL_KEY_STORE}

# CreateKey's API reference, "KeyUsage", by prefix of the key spec.
USAGES = {
    "SYMMETRIC_DEFAULT": {KeyUsage.ENCRYPT_DECRYPT},
    "RSA_": {KeyUsage.ENCRYPT_DECRYPT, KeyUsage.SIGN_VERIFY},
    "ECC_NIST_P": {KeyUsage.SIGN_VERIFY, KeyUsage.KEY_AGREEMENT},
    "ECC_SECG_": {KeyUsage.SIGN_VERIFY},
    "ECC_NIST_EDWARDS": {KeyUsage.SIGN_VERIFY},
    "HMAC_": {KeyUsage.GENERATE_VERIFY_MAC},
    "ML_DSA_": {KeyUsage.SIGN_VERIFY},
    "ML_KEM_": {KeyUsage.ENCAPSULATE_DECAPSULATE},
    "SM2": {KeyUsage.ENCRYPT_DECRYPT, KeyUsage.SIGN_VERIFY, KeyUsage.KEY_AGREEMENT},
}


def usages(spec: KeySpec) -> set[KeyUsage]:
    return next(found for prefix, found in USAGES.items() if spec.startswith(prefix))


def misfits(desired: DesiredKey, store: str, offered: dict[KeySpec, tuple[KeyUsage, ...]] | None = None) -> set[str]:
    return {misfit.path for misfit in complete(desired, store, offered)[1]}


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("usage", [None, *KeyUsage])
@pytest.mark.parametrize("spec", KeySpec)
def test_exactly_what_fits_is_accepted(spec: KeySpec, usage: KeyUsage | None, store: str) -> None:
    fitting_spec = spec is KeySpec.SYMMETRIC_DEFAULT or (store == "standard" and spec is not KeySpec.SM2)
    fitting_usage = usage in usages(spec) if usage else len(usages(spec)) == 1
    expected = ({"keySpec"} if not fitting_spec else set()) | ({"keyUsage"} if not fitting_usage else set())
    desired = DesiredKey(key_spec=spec, key_usage=usage, xks_key_id=EXTERNAL_KEY.get(store))
    completed, found = complete(desired, store, default_region="eu-central-1")
    assert {misfit.path for misfit in found} == expected
    assert all(misfit.message for misfit in found)
    if not expected:
        assert completed.key_usage in usages(spec)
        assert completed.origin is DEFAULT_ORIGIN.get(store, Origin.AWS_CLOUDHSM)
        assert completed.region == "eu-central-1"
        assert complete(completed, store) == (completed, []), "completing twice changes nothing"


@pytest.mark.parametrize("spec", KeySpec)
@pytest.mark.parametrize("usage", KeyUsage)
def test_a_key_has_algorithms_exactly_for_its_usages(spec: KeySpec, usage: KeyUsage) -> None:
    assert bool(algorithms(spec, usage)) is (usage in usages(spec))


def test_every_key_spec_has_a_row() -> None:
    assert set(KEY_SPECS) == set(KeySpec)


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("origin", Origin)
def test_an_origin_fits_its_type_of_store_only(origin: Origin, store: str) -> None:
    allowed = {"standard": {Origin.AWS_KMS, Origin.EXTERNAL}, "xks": {Origin.EXTERNAL_KEY_STORE}}.get(
        store, {Origin.AWS_CLOUDHSM}
    )
    assert misfits(DesiredKey(origin=origin, xks_key_id=EXTERNAL_KEY.get(store)), store) == (
        set() if origin in allowed else {"origin"}
    )


@pytest.mark.parametrize("store", STORES)
def test_an_external_key_is_named_in_external_key_stores_and_nowhere_else(store: str) -> None:
    assert misfits(DesiredKey(xks_key_id="their-key"), store) == (set() if store == "xks" else {"xksKeyId"})
    assert misfits(DesiredKey(), store) == ({"xksKeyId"} if store == "xks" else set())


@pytest.mark.parametrize("store", STORES)
def test_custom_stores_have_no_multi_region_keys_and_no_rotation(store: str) -> None:
    rotation = RotationSpec(enabled=True)
    desired = DesiredKey(multi_region=True, rotation=rotation, xks_key_id=EXTERNAL_KEY.get(store))
    assert misfits(desired, store) == (set() if store == "standard" else {"multiRegion", "rotation.enabled"})


@pytest.mark.parametrize("spec", [spec for spec in KeySpec if spec is not KeySpec.SM2])
@pytest.mark.parametrize("origin", [Origin.AWS_KMS, Origin.EXTERNAL])
def test_only_symmetric_keys_of_origin_aws_kms_rotate_automatically(spec: KeySpec, origin: Origin) -> None:
    usage = min(usages(spec))
    desired = DesiredKey(key_spec=spec, key_usage=usage, origin=origin, rotation=RotationSpec(enabled=True))
    rotates = spec is KeySpec.SYMMETRIC_DEFAULT and origin is Origin.AWS_KMS
    assert misfits(desired, "standard") == (set() if rotates else {"rotation.enabled"})


def test_what_the_open_store_does_not_offer_is_refused() -> None:
    offered = {KeySpec.RSA_2048: (KeyUsage.SIGN_VERIFY,), KeySpec.HMAC_256: (KeyUsage.GENERATE_VERIFY_MAC,)}
    signing = DesiredKey(key_spec=KeySpec.RSA_2048, key_usage=KeyUsage.SIGN_VERIFY)
    assert misfits(signing, "standard", offered) == set()
    encrypting = DesiredKey(key_spec=KeySpec.RSA_2048, key_usage=KeyUsage.ENCRYPT_DECRYPT)
    assert misfits(encrypting, "standard", offered) == {"keyUsage"}
    assert misfits(DesiredKey(key_spec=KeySpec.SYMMETRIC_DEFAULT), "standard", offered) == {"keySpec"}


def test_a_declared_region_stays() -> None:
    completed, _ = complete(DesiredKey(region="us-east-1"), "standard", default_region="eu-central-1")
    assert completed.region == "us-east-1"
