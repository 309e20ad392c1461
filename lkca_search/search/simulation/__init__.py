"""Searches in simulated time, with workers that train nothing.

May import `search.driver`, `search.studies` and `tracking`; never Ray.
"""
