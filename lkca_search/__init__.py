"""LKCA Search: how image classifiers behave as training data gets scarce, and whether LKCA helps."""

import os

# What we build on is to send nothing home. Read when mlflow and ray are imported, hence here.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

__version__ = "0.1.0"
