"""Run of a search in MLflow: its description, parameters and metrics, and the order of the runs of its trials."""
