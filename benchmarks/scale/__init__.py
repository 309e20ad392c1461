"""Scale of a search: see `__main__`."""
