"""Optuna's samplers, pruners and studies: the one package that imports Optuna. May import `search.state`."""
