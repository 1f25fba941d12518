"""Structures of the AWS KMS API, one module for each group of operations, spelled as in its service model."""
