"""Plan of a search before it starts: its size, cost, memory and duration.

May import `training`, `search.state`, `search.studies` and the packages below them.
"""
