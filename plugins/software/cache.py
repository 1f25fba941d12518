"""Opened material in memory, so that a use costs no unwrapping. Called by ``plugin``, from the event loop only.

Guarantees: never more than ``size`` entries; the one that was not used for longest goes first, as far as the order is
kept: while less than half full it is not, because moving an entry costs more than it can save. An entry answers only
for the ARN, material id and key spec that its token was opened for, as the token itself would; forgetting a material
drops it under every token it was opened from.
"""

from __future__ import annotations

from collections import OrderedDict

from plugins.sdk import MaterialRef
from plugins.software.material import OpenMaterial


class MaterialCache:
    """Key token -> opened material."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[bytes, tuple[MaterialRef, OpenMaterial]] = OrderedDict()
        self._tokens: dict[str, set[bytes]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, ref: MaterialRef) -> OpenMaterial | None:
        """The material of exactly this ``ref``, if it is here."""
        entry = self._entries.get(ref.token)  # type: ignore[arg-type]  # None is a key that is never there
        if entry is None:
            return None
        opened_for, material = entry
        if opened_for is not ref and (
            opened_for.key_arn != ref.key_arn
            or opened_for.material_id != ref.material_id
            or opened_for.key_spec != ref.key_spec
            or opened_for.name != ref.name
        ):
            return None
        if 2 * len(self._entries) > self._size:
            self._entries.move_to_end(ref.token)  # type: ignore[arg-type]
        return material

    def put(self, ref: MaterialRef, material: OpenMaterial) -> None:
        """Keep material that ``ref.token`` was just opened into."""
        assert ref.token is not None
        self._drop(ref.token)
        self._entries[ref.token] = (ref, material)
        self._tokens.setdefault(ref.name, set()).add(ref.token)
        if len(self._entries) > self._size:
            self._drop(next(iter(self._entries)))

    def forget(self, ref: MaterialRef) -> None:
        """Drop the material of ``ref.name``, and whatever ``ref.token`` was opened into."""
        for token in (*self._tokens.get(ref.name, ()), ref.token or b""):
            self._drop(token)

    def clear(self) -> None:
        """Drop everything."""
        self._entries.clear()
        self._tokens.clear()

    def _drop(self, token: bytes) -> None:
        entry = self._entries.pop(token, None)
        if entry is None:
            return
        name = entry[0].name
        tokens = self._tokens[name]
        tokens.discard(token)
        if not tokens:
            del self._tokens[name]
