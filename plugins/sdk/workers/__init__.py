"""Isolated worker processes for libraries that block, crash or hang: the base for key store plugins that load one.

A plugin names a *target*, a function ``module:name`` that a fresh process imports and calls with the plugin's
configuration; the object that it returns answers the calls. :class:`WorkerPool` keeps several such processes, spreads
calls over them, kills the one that does not answer in time, and starts another.

What a plugin author may rely on: a target runs in the only thread of its process; if the process that started it ends,
however, it finishes the call that it is in, and is gone within three seconds; configuration and arguments travel over a
socket pair, so that no secret is in an argument list, an environment or a file; an exception of the target that is not
one of :mod:`plugins.sdk.errors` crosses as its type's name only.
"""

from plugins.sdk.workers.pool import Limits, WorkerPool
from plugins.sdk.workers.target import ReplaceWorker, WorkerFault

__all__ = ["Limits", "ReplaceWorker", "WorkerFault", "WorkerPool"]
