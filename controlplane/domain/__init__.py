"""Pure rules: no I/O, no clock (time is passed in). The same functions serve the doors, the planner and the reconciler.

``names`` (ARNs and key identifiers), ``capabilities`` (what a key store can hold), ``lifecycle`` (the one table of key
states and operations), ``diff`` (desired against live), ``policy`` (who may), ``schedule`` (due times).
"""
