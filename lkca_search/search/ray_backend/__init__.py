"""Backend that trains the trials of a queue under Ray Tune.

May import `training`, `search.planning` and `search.driver`.
"""
