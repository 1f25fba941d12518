"""The doors: HTTP and nothing but. ``kms`` speaks the AWS KMS API, ``reconciliation`` the declarative REST API; ``app``
puts them on one port. A handler decodes, hands the work to ``usage`` or ``planning``, and encodes.
"""
