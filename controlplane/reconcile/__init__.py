"""Makes key stores agree with what is declared. Level-based: every pass starts from what is stored and observed.

``queue`` (what to look at next), ``runtime`` (lease, workers, change feed, resync, drain), ``external`` (observe, diff,
act for material), ``keys``, ``deletion`` and ``keystores`` (one kind or concern each).
"""
