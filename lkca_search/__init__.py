"""LKCA Search: hyperparameter search and ablations of image classifiers at several training set sizes."""

import os

# MLflow and Ray send no telemetry. Both read these variables when they are imported, so they are set here.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

__version__ = "0.1.0"
