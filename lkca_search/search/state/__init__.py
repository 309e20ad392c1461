"""State of a search on disk and in its database, readable by any process. May import `records` and `data`, not Ray."""
