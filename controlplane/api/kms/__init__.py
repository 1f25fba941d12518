"""The KMS door: the AWS KMS API, JSON 1.1, at ``POST /``.

``door`` (bytes in, bytes out), ``operations`` (the one table), ``shapes`` (the API's structures), ``errors`` (the one
map to AWS exceptions), and handlers by subject: ``keys``, ``aliases``, ``grants``, ``crypto``.
"""
