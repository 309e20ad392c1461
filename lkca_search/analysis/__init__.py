"""Statistics of the records of a search, with the subset draw as the unit. May import `records` and all below it."""
