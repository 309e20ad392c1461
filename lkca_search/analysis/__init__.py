"""Statistics of the records of a search, with the subset draw as the unit; imports spec and records, no search code."""
