"""Rerun of a recorded training: sources, overrides, differences, tolerance. May import `training` and `tracking`."""
