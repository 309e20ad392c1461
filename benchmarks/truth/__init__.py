"""Tables of benchmarks/known_truth.py, one module per kind of statistic."""
