"""Families of image classifiers and the registry that builds them. May import `spec` and the root modules."""
