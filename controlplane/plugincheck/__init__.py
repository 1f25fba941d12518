"""``keystead plugin check``: runs the conformance suite on an installed plugin with a configuration, and reports.

``subject`` is what is examined, ``run`` opens it once, lets pytest run the suite over it, and sums up.
"""

from controlplane.plugincheck.run import Checked, Failure, check

__all__ = ["Checked", "Failure", "check"]
