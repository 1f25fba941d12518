"""What a key store can hold: key spec x usage x origin x key store type, as one table and one check.

Who uses it: ``keystead validate``, the planner, CreateKey. Guarantee: what passes :func:`complete` can be created by a
store that reports the same capabilities; every refusal says what would be right.

Source: AWS KMS Developer Guide, "Key spec reference" and "Custom key stores" (symmetric encryption keys only, no
imported material, no automatic or on-demand rotation, no multi-Region keys).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from controlplane.schema.keys import DesiredKey, ExpirySpec, KeySpec, KeyUsage, Origin
from controlplane.schema.keystores import STANDARD
from plugins.sdk.vocabulary import KEY_SPECS, Algorithm


class StoreRules(msgspec.Struct, frozen=True):
    """Rules of one type of key store. The first origin is the default."""

    origins: tuple[Origin, ...]
    key_specs: frozenset[KeySpec]
    rotation: bool
    multi_region: bool


_SPECS = frozenset(KEY_SPECS) - {KeySpec.SM2}
"""SM2 exists in the China Regions of AWS only."""

_STANDARD = StoreRules((Origin.AWS_KMS, Origin.EXTERNAL), _SPECS, rotation=True, multi_region=True)
_CUSTOM = frozenset({KeySpec.SYMMETRIC_DEFAULT})
_CLUSTER = StoreRules((Origin.AWS_CLOUDHSM,), _CUSTOM, rotation=False, multi_region=False)
_EXTERNAL = StoreRules((Origin.EXTERNAL_KEY_STORE,), _CUSTOM, rotation=False, multi_region=False)


_EXTERNAL_KEY = {
    True: "a key in an external key store stands for an external key: give the id that it has there",
    False: "only a key store of type xks has external keys",
}


def rules_for(store_type: str) -> StoreRules:
    """Rules of a key store type; any type but ``standard`` and ``xks`` is a cluster that the user owns."""
    return {STANDARD: _STANDARD, "xks": _EXTERNAL}.get(store_type, _CLUSTER)


class Misfit(msgspec.Struct, frozen=True):
    """One reason why a key cannot be held. ``path`` is the field of the spec."""

    path: str
    message: str


def algorithms(key_spec: KeySpec, usage: KeyUsage) -> tuple[Algorithm, ...]:
    """Algorithms of a key, in DescribeKey's order; empty if the usage does not fit the spec."""
    return KEY_SPECS[key_spec].algorithms.get(usage, ())


def complete(
    desired: DesiredKey,
    store_type: str,
    offered: Mapping[KeySpec, Collection[KeyUsage]] | None = None,
    *,
    default_region: str | None = None,
) -> tuple[DesiredKey, list[Misfit]]:
    """Fill in usage, origin and Region, and say what does not fit.

    ``offered`` is what the open store reports (``KeyStoreStatus.key_specs``); without it only the table is checked.
    """
    rules = rules_for(store_type)
    misfits: list[Misfit] = []
    usages = tuple(KEY_SPECS[desired.key_spec].algorithms)
    usage = desired.key_usage or (usages[0] if len(usages) == 1 else None)
    origin = desired.origin or rules.origins[0]

    if desired.key_spec is KeySpec.SM2:
        misfits.append(Misfit("keySpec", "SM2 exists in the China Regions of AWS only and is not offered"))
    elif desired.key_spec not in rules.key_specs:
        misfits.append(
            Misfit(
                "keySpec",
                f"a key store of type {store_type} holds {_words(rules.key_specs)} keys only; "
                f"keep {desired.key_spec} keys in the key store {STANDARD}",
            )
        )
    elif offered is not None and desired.key_spec not in offered:
        misfits.append(
            Misfit(
                "keySpec", f"key store {desired.key_store} does not offer {desired.key_spec}; it has {_words(offered)}"
            )
        )
    if usage is None:
        misfits.append(Misfit("keyUsage", f"{desired.key_spec} keys have several usages: give one of {_words(usages)}"))
    elif usage not in usages:
        misfits.append(Misfit("keyUsage", f"{usage} does not fit {desired.key_spec}, which is for {_words(usages)}"))
    elif offered is not None and usage not in offered.get(desired.key_spec, (usage,)):
        misfits.append(
            Misfit(
                "keyUsage",
                f"key store {desired.key_store} offers {desired.key_spec} for {_words(offered[desired.key_spec])} only",
            )
        )
    if origin not in rules.origins:
        misfits.append(
            Misfit(
                "origin", f"a key store of type {store_type} holds keys of origin {_words(rules.origins)}, not {origin}"
            )
        )
    misfits += _store_misfits(desired, rules, origin)
    completed = msgspec.structs.replace(
        desired, key_usage=usage, origin=origin, region=desired.region or default_region
    )
    return completed, misfits


def _store_misfits(desired: DesiredKey, rules: StoreRules, origin: Origin) -> list[Misfit]:
    """What the type of key store does not do."""
    misfits: list[Misfit] = []
    if desired.multi_region and not rules.multi_region:
        misfits.append(Misfit("multiRegion", "keys in custom key stores cannot be multi-Region keys"))
    if desired.rotation.enabled:
        if not rules.rotation:
            misfits.append(Misfit("rotation.enabled", "keys in custom key stores do not rotate"))
        elif not rotates(msgspec.structs.replace(desired, origin=origin)):
            misfits.append(
                Misfit("rotation.enabled", "only SYMMETRIC_DEFAULT keys of origin AWS_KMS rotate automatically")
            )
    misfits += _expiry_misfits(desired.expiry, origin)
    if (desired.xks_key_id is None) is (rules is _EXTERNAL):
        misfits.append(Misfit("xksKeyId", _EXTERNAL_KEY[rules is _EXTERNAL]))
    return misfits


def _expiry_misfits(expiry: ExpirySpec, origin: Origin) -> list[Misfit]:
    if expiry == ExpirySpec():
        return []
    if origin is not Origin.EXTERNAL:
        return [Misfit("expiry", f"only imported material expires; the origin is {origin}, not EXTERNAL")]
    both = expiry.valid_to is not None and expiry.valid_days is not None
    return [Misfit("expiry", "give validTo or validDays, not both")] if both else []


def complete_replica(desired: DesiredKey, primary: DesiredKey) -> tuple[DesiredKey, list[Misfit]]:
    """Fill in what a replica key shares with its primary key, and say what does not fit.

    Both come without their defaults filled in or with them; Regions are compared by :func:`complete`'s caller.
    Source: KMS Developer Guide, "Multi-Region keys", shared properties.
    """
    misfits: list[Misfit] = []
    if primary.replica_of is not None:
        misfits.append(Misfit("replicaOf", f"{desired.replica_of} is a replica itself: name {primary.replica_of}"))
    elif not primary.multi_region:
        misfits.append(
            Misfit(
                "replicaOf", f"{desired.replica_of} is no multi-Region key: only a key made with multiRegion: true is"
            )
        )
    if desired.rotation.enabled:
        misfits.append(
            Misfit("rotation.enabled", f"a replica rotates with its primary key: set it on {desired.replica_of}")
        )
    if desired.key_spec not in (KeySpec.SYMMETRIC_DEFAULT, primary.key_spec):
        misfits.append(Misfit("keySpec", f"a replica has the key spec of its primary key, {primary.key_spec}"))
    for name in ("key_usage", "origin"):
        own, theirs = getattr(desired, name), getattr(primary, name)
        if own is not None and theirs is not None and own is not theirs:
            path = {"key_usage": "keyUsage", "origin": "origin"}[name]
            misfits.append(Misfit(path, f"a replica has that of its primary key, {theirs}: leave it out"))
    if desired.key_store != primary.key_store:
        misfits.append(Misfit("keyStore", f"a replica lives in the key store of its primary key, {primary.key_store}"))
    shared = msgspec.structs.replace(
        desired,
        key_spec=primary.key_spec,
        key_usage=primary.key_usage,
        origin=primary.origin,
        multi_region=True,
    )
    return shared, misfits


def rotates(desired: DesiredKey, *, on_demand: bool = False) -> bool:
    """Whether keys like this rotate automatically, or on demand (imported material does only then)."""
    origins = (Origin.AWS_KMS, Origin.EXTERNAL) if on_demand else (Origin.AWS_KMS,)
    return desired.key_spec is KeySpec.SYMMETRIC_DEFAULT and desired.origin in origins


def _words(names: Collection[str]) -> str:
    return ", ".join(sorted(str(name) for name in names))
