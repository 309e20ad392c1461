"""Runs of an MLflow store that a rerun repeats, and the run that a rerun leaves. May import `tracking` and below."""
