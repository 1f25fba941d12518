"""The server side of plan and apply: ``planner`` compares a spec set with live objects, ``apply`` writes it."""
