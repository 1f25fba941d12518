"""Which object a request means: by name, and a key also by key id, alias or ARN, in whatever Region it is.

Who calls it: the controllers. A key of its own name comes first; nothing is guessed where several keys are meant.
"""

from __future__ import annotations

from controlplane.api.services import Services
from controlplane.domain.names import KeyReference, parse_key_reference
from controlplane.errors import InvalidInput, NotFound
from controlplane.schema.meta import AnyObject, Key, Kind
from controlplane.store import objects
from controlplane.store.catalog import KeyRecord


def find(services: Services, kind: Kind, name: str) -> AnyObject:
    """An object by name, or a key by key id. Raises :class:`NotFound`, or :class:`InvalidInput` for several keys."""
    found = services.database.read(lambda tx: objects.get_named(tx, kind, name))
    if found is None and kind is Kind.KEY:
        found = _the_one(services, KeyReference(services.settings.region, services.settings.account, key_id=name))
    if found is None:
        raise NotFound(f"there is no {kind} {name}")
    return found


def referred(services: Services, kind: Kind, ref: str) -> AnyObject:
    """The key that a key id, an alias or an ARN names."""
    if kind is not Kind.KEY:
        raise InvalidInput("ref finds keys only")
    found = _the_one(services, _reference(services, ref))
    if found is None:
        raise NotFound(f"there is no key {ref}")
    return found


def keys_named(services: Services, text: str) -> list[Key]:
    """Every key that a name, key id, alias or ARN may stand for; none if it is not known."""
    named = services.database.read(lambda tx: objects.get_named(tx, Kind.KEY, text))
    return [named] if isinstance(named, Key) else list(_by_region(services, _reference(services, text)).values())


def record(services: Services, key: Key) -> KeyRecord:
    """The catalog's record of a key that was found by name."""
    services.catalog.refresh()
    found = services.catalog.key(key.spec.region or "", key.status.key_id)
    if found is None:
        raise NotFound(f"there is no Key {key.metadata.name}")
    return found


def _reference(services: Services, text: str) -> KeyReference:
    return parse_key_reference(text, services.settings.region, services.settings.account)


def _by_region(services: Services, reference: KeyReference) -> dict[str | None, Key]:
    """The keys that a reference may mean: one in each Region at most. An ARN names its Region."""
    if reference.account != services.settings.account:
        return {}
    if reference.alias is not None:
        alias = reference.alias
        found = services.database.read(lambda tx: objects.keys_of_alias(tx, alias))
    else:
        found = services.database.read(lambda tx: objects.related_keys(tx, reference.key_id or ""))
    return {key.spec.region: key for key in found if not reference.full or key.spec.region == reference.region}


def _the_one(services: Services, reference: KeyReference) -> Key | None:
    """That of the server's first Region, or of the only Region that has one."""
    found = _by_region(services, reference)
    if reference.region in found:
        return found[reference.region]
    if len(found) > 1:
        arns = ", ".join(key.status.arn for key in found.values())
        raise InvalidInput(f"several keys go by this name: {arns}; name one of them by its ARN")
    return next(iter(found.values()), None)
