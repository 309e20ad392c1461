"""Optuna's samplers, pruners and studies. May import `models`, `data`, `search.state` and Optuna."""
