"""Commands `run`, `confirm`, `rerun` and `sync`.

May import all packages below `analysis`, except `search.simulation` and `search.jobs`.
"""
