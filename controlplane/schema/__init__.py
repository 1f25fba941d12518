"""The public vocabulary as msgspec Structs: documents, objects, statuses, plans, records. No I/O, no rules.

``meta`` and ``conditions`` are common to all kinds; ``keys``, ``keystores`` and ``principals`` hold one kind each;
``documents`` decodes them strictly; ``plans`` and ``records`` are what the reconciliation API answers.
"""
