"""Samplers and pruners of our own, behind Optuna's bases. May import `spec` and Optuna."""
