"""Key policies and identity policies, as the AWS KMS door understands them.

Who calls it: ``access.authorise`` decides with :func:`evaluate`; the doors and the planner refuse a bad document with
:func:`parse_policy`; CreateKey and PutKeyPolicy ask :func:`locks_out`. Pure: no I/O, no clock; what a condition needs
to know about the request comes as ``context``.

Inside, top may import what is below: ``evaluation`` (order of decisions, memory), ``document`` (JSON to statements),
``conditions`` (operators), ``templates`` (variables), ``wildcards``. ``condition_keys`` is the table for whoever
builds the context.
"""

from __future__ import annotations

import json
from functools import lru_cache

from controlplane.domain.names import account_root
from controlplane.domain.policy.condition_keys import CONDITION_KEYS, ConditionKey, KeyType, condition_key
from controlplane.domain.policy.document import MAX_POLICY_CHARACTERS, Statement, is_principal
from controlplane.domain.policy.evaluation import (
    Because,
    Context,
    Decision,
    evaluate,
    locks_out,
    own_arns,
    parse_policy,
)

__all__ = [
    "ADMINISTRATOR_POLICY",
    "CONDITION_KEYS",
    "MAX_POLICY_CHARACTERS",
    "Because",
    "ConditionKey",
    "Context",
    "Decision",
    "KeyType",
    "Statement",
    "condition_key",
    "default_key_policy",
    "evaluate",
    "is_principal",
    "locks_out",
    "own_arns",
    "parse_policy",
]

ADMINISTRATOR_POLICY = (
    '{"Version":"2012-10-17","Statement":[{"Sid":"Administrator","Effect":"Allow","Action":"*","Resource":"*"}]}'
)


@lru_cache(maxsize=16)
def default_key_policy(account: str) -> str:
    """The key policy of a key for which none was given: the account may, so identity policies decide."""
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Id": "key-default-1",
            "Statement": [
                {
                    "Sid": "Enable IAM User Permissions",
                    "Effect": "Allow",
                    "Principal": {"AWS": account_root(account)},
                    "Action": "kms:*",
                    "Resource": "*",
                }
            ],
        },
        indent=2,
    )
