"""``keystead xks check``: exercises any XKS proxy, ours or a vendor's, and reports.

``target`` is the proxy and how to ask it anything, right or wrong; ``checks`` are the promises of the specification
that can be tried from outside; ``latency`` measures; :func:`examine` does all of it.
"""

from controlplane.xkscheck.run import Examination, examine
from controlplane.xkscheck.target import Target

__all__ = ["Examination", "Target", "examine"]
