"""The only I/O of the terminal UI.

``feed`` talks to the server in workers and posts ``messages``; ``questions`` and ``orders`` say what is asked and done.
Screens and widgets import from here and never wait: an import contract holds them to it.
"""
