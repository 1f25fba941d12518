"""The control plane of Keystead. This package imports nothing, so that the command line starts fast."""

__version__ = "0.1.0"
