"""Confirmed models in MLflow: logged models, and versions of a registered model. May import `tracking` and below."""
