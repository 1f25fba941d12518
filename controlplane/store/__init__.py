"""The only package with SQL: objects, attempts, credentials, plans, plugin state, the change feed, audit and the lease.

``database`` owns connections and transactions; every other module is functions that take a connection, so several can
share one transaction: ``await database.write(lambda tx: ...)``.
"""
