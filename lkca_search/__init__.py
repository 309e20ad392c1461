"""LKCA Search: hyperparameter search and ablations of image classifiers at several training set sizes."""

import os

from lkca_search.user import ensure_user

# MLflow and Ray send no telemetry. Both read these variables when they are imported, so they are set here.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
ensure_user()  # so do their requests for a home folder

__version__ = "0.1.0"
