"""The XKS proxy: Keystead's keys as external keys of an AWS KMS or of another Keystead.

Source: AWS KMS External Key Store Proxy API Specification 1.0.3
(https://github.com/aws/aws-kms-xksproxy-api-spec). ``listeners`` holds the ports with their TLS, ``door`` takes one
request, ``served`` is one proxy as declared, ``health`` knows how its key stores are.
"""
