"""The terminal UI in a browser on this machine, through textual-serve: ``server`` guards it, ``program`` is what runs.

A visitor acts with the token of whoever started it. So it listens on loopback only, is read-only unless asked, and lets
in the one browser that opens the address with its one-time token.
"""
