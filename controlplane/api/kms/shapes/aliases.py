"""Shapes of aliases, as in the KMS service model. Used by its handlers."""

from __future__ import annotations

from controlplane.api.kms.shapes.base import AliasNameType, ArnType, KeyIdType, LimitType, MarkerType, Shape


class CreateAliasRequest(Shape, kw_only=True):
    alias_name: AliasNameType
    target_key_id: KeyIdType


class UpdateAliasRequest(Shape, kw_only=True):
    alias_name: AliasNameType
    target_key_id: KeyIdType


class DeleteAliasRequest(Shape, kw_only=True):
    alias_name: AliasNameType


class ListAliasesRequest(Shape, kw_only=True):
    key_id: KeyIdType | None = None
    limit: LimitType | None = None
    marker: MarkerType | None = None


class AliasListEntry(Shape, kw_only=True):
    alias_name: AliasNameType
    alias_arn: ArnType
    target_key_id: KeyIdType
    creation_date: float
    last_updated_date: float


class ListAliasesResponse(Shape, kw_only=True):
    aliases: list[AliasListEntry]
    next_marker: MarkerType | None = None
    truncated: bool
