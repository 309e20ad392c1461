"""Rerun of a recorded training: sources, overrides, differences, tolerance. May import all below `search/driver`."""
