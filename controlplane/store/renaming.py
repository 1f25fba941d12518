"""Another name for an object that stays the same one.

Who calls it: the apply of a plan, and whoever adopts an object under another name. Guarantees: the uid stays, and what
belongs to it: material, credentials, owners, events. What has the name in its ARN (a principal, a proxy, whose role is
named after it) has another ARN from then on: policies and grants speak of names. The change is intent, so that every
process that serves the object hears of it.
"""

from __future__ import annotations

import sqlite3
from datetime import datetime

import msgspec

from controlplane.domain.names import principal_arn
from controlplane.errors import Unsupported
from controlplane.schema.meta import AnyObject, Key, KeyStore, Principal
from controlplane.store import keys, objects


def rename(tx: sqlite3.Connection, present: AnyObject, name: str, now: datetime) -> AnyObject:
    """The object under its new name. Raises :class:`AlreadyExists` for one that is taken."""
    match present:
        case Key():
            return keys.rename(tx, present, name, now)
        case KeyStore():
            raise Unsupported(
                "a KeyStore cannot be renamed: its keys and what its plugin keeps go by its name; "
                "the name that the KMS API shows is spec.customKeyStore.name, and can change"
            )
        case Principal():
            account = present.status.arn.split(":")[4]
            status = msgspec.structs.replace(present.status, arn=principal_arn(account, present.spec.type, name))
            return objects.replace(tx, present.metadata.uid, now=now, name=name, status=status, requested=True)
    return objects.replace(tx, present.metadata.uid, now=now, name=name, requested=True)
