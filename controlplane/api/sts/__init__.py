"""The STS door: who am I, and sessions of roles, at ``/`` beside the KMS door, for requests signed for ``sts``.

``door`` (bytes in, bytes out), ``operations`` (the one table, and its handlers), ``parameters`` (the query protocol's
input), ``xml`` (its output), ``errors`` (the one map to STS's codes).
"""
