"""Searches in simulated time, with workers that train nothing; imports what `search.driver` does, and never Ray."""
