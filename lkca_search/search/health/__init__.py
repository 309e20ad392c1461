"""Checks and repair of a search's files. May import `records`, `state`, `studies` and `driver`, never Ray."""
