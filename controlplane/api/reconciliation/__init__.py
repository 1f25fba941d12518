"""The reconciliation API under ``/v1``: plans, objects of every kind, actions on keys, the change stream.

``plans``, ``objects``, ``actions``, ``stream`` hold the routes of their subject; ``guard`` authenticates all of them.
"""
