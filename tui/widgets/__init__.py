"""Widgets: they show what they are given, say what a person does, and know no server."""
