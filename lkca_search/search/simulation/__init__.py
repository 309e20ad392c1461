"""Searches in simulated time that train nothing. May import `driver`, `studies` and `tracking`, never Ray."""
