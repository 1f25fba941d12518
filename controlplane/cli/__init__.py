"""The ``keystead`` command. Imports lazily: a command pays for what it uses."""
