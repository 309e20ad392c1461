"""Sections on single trials: training curves, parallel coordinates, and their runs in MLflow."""
