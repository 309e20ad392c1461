"""Tracking of trials, in MLflow and elsewhere. May import the root, `spec` and `records`."""
