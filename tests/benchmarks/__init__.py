"""Benchmarks: ``python -m tests.benchmarks [--quick] [--only NAME] [--json FILE]``. Not for pytest.

``kms`` (the KMS door beside moto's server and beside an empty request), ``steps`` (the hot operations, step by step),
``manykeys`` (10, 1,000 and 100,000 keys), ``processes`` (one worker and two), ``validate``, ``fleet`` (plan, apply and
memory with 10,000 keys), ``reconcile`` (a pass over keys that are as declared). Each is independent of the
others, starts its own servers on free ports of 127.0.0.1 and removes what it made.
"""
