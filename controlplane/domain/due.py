"""When a key has to be looked at next because of the time: one moment for each key.

Who calls it: ``store.duetimes`` at every write of a key, so that the table of due times says what the keys say.
Guarantees: a function of the key alone, whatever the clock says. What only a connected key store or an enabled key
can do is looked at again when the store connects or the key is enabled, and is no due time meanwhile.
"""

from __future__ import annotations

from datetime import datetime

from controlplane.domain import imports
from controlplane.domain.materials import is_replica
from controlplane.schema.keys import Management
from controlplane.schema.meta import Key


def next_due(key: Key) -> datetime | None:
    """The first of: its destruction or its next automatic rotation, an expiry of its material, the warning of one."""
    moments = (_destroyed_or_rotated(key), imports.next_due(key.status))
    return min((moment for moment in moments if moment is not None), default=None)


def _destroyed_or_rotated(key: Key) -> datetime | None:
    if key.spec.management is Management.PAUSED:
        return None
    if key.metadata.deletion is not None:
        return key.metadata.deletion.due_at
    return None if is_replica(key) or not key.spec.enabled else key.status.rotation.next_at
